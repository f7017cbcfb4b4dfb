#!/usr/bin/env python3
"""A safetensors file of a published checkpoint's size: its names and shapes, random f16 values, written as they are drawn.

    scripts/make-big-checkpoint.py NAMES.json OUT.safetensors [KEY]

NAMES.json maps KEY (default: keyframe) to {name: shape}. Needs numpy; 3.2 GB for the keyframe model.
`VISEME_BIG_CHECKPOINT=OUT.safetensors cargo test --release --test weights big` reads it.
"""
import json
import math
import struct
import sys

import numpy as np

names, out, key = (sys.argv[1:] + ["keyframe"])[:3]
shapes = json.load(open(names))[key]
header, end = {"__metadata__": {"format": "pt"}}, 0
for name, shape in shapes.items():
    start, end = end, end + 2 * math.prod(shape)
    header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)

random = np.random.default_rng(0)
block = (0.02 * random.standard_normal(1 << 22, dtype=np.float32)).astype("<f2")
with open(out, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    left = end // 2
    while left > 0:
        file.write(np.roll(block, int(random.integers(block.size)))[:left].tobytes())
        left -= block.size
print(f"{out}: {len(shapes)} tensors, {end // 2} values, {8 + len(text) + end} bytes")
