"""Reading and writing files of the golden format: one safetensors file per case, its description in the metadata."""
import json
import os
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

import formula

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
DTYPES = {"float32": "F32", "int64": "I64", "uint32": "U32", "uint8": "U8"}


def published_folder():
    """The folder named by VISEME_GOLDEN, or None: the vectors made by the published code."""
    return Path(os.environ["VISEME_GOLDEN"]) if "VISEME_GOLDEN" in os.environ else None


def draw(seed, *shape, std=1.0):
    """Normal values, f32, the same on every machine."""
    return torch.from_numpy((np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32))


def rel_l2(a, b):
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


def formula_weights(shapes, seed):
    """`config.weights` of a file with these published names and shapes."""
    return {"formula": 1, "seed": seed, "dtype": "f32", "gain": 1.0, "tensors": {k: list(v) for k, v in shapes.items()}}


def generate(weights):
    """name -> torch f32 tensor of a `config.weights` description."""
    seed, dtype, gain = weights["seed"], weights["dtype"], weights["gain"]
    return {k: torch.from_numpy(formula.tensor(k, s, seed, dtype, gain)) for k, s in weights["tensors"].items()}


def write(file, case, description, config, tensors):
    """Floats are stored as f32 whatever they were computed in. Written here because the library shuffles the metadata."""
    config = json.dumps(config, separators=(",", ":"))
    header, data = {"__metadata__": {"case": case, "description": description, "config": config}}, bytearray()
    arrays = {k: t.detach().numpy() if isinstance(t, torch.Tensor) else t for k, t in tensors.items()}
    for name, a in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        a = a.astype(np.float32) if a.dtype == np.float64 else a
        start = len(data)
        data += a.tobytes()
        header[name] = {"dtype": DTYPES[a.dtype.name], "shape": a.shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    FIXTURES.mkdir(exist_ok=True)
    (FIXTURES / file).write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(f"{file}: {(FIXTURES / file).stat().st_size} bytes, case {case}")


def read(path):
    """(case, config, tensors without weights, weights by published name) of one file."""
    with safe_open(path, "pt") as f:
        meta = f.metadata()
        tensors = {k: f.get_tensor(k) for k in f.keys()}
    config = json.loads(meta["config"])
    weights = generate(config["weights"]) if "weights" in config else {}
    weights |= {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    return meta["case"], config, {k: v for k, v in tensors.items() if not k.startswith("weights.")}, weights


def double(tensors):
    return {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
