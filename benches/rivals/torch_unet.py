"""The published keyframe UNet in PyTorch on random weights, for torch_rival.py and torch_gpu.py: the plain network of
tests/reference/networks.py with PyTorch's fused attention in place of its own.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "reference"))
import networks  # noqa: E402

HEAD_DIM = 64
FRAMES = 14


def fused_attention(w, x, context, head_dim):
    q, k, v = (networks.linear(w.at(n), s).unflatten(-1, (-1, head_dim)).transpose(1, 2)
               for n, s in (("to_q", x), ("to_k", context), ("to_v", context)))
    return networks.linear(w.at("to_out.0"), F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


networks.attention = fused_attention


class Unet:
    """`shapes` is the file that `scripts/demo-shapes.py GOLDEN FILE` wrote. Device and type are torch's defaults."""

    def __init__(self, shapes, side):
        wanted = json.loads(pathlib.Path(shapes).read_text())["keyframe"]
        # Small weights keep a deep network of random ones finite; what they are does not change the time.
        self.tensors = {name: torch.randn(shape) * 0.02 for name, shape in wanted.items() if name.startswith("model.")}
        self.context = self.tensors["model.diffusion_model.label_emb.0.0.weight"].shape[1]
        self.side = side

    def forward(self, clips=1):
        """A run of one forward of `clips` clips; guidance takes a clip for each branch."""
        audio = torch.randn(clips, FRAMES, self.context)
        x, concat = torch.randn(clips * FRAMES, 4, self.side, self.side), torch.randn(clips, 4, self.side, self.side)
        c_noise, image_only = torch.full((clips * FRAMES,), 0.5), torch.zeros(clips, FRAMES)
        return lambda: networks.wrapped_unet(self.tensors, x, c_noise, concat, audio, image_only, HEAD_DIM)[0]
