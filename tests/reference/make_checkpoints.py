"""Tiny checkpoints as torch.save writes them, and their tensors as safetensors: inputs and outputs of `viseme convert`."""
import argparse
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "checkpoints"


def save(name, whole, expected, **options):
    torch.save(whole, FOLDER / f"{name}.pt", **options)
    if expected is not None:
        save_file({k: v.detach().contiguous().clone() for k, v in expected.items()}, FOLDER / f"{name}.safetensors")


def types():
    """A flat state dict with every element type, scalars and empty tensors."""
    base = torch.tensor([0.0, 1.0, -2.5, 3.25, 100.0])
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.bool)
    state = {f"a.{str(kind).split('.')[1]}": base.to(kind) for kind in kinds}
    state |= {"a.uint8": base.abs().to(torch.uint8), "scalar": torch.tensor(7.5), "empty": torch.zeros(0, 3)}
    state["a.uint16"] = base.abs().to(torch.uint16)  # has no storage class of its own
    double = torch.tensor([1 / 3, 1e-3], dtype=torch.float64)
    save("types", state | {"double": double}, state | {"double": double.float()})


def wrapped():
    """As DeepSpeed leaves it: `module`, prefixes, a parameter; tensors that share storages or are views."""
    flat = torch.arange(24, dtype=torch.float32)
    matrix = flat.view(4, 6)
    state = {
        "_forward_module.model.flat": flat,
        "_forward_module.model.transposed": matrix.t(),
        "_forward_module.model.window": matrix[1:3, 2:5],
        "_forward_module.module.tail": flat[20:],
        "module.stepped": flat[1::5],
        "plain.parameter": torch.nn.Parameter(torch.full((2, 1, 2), 0.5)),
        "_extra_state": None,
    }
    names = {"flat": "model.flat", "transposed": "model.transposed", "window": "model.window"}
    expected = {names.get(k.rsplit(".", 1)[-1], k.split("module.")[-1]): v for k, v in state.items() if v is not None}
    save("wrapped", {"module": state, "epoch": 3, "optimizer": None, "param_shapes": [torch.Size([4, 6])]}, expected)


def with_config():
    """As WavLM is published: `cfg` and `model`; the state dict is that of a module."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(OrderedDict(proj=torch.nn.Linear(3, 2), norm=torch.nn.BatchNorm1d(2)))
    cfg = {"encoder_layers": 12, "conv": "[(512,10,5)] + [(512,3,2)] * 4", "prob": 0.65, "normalize": False}
    cfg |= {"sizes": (1, [2, -3]), "nested": argparse.Namespace(big=1 << 40, none=None), 5: "five"}
    state = model.state_dict()
    save("with_config", {"cfg": cfg, "model": state}, state)


FOLDER.mkdir(parents=True, exist_ok=True)
types()
wrapped()
with_config()
save("before_zip", {"a": torch.zeros(1)}, None, _use_new_zipfile_serialization=False)
for path in sorted(FOLDER.iterdir()):
    print(path.name, path.stat().st_size, "bytes")
