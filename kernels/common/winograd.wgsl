// The two 1-D transforms of Winograd's minimal filtering, F(TILE - 2, 3), on pairs of channels; a 2-D one is a 1-D one over
// the columns and then the rows of a tile. src/ops/winograd.rs transforms the weights with the same points.
// A tile is TILE rows of ACROSS pixels: TILE under a 3x3 kernel; 1 under a 3x1 one, which leaves columns apart.
//
//   TILE 4   F(2,3), points 0, 1, -1 and infinity
//   TILE 6   F(4,3), points 0, A, -A, B, -B and infinity
//
// Row i of the input transform holds the coefficients of the product of (x - p) over all finite points p but the i-th, the
// last row of the product over all; row k of the output transform the k-th powers of the points.
// Source: Winograd 1980; Lavin and Gray 2016. A = 0.75 and B = 1.5 halve the error of the usual 1 and 2 in f16, and
// every coefficient is exact in f32.
const OUT = TILE - 2u;
const OUT_ACROSS = max(ACROSS, 3u) - 2u;
alias Line = array<vec2<f32>, TILE>;
alias OutLine = array<vec2<f32>, OUT>;
#if TILE == 6
const A = 0.75;
const B = 1.5;
const AA = A * A;
const BB = B * B;

fn transform_input(d: Line) -> Line {
    let even_a = d[4] - BB * d[2];
    let odd_a = A * (d[3] - BB * d[1]);
    let even_b = d[4] - AA * d[2];
    let odd_b = B * (d[3] - AA * d[1]);
    return Line(
        AA * BB * d[0] - (AA + BB) * d[2] + d[4],
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        AA * BB * d[1] - (AA + BB) * d[3] + d[5],
    );
}

fn transform_output(m: Line) -> OutLine {
    let even_a = m[1] + m[2];
    let odd_a = A * (m[1] - m[2]);
    let even_b = m[3] + m[4];
    let odd_b = B * (m[3] - m[4]);
    return OutLine(
        m[0] + even_a + even_b,
        odd_a + odd_b,
        AA * even_a + BB * even_b,
        AA * odd_a + BB * odd_b + m[5],
    );
}
#else
fn transform_input(d: Line) -> Line {
    return Line(d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1]);
}

fn transform_output(m: Line) -> OutLine {
    return OutLine(m[0] + m[1] + m[2], m[1] - m[2] + m[3]);
}
#end
