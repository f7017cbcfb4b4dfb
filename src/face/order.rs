//! Whether points are those of a face in iBUG's order. Everything asked here holds for a head that is tilted, upside down, in
//! profile or with an open mouth; what fails is another order, another axis, or a mirror.

use super::landmarks::{Face, side};
use crate::{Problem, Result};

/// What else points may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Shuffled,
    Swapped,
    Mirrored,
    UpsideDown,
}

/// `faces` with their frames. Errors: most of them are no faces in iBUG's order. One that a detector got wrong is no reason to refuse
/// a clip.
pub(super) fn check(subject: &str, faces: &[(usize, &Face)]) -> Result<()> {
    let faults: Vec<(usize, Fault)> = faces.iter().filter_map(|&(frame, face)| Some((frame, fault(face)?))).collect();
    if 2 * faults.len() <= faces.len() {
        return Ok(());
    }
    let (frame, fault) = faults[0];
    let (found, remedy) = match fault {
        Fault::Shuffled => {
            ("points in another order", "order them as iBUG's 68: jaw, brows, nose, eyes, outer and inner lip")
        }
        Fault::Swapped => ("what looks like [y, x]", "give each point as [x, y]"),
        Fault::Mirrored => (
            "a mirrored face",
            "points count from the picture's left, as it is shown; find them anew if the video was mirrored",
        ),
        Fault::UpsideDown => ("y that counts from the bottom", "subtract y from the picture's height"),
    };
    let count = format!("{subject}, frame {frame} and {} of {} in all", faults.len(), faces.len());
    Err(Problem::new(count, "68 points of a face, [x, y] from the top left, in iBUG's order", found)
        .remedy(remedy)
        .input())
}

fn fault(face: &Face) -> Option<Fault> {
    let (right_eye, left_eye) = (middle(&face[36..42]), middle(&face[42..48]));
    let eyes = halfway(right_eye, left_eye);
    let down = minus(middle(&face[48..68]), eyes);
    let height = dot(down, down);
    // Where points follow each other along a face, the whole way is about 5 of its sides; through points in any order about 25.
    let way: f64 = PARTS.iter().map(|&(from, to)| way(&face[from..to])).sum();
    if way > LONGEST_WAY * f64::from(side(face)) {
        return Some(Fault::Shuffled);
    }
    // How far down from the eyes, in distances to the mouth: the nose lies between, if it is not seen from far below or above; the
    // chin beyond.
    let depth = |point: [f64; 2]| dot(minus(point, eyes), down) / height;
    if !(-0.5..=1.5).contains(&depth(middle(&face[27..36]))) || depth(middle(&face[7..10])) < 0.5 {
        return Some(Fault::Shuffled);
    }
    // From eye to eye, then down: clockwise as seen in the picture, whichever way up it is. In profile the eyes meet, and may
    // change places by a little.
    let across = minus(left_eye, right_eye);
    if (across[0] * down[1] - across[1] * down[0]) / height >= MOST_PROFILE {
        return None;
    }
    Some(match () {
        () if down[0] > down[1].abs() => Fault::Swapped,
        () if down[1] < -down[0].abs() => Fault::UpsideDown,
        () => Fault::Mirrored,
    })
}

/// Stretches of points that follow each other.
const PARTS: [(usize, usize); 9] =
    [(0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68)];
const LONGEST_WAY: f64 = 12.0;
const MOST_PROFILE: f64 = -0.35;

fn middle(points: &[[f32; 2]]) -> [f64; 2] {
    [0, 1].map(|axis| points.iter().map(|p| f64::from(p[axis])).sum::<f64>() / points.len() as f64)
}

fn halfway(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
}

fn minus(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] - b[0], a[1] - b[1]]
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

fn way(points: &[[f32; 2]]) -> f64 {
    let step = |pair: &[[f32; 2]]| minus(pair[1].map(f64::from), pair[0].map(f64::from));
    points.windows(2).map(step).map(|step| dot(step, step).sqrt()).sum()
}
