// ssim: y[t] = sum over the windows of tile t of
//   (2 ma mb + C1) (2 sab + C2) / ((ma^2 + mb^2 + C1) (saa + sbb + C2)),
//   m, s the means, variances and covariance of a and b under an 11x11 Gaussian of weights w x w, C1 = (0.01 * 255)^2,
//   C2 = (0.03 * 255)^2 (Wang et al. 2004, eq. 13), each colour by itself, only windows that lie in the picture.
//   a, b     u32 [words]                   bytes of packed RGB, four to a word
//   weight   f32 [11]                      w, sum 1
//   y        f32 [3, tile rows, tiles]     written everywhere
// Dispatch: one workgroup per tile of 16x16 windows, folded over x and y. The tile's pixels lie in workgroup memory, then, for
// every row of a window, mean m_r and variance s_r under w; the window's are m = sum w_r m_r and s = sum w_r (s_r + (m_r - m)^2),
// which unlike E[a^2] - E[a]^2 loses nothing where a picture is flat and bright.
#params
width: u32
height: u32
tiles: u32              // along x
tile_rows: u32
#end
#read a
#read b
#read weight
#write y
#include reduce

const TILE: u32 = 16u;
const TAPS: u32 = 11u;
const PATCH: u32 = TILE + TAPS - 1u;
const C1: f32 = 6.5025;
const C2: f32 = 58.5225;

var<workgroup> patch_ab: array<vec2<f32>, PATCH * PATCH>;
// Of each row of each window: means and variances of a and b, and their covariance.
var<workgroup> means: array<vec2<f32>, PATCH * TILE>;
var<workgroup> variances: array<vec2<f32>, PATCH * TILE>;
var<workgroup> covariances: array<f32, PATCH * TILE>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let tile = group_index(id, count);
    let plane = params.tiles * params.tile_rows;
    if tile >= 3u * plane { return; }
    let channel = tile / plane;
    let top = tile % plane / params.tiles * TILE;
    let left = tile % params.tiles * TILE;

    for (var i = local; i < PATCH * PATCH; i += WORKGROUP) {
        let row = min(top + i / PATCH, params.height - 1u);
        let column = min(left + i % PATCH, params.width - 1u);
        let at = (row * params.width + column) * 3u + channel;
        let shift = at % 4u * 8u;
        let bytes = vec2<u32>(a[at / 4u], b[at / 4u]) >> vec2<u32>(shift);
        patch_ab[i] = vec2<f32>(bytes & vec2<u32>(0xffu));
    }
    workgroupBarrier();

    for (var i = local; i < PATCH * TILE; i += WORKGROUP) {
        let start = i / TILE * PATCH + i % TILE;
        var mean = vec2<f32>();
        for (var k = 0u; k < TAPS; k++) { mean += weight_at(k) * patch_ab[start + k]; }
        var variance = vec2<f32>();
        var covariance = 0.0;
        for (var k = 0u; k < TAPS; k++) {
            let d = patch_ab[start + k] - mean;
            variance += weight_at(k) * d * d;
            covariance += weight_at(k) * d.x * d.y;
        }
        means[i] = mean;
        variances[i] = variance;
        covariances[i] = covariance;
    }
    workgroupBarrier();

    var total = 0.0;
    for (var i = local; i < TILE * TILE; i += WORKGROUP) {
        if top + i / TILE + TAPS > params.height || left + i % TILE + TAPS > params.width { continue; }
        var mean = vec2<f32>();
        for (var k = 0u; k < TAPS; k++) { mean += weight_at(k) * means[i + k * TILE]; }
        var variance = vec2<f32>();
        var covariance = 0.0;
        for (var k = 0u; k < TAPS; k++) {
            let d = means[i + k * TILE] - mean;
            variance += weight_at(k) * (variances[i + k * TILE] + d * d);
            covariance += weight_at(k) * (covariances[i + k * TILE] + d.x * d.y);
        }
        total += (2.0 * mean.x * mean.y + C1) * (2.0 * covariance + C2)
            / ((dot(mean, mean) + C1) * (variance.x + variance.y + C2));
    }
    let sum = reduce_sum(total, local);
    if local == 0u { y_set(tile, sum); }
}
