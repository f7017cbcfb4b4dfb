//! One timeline: which moment, source frame and inside frame belong to an output frame. Everything asks it.
//!
//! The source, shown at the output's rate, is a strip of frames; a job that lasts longer folds its own time back onto the strip,
//! once, for the frames that come out and for those inside alike. Time is counted in ticks that divide both an output frame and an
//! inside frame in two, so that the middles of frames are whole numbers.

use crate::media::{Fps, FrameTimes};

/// How a video that is too short goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extend {
    /// Backwards, then forwards again; neither end is shown twice in a row.
    #[default]
    Bounce,
    Loop,
    /// Its last frame.
    Hold,
}

/// The stretch of output frames that is made anew; the others are the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    /// The first frame behind it.
    pub end: u64,
}

/// What belongs to an output frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Its middle, in seconds from the start of the output.
    pub time_s: f64,
    /// The source frame that it shows, whose landmarks it has.
    pub source: u64,
    /// The frame at 25 a second whose mouth it gets; None where the source stays as it is.
    pub inside: Option<usize>,
    /// Where its middle lies among those of the frames at 25 a second, 0 being the first one's.
    pub place: f64,
}

#[derive(Debug, Clone)]
pub struct Timeline {
    times: FrameTimes,
    fps: Fps,
    /// Frames that the source fills at `fps`, 1 or more.
    strip: u64,
    extend: Extend,
    part: Option<Part>,
    /// Where the strip begins anew in a loop, in output frames and in inside frames.
    seams: Vec<Seam>,
}

#[derive(Debug, Clone, Copy)]
struct Seam {
    output: u64,
    inside: u64,
}

impl Timeline {
    /// A source whose frames lie at `times`, shown at `fps`, for `inside_frames` frames at 25 a second.
    pub fn new(times: FrameTimes, fps: Fps, extend: Extend, inside_frames: usize) -> Self {
        let strip = match times {
            FrameTimes::Constant { fps: own, count } if own == fps => count,
            _ => (times.duration_s() * fps.as_f64() + 0.5) as u64,
        };
        let mut timeline = Self { times, fps, strip: strip.max(1), extend, part: None, seams: Vec::new() };
        if extend == Extend::Loop {
            timeline.find_seams(inside_frames as u64);
        }
        timeline
    }

    /// The same where only `part` of the source is made anew: its inside frames are counted from there.
    pub fn of_part(self, part: Part) -> Self {
        Self { part: Some(part), ..self }
    }

    pub fn fps(&self) -> Fps {
        self.fps
    }

    pub fn times(&self) -> &FrameTimes {
        &self.times
    }

    /// Output frames before the source is at its end.
    pub fn strip(&self) -> u64 {
        self.strip
    }

    pub fn part(&self) -> Option<Part> {
        self.part
    }

    pub fn moment(&self, output: u64) -> Moment {
        let middle = self.frame_ticks() * u128::from(output) + self.frame_ticks() / 2;
        let cycle = self.seams.partition_point(|seam| seam.output <= output);
        let inside = match self.part {
            None => Some(output),
            Some(part) => (part.first..part.end).contains(&output).then(|| output - part.first),
        };
        Moment {
            time_s: self.seconds(middle),
            source: self.source_at(self.folded(middle, cycle)),
            inside: inside.map(|output| Fps::INSIDE.frame_of(output, self.fps) as usize),
            place: self.place(inside.unwrap_or(0)),
        }
    }

    /// The source frame that an inside frame is made for.
    pub fn source_of_inside(&self, inside: usize) -> u64 {
        let inside_ticks = self.inside_ticks();
        let start = self.part.map_or(0, |part| u128::from(part.first) * self.frame_ticks());
        let middle = start + inside as u128 * inside_ticks + inside_ticks / 2;
        let cycle = self.seams.partition_point(|seam| seam.inside <= inside as u64);
        self.source_at(self.folded(middle, cycle))
    }

    fn place(&self, output: u64) -> f64 {
        let half = self.frame_ticks() as f64 * (output as f64 + 0.5);
        half / self.inside_ticks() as f64 - 0.5
    }

    /// A second is `50 * fps.num` ticks.
    fn frame_ticks(&self) -> u128 {
        2 * u128::from(Fps::INSIDE.num()) * u128::from(self.fps.den())
    }

    fn inside_ticks(&self) -> u128 {
        2 * u128::from(self.fps.num())
    }

    fn seconds(&self, ticks: u128) -> f64 {
        ticks as f64 / (2.0 * f64::from(Fps::INSIDE.num()) * f64::from(self.fps.num()))
    }

    /// The place on the strip that is shown at `ticks`, in a loop behind `cycle` seams.
    fn folded(&self, ticks: u128, cycle: usize) -> u128 {
        let frame = self.frame_ticks();
        let (half, last) = (frame / 2, u128::from(self.strip - 1) * frame);
        if self.extend == Extend::Loop && cycle > 0 {
            let start = u128::from(self.seams[cycle - 1].output) * frame;
            return ticks.saturating_sub(start).min(last + half);
        }
        if ticks < last + frame {
            return ticks;
        }
        match self.extend {
            Extend::Bounce if last > 0 => {
                let there = (ticks - half) % (2 * last);
                half + if there <= last { there } else { 2 * last - there }
            }
            _ => last + half,
        }
    }

    fn source_at(&self, ticks: u128) -> u64 {
        match self.times {
            FrameTimes::Constant { fps, count } if fps == self.fps => {
                ((ticks / self.frame_ticks()) as u64).min(count.saturating_sub(1))
            }
            _ => self.times.at(self.seconds(ticks)),
        }
    }

    /// A loop begins anew where the borders of an output frame and of an inside frame lie at most half an output frame apart, up to
    /// some frames before the strip's end: so no mouth is made for one end of the strip and put into the other.
    fn find_seams(&mut self, inside_frames: u64) {
        let (frame, inside) = (self.frame_ticks(), self.inside_ticks());
        let end = u128::from(inside_frames) * inside;
        let shorter = frame.max(inside).div_ceil(frame) as u64;
        let mut output = 0;
        loop {
            let place = |output: u64| (u128::from(output) * frame + inside / 2) / inside;
            let fits = |output: &u64| (u128::from(*output) * frame).abs_diff(place(*output) * inside) <= frame / 2;
            let last = output + self.strip;
            let first = last - shorter.min(self.strip - 1);
            output = (first..=last).rev().find(fits).unwrap_or(last);
            if u128::from(output) * frame >= end {
                return;
            }
            self.seams.push(Seam { output, inside: place(output) as u64 });
        }
    }
}
