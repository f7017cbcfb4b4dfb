//! Points of one shot made steady: jitter goes, movement stays where it is in time.

use std::f64::consts::TAU;
use std::ops::Range;

use super::landmarks::{self, Face, POINTS};

/// A low-pass for each point whose cutoff rises with the point's speed. Source: the One-Euro filter (Casiez, Roussel, Vogel 2012), here
/// with speeds in face sides (the longer side of the box around the points) per second, so that it acts alike at any size of a face
/// and, all else being in seconds, at any frame rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneEuro {
    /// Cutoff of a point that is still.
    pub still_hz: f64,
    /// What is added to it at a speed of one face side per second.
    pub per_speed_hz: f64,
    /// Cutoff of the speed itself.
    pub speed_hz: f64,
}

impl Default for OneEuro {
    /// Measured on two people who talk (MediaPipe's points, 25 and 30 frames a second): the jitter of a face that is still falls to 0.46
    /// and 0.40, the lips' opening keeps 0.97 and 0.96 of its large movements (0.99 of its variation) and is 0.01 frames off at most.
    fn default() -> Self {
        Self { still_hz: 1.0, per_speed_hz: 50.0, speed_hz: 2.0 }
    }
}

impl OneEuro {
    /// How much of a shot's other end is gone through first, so that the filter is at speed when the shot begins.
    const RUN_UP_S: f64 = 1.0;

    /// The faces of one shot at `times_s`, rising, one for each; smoothed forwards and backwards, and the mean taken, so that it
    /// neither lags nor leads.
    pub fn smooth(&self, faces: &[Face], times_s: &[f64]) -> Vec<Face> {
        let mut moments: Vec<Moment> =
            faces.iter().zip(times_s).map(|(face, &time_s)| Moment { face, time_s }).collect();
        let forwards = self.pass(&moments);
        moments.reverse();
        let backwards = self.pass(&moments);
        let mean = |(a, b): (&Face, &Face)| between(a, b, 0.5);
        forwards.iter().zip(backwards.iter().rev()).map(mean).collect()
    }

    /// The filtered face of each moment, whichever way time runs.
    fn pass(&self, moments: &[Moment]) -> Vec<Face> {
        let Some(first) = moments.first() else { return Vec::new() };
        let is_near = |moment: &&Moment| (moment.time_s - first.time_s).abs() <= Self::RUN_UP_S;
        let run_up = moments.iter().take_while(is_near).count();
        let mut state = State::at(moments[run_up - 1].face);
        for pair in moments[..run_up].windows(2).rev() {
            state = self.step(&state, &pair[1], &pair[0]);
        }
        state.turn();
        let mut faces = vec![state.face()];
        for pair in moments.windows(2) {
            state = self.step(&state, &pair[0], &pair[1]);
            faces.push(state.face());
        }
        faces
    }

    fn step(&self, state: &State, before: &Moment, now: &Moment) -> State {
        // Two frames of one time are as good as none between them.
        let elapsed_s = (now.time_s - before.time_s).abs().max(1e-6);
        let side = f64::from(landmarks::side(now.face)).max(f64::from(f32::MIN_POSITIVE));
        let share = |cutoff_hz: f64| 1.0 / (1.0 + 1.0 / (TAU * cutoff_hz * elapsed_s));
        let bring = |share: f64, value: &mut [f64; 2], to: [f64; 2]| {
            value.iter_mut().zip(to).for_each(|(value, to)| *value += share * (to - *value));
        };
        let mut next = *state;
        for i in 0..POINTS {
            let [was, is] = [before.face[i], now.face[i]].map(|p| p.map(f64::from));
            let speed = &mut next.speeds[i];
            bring(share(self.speed_hz), speed, [0, 1].map(|axis| (is[axis] - was[axis]) / (side * elapsed_s)));
            let cutoff_hz = self.still_hz + self.per_speed_hz * speed[0].hypot(speed[1]);
            bring(share(cutoff_hz), &mut next.points[i], is);
        }
        next
    }
}

struct Moment<'a> {
    face: &'a Face,
    time_s: f64,
}

/// Of the filter: points in pixels, speeds in face sides per second.
#[derive(Clone, Copy)]
struct State {
    points: [[f64; 2]; POINTS],
    speeds: [[f64; 2]; POINTS],
}

impl State {
    fn at(face: &Face) -> Self {
        Self { points: face.map(|p| p.map(f64::from)), speeds: [[0.0; 2]; POINTS] }
    }

    fn face(&self) -> Face {
        self.points.map(|p| p.map(|v| v as f32))
    }

    /// Time runs the other way from here on.
    fn turn(&mut self) {
        self.speeds = self.speeds.map(|speed| speed.map(|v| -v));
    }
}

/// Puts faces into gaps of at most `longest_s`, from the first frame without a face to the next with one, on straight lines in
/// time between the faces at both sides. `faces` are those of one shot, `times_s` their times, rising. Returns the frames that stay
/// without: longer gaps, and what lies before the first face and behind the last.
pub fn fill_gaps(faces: &mut [Option<Face>], times_s: &[f64], longest_s: f64) -> Vec<Range<usize>> {
    let mut empty = Vec::new();
    let mut from = 0;
    while let Some(start) = (from..faces.len()).find(|&i| faces[i].is_none()) {
        let end = (start..faces.len()).find(|&i| faces[i].is_some()).unwrap_or(faces.len());
        let before = start.checked_sub(1).and_then(|i| faces[i]);
        let behind = faces.get(end).copied().flatten();
        match (before, behind) {
            // A rounding error of times is no longer gap.
            (Some(before), Some(behind)) if times_s[end] - times_s[start] <= longest_s + 1e-6 => {
                for i in start..end {
                    let part = (times_s[i] - times_s[start - 1]) / (times_s[end] - times_s[start - 1]).max(1e-6);
                    faces[i] = Some(between(&before, &behind, part as f32));
                }
            }
            _ => empty.push(start..end),
        }
        from = end;
    }
    empty
}

fn between(a: &Face, b: &Face, part: f32) -> Face {
    std::array::from_fn(|i| [0, 1].map(|axis| a[i][axis] + part * (b[i][axis] - a[i][axis])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A face of `side` pixels at `[x, y]` whose lower lip, point 57, is lower by `opening` of them.
    fn face(side: f64, [x, y]: [f64; 2], opening: f64) -> Face {
        let mut face: Face = std::array::from_fn(|i| {
            let [u, v] = [(i % 9) as f64 / 8.0, (i / 9) as f64 / 7.0];
            [x + side * u, y + side * v].map(|v| v as f32)
        });
        face[57][1] += (side * opening) as f32;
        face
    }

    /// From -1 to 1, another one for each `i`.
    fn noise(i: usize) -> f64 {
        let mixed = (i as u32 + 1).wrapping_mul(0x9e37_79b1);
        f64::from((mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca77) >> 8) / f64::from(1 << 23) - 1.0
    }

    fn times(count: usize, rate: f64) -> Vec<f64> {
        (0..count).map(|i| i as f64 / rate).collect()
    }

    fn rms(values: impl Iterator<Item = f64>) -> f64 {
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v * v, count + 1.0));
        (sum / count).sqrt()
    }

    #[test]
    fn jitter_of_a_still_face_falls_by_half_at_any_size_and_rate() {
        for (side, rate) in [(60.0, 25.0), (600.0, 25.0), (200.0, 60.0)] {
            let still = face(side, [100.0, 50.0], 0.0);
            let shaken: Vec<Face> = (0..200)
                .map(|frame| {
                    let amplitude = 0.004 * side;
                    std::array::from_fn(|i| {
                        [0, 1].map(|a| still[i][a] + (amplitude * noise(136 * frame + 2 * i + a)) as f32)
                    })
                })
                .collect();
            let smooth = OneEuro::default().smooth(&shaken, &times(200, rate));
            let off = |faces: &[Face]| {
                rms(faces.iter().flat_map(|face| (0..POINTS).map(|i| f64::from(face[i][0] - still[i][0]))))
            };
            let left = off(&smooth) / off(&shaken);
            assert!(left < 0.5, "{left:.2} of the jitter is left at {side} pixels and {rate} frames a second");
        }
    }

    #[test]
    fn a_fast_mouth_keeps_its_height_and_its_time() {
        // Three openings a second, a tenth of the face high: rapid speech.
        const OPENINGS_HZ: f64 = 3.0;
        for rate in [25.0, 30.0, 60.0] {
            let times = times(3 * rate as usize, rate);
            let opening = |time: f64| 0.05 * (1.0 - (TAU * OPENINGS_HZ * time).cos());
            let faces: Vec<Face> = times.iter().map(|&t| face(200.0, [0.0; 2], opening(t))).collect();
            let smooth = OneEuro::default().smooth(&faces, &times);
            // What of the movement is in phase with it, and what is a quarter off.
            let part = |faces: &[Face], wave: fn(f64) -> f64| -> f64 {
                let of = |(face, t): (&Face, &f64)| f64::from(face[57][1]) * wave(TAU * OPENINGS_HZ * t);
                faces.iter().zip(&times).map(of).sum()
            };
            let (was, is) = (part(&faces, f64::cos), part(&smooth, f64::cos));
            assert!(is / was > 0.95, "{:.3} of the height is left at {rate}", is / was);
            let late_s = (part(&smooth, f64::sin) / is).atan() / (TAU * OPENINGS_HZ);
            assert!(late_s.abs() < 0.002, "{late_s:.4} s off at {rate}");
        }
    }

    #[test]
    fn steady_motion_is_met_from_the_first_frame_to_the_last() {
        let times = times(50, 25.0);
        let faces: Vec<Face> = times.iter().map(|t| face(100.0, [200.0 * t, 0.0], 0.0)).collect();
        for (smooth, face) in OneEuro::default().smooth(&faces, &times).iter().zip(&faces) {
            let off = (smooth[0][0] - face[0][0]).abs();
            assert!(off < 0.6, "{off} pixels off");
        }
    }

    #[test]
    fn few_frames_and_equal_times_are_no_trouble() {
        let one = face(100.0, [3.0, 4.0], 0.0);
        assert!(OneEuro::default().smooth(&[], &[]).is_empty());
        assert_eq!(OneEuro::default().smooth(&[one], &[0.0]), [one]);
        let smooth = OneEuro::default().smooth(&[one, face(100.0, [9.0, 4.0], 0.0), one], &[0.0, 0.0, 0.04]);
        assert!(smooth.as_flattened().as_flattened().iter().all(|v| v.is_finite()));
        let point = [[5.0; 2]; POINTS];
        assert_eq!(OneEuro::default().smooth(&[point; 3], &[0.0, 0.1, 0.2]), [point; 3]);
    }

    #[test]
    fn short_gaps_are_filled_on_straight_lines() {
        let at = |x: f64| Some(face(100.0, [x, 0.0], 0.0));
        let seen = [None, at(0.0), None, None, at(30.0), at(40.0), None, None, None, at(80.0), None];
        let times: Vec<f64> = (0..seen.len()).map(|i| 0.1 * i as f64).collect();
        let mut faces = seen;
        assert_eq!(fill_gaps(&mut faces, &times, 0.2), [0..1, 6..9, 10..11]);
        for (frame, x) in [(2, 10.0), (3, 20.0)] {
            let found = faces[frame].unwrap()[0][0];
            assert!((found - x).abs() < 1e-4, "frame {frame} is at {found}, not at {x}");
        }
        let mut faces = seen;
        assert_eq!(fill_gaps(&mut faces, &times, 0.3), [0..1, 10..11]);
        assert!((faces[7].unwrap()[0][0] - 60.0).abs() < 1e-4);
        assert_eq!(fill_gaps(&mut [None, None], &times, 0.5), vec![0..2; 1]);
        assert!(fill_gaps(&mut [], &[], 0.5).is_empty());
    }
}
