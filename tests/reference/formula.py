"""Weights by formula: every element follows from the tensor's name, its index and a seed, so a fixture stores none.

The rule is "formula 1" of the golden format: 24 bits of a splitmix64 hash give u in [-1, 1), and the tensor's name and
shape choose an offset and a scale. Every float operation is one f32 rounding. Run this file to test it.
"""
import math

import numpy as np

MASK = 2**64 - 1
STRIDE = 0x9E3779B97F4A7C15
TABLES = ("embed.weight", "token.weight", "tokens.weight", "relative_attention_bias.weight")
SPECIAL = (
    (("mix_factor",), 0, 1),
    (("running_mean",), 0, 0.1),
    (("running_var",), 1, 0.2),
    (("weight_g",), 2.5, 0.5),
    (("grep_a",), 1, 0.5),
    ((".scale", ".gamma"), 0.5, 0.25),
)


def name_hash(name):
    """FNV-1a, 64 bits, of the UTF-8 name."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def uniform(name, count, seed):
    """`count` values of u, f32, exact multiples of 2^-23."""
    z = np.arange(count, dtype=np.uint64) + np.uint64((name_hash(name) + (seed + 1) * STRIDE) & MASK)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def offset_and_scale(name, shape, gain):
    for endings, offset, scale in SPECIAL:
        if name.endswith(endings):
            return offset, scale
    if len(shape) >= 2:
        if name.endswith(TABLES) or not name.endswith((".weight", ".weight_v")):
            return 0, 1
        return 0, math.sqrt(3 / math.prod(shape[1:])) * gain
    if name.endswith("_3_norm.weight"):
        return 8, 0.8
    if name.endswith(".weight"):
        return 1, 0.1
    return 0, 0.05


def tensor(name, shape, seed, dtype="f32", gain=1.0):
    """f32 array of `shape`; with dtype "f16" its values are rounded to f16 first."""
    offset, scale = offset_and_scale(name, shape, gain)
    w = uniform(name, math.prod(shape), seed) * np.float32(scale)
    if offset:
        w += np.float32(offset)
    if dtype == "f16":
        w = w.astype(np.float16).astype(np.float32)
    return w.reshape(shape)


def check():
    """The check values published with the rule: first two elements and sum of bits(w[i]) * (2i + 1) mod 2^64."""
    out = "model.diffusion_model.out."
    proj = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.weight"
    for name, shape, dtype, seed, first, total in (
        (out + "2.weight", (4, 320, 3, 3), "f32", 41, (0xBCC39044, 0x3C0C1FC4), 0x03DBBD980EF46D81),
        (out + "2.weight", (4, 320, 3, 3), "f16", 41, (0xBCC3A000, 0x3C0C2000), 0x03DBBD98B4CFA000),
        (out + "0.weight", (320,), "f32", 41, (0x3F784CD7, 0x3F78555F), 0x000063320833482D),
        (out + "2.bias", (4,), "f32", 41, (0x3D471705, 0x3AE76933), 0x00000006476F3987),
        (proj, (2560, 320), "f16", 41, (0x3DAA4000, 0x3D2CA000), 0x62428F4F9E644000),
        ("encoder.pos_conv_embed.conv.weight_g", (1, 1, 128), "f32", 44, (0x40398CE7, 0x403DF79C), 0x000010077F4A0E7E),
    ):
        bits = tensor(name, shape, seed, dtype).ravel().view(np.uint32).astype(np.uint64)
        odd = np.arange(bits.size, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        assert tuple(bits[:2]) == first and int((bits * odd).sum()) == total, name
    print("formula: all check values agree")


if __name__ == "__main__":
    check()
