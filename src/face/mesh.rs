//! MediaPipe's face mesh as the 68 points of iBUG. They come as near to dlib's own as 0.02 of the distance between the eyes for eyes,
//! nose and mouth, 0.04 for the brows and 0.08 for the jaw (the mean over 50 faces).

use super::landmarks::{Face, POINTS};

/// How many points the mesh has: without the irises, and with them behind the others.
pub(super) const SIZES: [usize; 2] = [468, 478];

/// The mesh's points whose mean is each of the 68; one point twice is itself.
#[rustfmt::skip]
const OF_IBUG: [[usize; 2]; POINTS] = [
    [127, 127], [234, 234], [132, 132], [58, 58], [172, 172], [136, 136], [149, 149], [148, 148], [152, 152], [377, 377], [378, 378], [365, 365],
    [397, 397], [288, 288], [361, 361], [454, 454], [356, 356], [70, 70], [63, 63], [105, 105], [66, 66], [107, 107], [336, 336], [296, 296],
    [334, 334], [293, 293], [300, 300], [168, 168], [197, 197], [195, 5], [4, 4], [75, 75], [97, 97], [2, 2], [326, 326], [305, 305],
    [33, 33], [160, 160], [158, 158], [133, 133], [153, 153], [144, 144], [362, 362], [385, 385], [387, 387], [263, 263], [373, 373], [380, 380],
    [61, 61], [39, 39], [37, 37], [0, 0], [267, 267], [269, 269], [291, 291], [321, 405], [314, 314], [17, 17], [84, 84], [91, 181],
    [78, 78], [82, 82], [13, 13], [312, 312], [308, 308], [317, 317], [14, 14], [87, 87],
];

/// The 68 points of a face that has them, or one of [`SIZES`]: NaN for a point that is not there.
pub(super) fn to_face(points: &[[f32; 2]]) -> Face {
    let point = |i: usize| points.get(i).copied().unwrap_or([f32::NAN; 2]);
    std::array::from_fn(|i| match points.len() {
        POINTS => point(i),
        _ => {
            let [a, b] = OF_IBUG[i].map(point);
            [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
        }
    })
}
