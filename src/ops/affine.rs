//! Affine maps of the plane: where a crop lies in its picture, and how one face lies on another.

/// [x, y] -> [a x + b y + c, d x + e y + f], rows `[a, b, c]` and `[d, e, f]`. Points are in pixels, x right and y down, 0 being a
/// picture's edge: the first pixel's centre is at [1/2, 1/2].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine(pub [[f64; 3]; 2]);

impl Affine {
    pub const IDENTITY: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);

    pub fn translation(x: f64, y: f64) -> Self {
        Self([[1.0, 0.0, x], [0.0, 1.0, y]])
    }

    pub fn scaling(x: f64, y: f64) -> Self {
        Self([[x, 0.0, 0.0], [0.0, y, 0.0]])
    }

    /// Clockwise as it is seen, about the origin, by `angle` in radians.
    pub fn rotation(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self([[cos, -sin, 0.0], [sin, cos, 0.0]])
    }

    pub fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        self.0.map(|[a, b, c]| a * x + b * y + c)
    }

    /// This map, and `next` behind it.
    pub fn then(&self, next: &Self) -> Self {
        let [[a, b, c], [d, e, f]] = self.0;
        Self(next.0.map(|[p, q, r]| [p * a + q * d, p * b + q * e, p * c + q * f + r]))
    }

    /// The map back; None where all points fall on a line.
    pub fn inverse(&self) -> Option<Self> {
        let [[a, b, c], [d, e, f]] = self.0;
        let determinant = a * e - b * d;
        let is_fine = determinant.is_finite() && determinant.abs() > f64::MIN_POSITIVE;
        is_fine.then(|| {
            let [a, b, d, e] = [e, -b, -d, a].map(|v| v / determinant);
            Self([[a, b, -a * c - b * f], [d, e, -d * c - e * f]])
        })
    }

    /// Lengths along x and along y behind the map of a length of 1 before it.
    pub fn scales(&self) -> [f64; 2] {
        let [[a, b, _], [d, e, _]] = self.0;
        [a.hypot(d), b.hypot(e)]
    }

    /// Smallest and largest x, then y, of the rectangle from 0 to `size` behind the map.
    pub fn bounds(&self, size: [f64; 2]) -> [[f64; 2]; 2] {
        self.0.map(|[a, b, c]| {
            let [along, across] = [a * size[0], b * size[1]];
            [c + along.min(0.0) + across.min(0.0), c + along.max(0.0) + across.max(0.0)]
        })
    }

    /// a to f, as kernels are told.
    pub(super) fn coefficients(&self) -> [f32; 6] {
        std::array::from_fn(|i| self.0[i / 3][i % 3] as f32)
    }

    /// Whether rows stay rows.
    pub fn is_upright(&self) -> bool {
        self.0[0][1] == 0.0 && self.0[1][0] == 0.0
    }

    /// The similarity (turned, scaled, moved) that brings `from` nearest to `to` in the mean square; None for fewer than two points
    /// or where all of `from` are one. Source: Umeyama 1991, in the plane, without mirroring.
    pub fn similarity(from: &[[f64; 2]], to: &[[f64; 2]]) -> Option<Self> {
        let count = from.len().min(to.len());
        let mean = |points: &[[f64; 2]]| {
            [0, 1].map(|axis| points[..count].iter().map(|p| p[axis]).sum::<f64>() / count.max(1) as f64)
        };
        let ([fx, fy], [tx, ty]) = (mean(from), mean(to));
        let (mut along, mut across, mut spread) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let ([x, y], [u, v]) = ([p[0] - fx, p[1] - fy], [q[0] - tx, q[1] - ty]);
            along += x * u + y * v;
            across += x * v - y * u;
            spread += x * x + y * y;
        }
        let is_fine = count >= 2 && spread.is_finite() && spread > 0.0;
        is_fine.then(|| {
            let (a, b) = (along / spread, across / spread);
            Self([[a, -b, tx - a * fx + b * fy], [b, a, ty - b * fx - a * fy]])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Affine;

    #[test]
    fn maps_follow_each_other_and_lead_back() {
        let map = Affine::rotation(0.4).then(&Affine::scaling(2.0, 3.0)).then(&Affine::translation(-7.0, 5.0));
        let back = map.inverse().unwrap();
        for point in [[0.0, 0.0], [3.0, -8.0], [100.5, 2.25]] {
            let round = back.at(map.at(point));
            assert!((0..2).all(|axis| (round[axis] - point[axis]).abs() < 1e-9), "{point:?} came back as {round:?}");
        }
        assert_eq!(Affine::scaling(0.0, 1.0).inverse(), None);
        let quarter = Affine([[0.0, -1.0, 5.0], [1.0, 0.0, 7.0]]);
        assert_eq!(quarter.bounds([2.0, 3.0]), [[2.0, 5.0], [7.0, 9.0]]);
    }

    #[test]
    fn a_similarity_is_found_again() {
        let map = Affine::rotation(-1.2).then(&Affine::scaling(0.7, 0.7)).then(&Affine::translation(40.0, 9.0));
        let from = [[0.0, 0.0], [10.0, 1.0], [3.0, 20.0], [-4.0, 6.0]];
        let found = Affine::similarity(&from, &from.map(|p| map.at(p))).unwrap();
        for (row, want) in found.0.iter().zip(map.0) {
            assert!(row.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}, want {map:?}");
        }
        assert_eq!(Affine::similarity(&from[..1], &from[..1]), None);
        assert_eq!(Affine::similarity(&[[1.0, 1.0]; 3], &from), None);
    }
}
