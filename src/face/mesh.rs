//! MediaPipe's face mesh as the 68 points of iBUG: picked by [`map`], then the jaw moved by [`correct`] to where dlib's points lie,
//! since the width of a mask and its lower edge hang on it.
//!
//! From dlib's own they are, as a part of the distance between the eyes, 0.03 off for the eyes and the mouth, 0.07 for the brows and
//! 0.10 for the jaw, which the correction brings to 0.07 (37 people in 258 pictures, each person corrected by the others' offsets).

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

/// Where dlib's points 0 to 8 lie from the map's, x towards the face's left ear and y towards the mouth, in parts of the distance
/// between the eyes; 9 to 16 mirror 7 to 0. The mean over 37 people and both halves of the face. What it leaves are people's own
/// jaws: offsets that follow the turn of the head gain 0.006 more, and nothing at a mask's edges.
const JAW_OFFSETS: [[f64; 2]; 9] = [
    [-0.014, 0.003],
    [-0.010, 0.059],
    [-0.026, -0.142],
    [-0.046, -0.115],
    [-0.045, -0.052],
    [0.011, 0.028],
    [-0.043, -0.012],
    [-0.088, 0.000],
    [0.000, 0.026],
];

const LAST_OF_JAW: usize = 16;

/// The 68 points that lie nearest to iBUG's among the mesh's 468 or 478: NaN for a point that is not there.
pub fn map(mesh: &[[f32; 2]]) -> Face {
    let point = |i: usize| mesh.get(i).copied().unwrap_or([f32::NAN; 2]);
    OF_IBUG.map(|pair| {
        let [a, b] = pair.map(point);
        [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
    })
}

/// A [`map`]ped face with its jaw, points 0 to 16, moved to where dlib's lies in the mean; the other points stay.
pub fn correct(face: &Face) -> Face {
    let centre = |eye: std::ops::Range<usize>| {
        [0, 1].map(|axis| face[eye.clone()].iter().map(|p| f64::from(p[axis])).sum::<f64>() / eye.len() as f64)
    };
    let (right, left) = (centre(36..42), centre(42..48));
    let [along_x, along_y] = [left[0] - right[0], left[1] - right[1]];
    let mut corrected = *face;
    for (i, point) in corrected[..=LAST_OF_JAW].iter_mut().enumerate() {
        let [x, y] = JAW_OFFSETS[i.min(LAST_OF_JAW - i)];
        let x = if 2 * i > LAST_OF_JAW { -x } else { x };
        point[0] += (x * along_x - y * along_y) as f32;
        point[1] += (x * along_y + y * along_x) as f32;
    }
    corrected
}

/// The 68 points of a file's face that has them, or one of [`SIZES`]: NaN for a point that is not there.
pub(super) fn to_face(points: &[[f32; 2]]) -> Face {
    match points.len() {
        POINTS => std::array::from_fn(|i| points[i]),
        _ => correct(&map(points)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A face with eyes 100 pixels apart and its other points all in one place, turned clockwise by a right angle if asked.
    fn face(turned: bool) -> Face {
        std::array::from_fn(|i| {
            let [x, y] = match i {
                36..42 => [100.0, 100.0],
                42..48 => [200.0, 100.0],
                _ => [150.0, 250.0],
            };
            if turned { [-y, x] } else { [x, y] }
        })
    }

    #[test]
    fn points_are_the_meshs_own_or_means_of_two() {
        let mesh: Vec<[f32; 2]> = (0..478).map(|i| [i as f32, 1_000.0 + i as f32]).collect();
        let face = map(&mesh);
        for (ibug, want) in [(0, 127.0), (8, 152.0), (16, 356.0), (29, 100.0), (36, 33.0), (59, 136.0), (67, 87.0)] {
            assert_eq!(face[ibug], [want, 1_000.0 + want], "point {ibug}");
        }
        assert!(map(&mesh[..200])[8] == [152.0, 1_152.0] && map(&mesh[..100])[8][0].is_nan());
    }

    #[test]
    fn the_jaw_is_moved_in_the_faces_own_frame() {
        let (upright, turned) = (correct(&face(false)), correct(&face(true)));
        let near = |a: [f32; 2], b: [f32; 2]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(near(upright[8], [150.0, 252.6]), "the chin went to {:?}", upright[8]);
        assert!(near(upright[3], [145.4, 238.5]), "a cheek went to {:?}", upright[3]);
        assert!(near(upright[13], [154.6, 238.5]), "the other one went to {:?}", upright[13]);
        for i in 0..POINTS {
            assert!(near(turned[i], [-upright[i][1], upright[i][0]]), "point {i} turned: {:?}", turned[i]);
        }
        assert_eq!(upright[LAST_OF_JAW + 1..], face(false)[LAST_OF_JAW + 1..]);
    }
}
