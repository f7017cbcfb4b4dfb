// The activation of an epilogue. ACTIVATION: 0 none, 1 SiLU, 2 GELU (erf).
#include gelu
fn activate(v: vec4<f32>) -> vec4<f32> {
#if ACTIVATION == 1
    return v / (1.0 + exp(-v));
#else
#if ACTIVATION == 2
    return gelu(v);
#else
    return v;
#end
#end
}
