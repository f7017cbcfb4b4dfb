"""Holds these networks to reference vectors of the published code. usage: check_networks.py GOLDEN_FOLDER"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from encoders import Beats, Hubert, WavLm
from unet import VideoUnet

BAR = 1e-5


def load(published: dict[str, Tensor], stored: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in published.items():
            value.copy_(stored[f"weights.{name}"])


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


@torch.no_grad()
def main() -> None:
    golden, errors = Path(sys.argv[1]), {}
    for name, net, given in (
        ("09_hubert", Hubert(16, 64, 4, 3), "normalized"),
        ("10_wavlm", WavLm(features=16, channels=64, heads=4, layers=3), "waveform"),
        ("11_beats", Beats(32, 64, 4, 2), "waveform"),
    ):
        file = load_file(golden / f"{name}.safetensors")
        load(net.published()[0], file)
        y = net(file[f"input.{given}"].reshape(1, -1))
        want = file["output.features"] if "output.features" in file else file["output.last_hidden_state"]
        errors[name] = error(y.flatten(0, 1), want.flatten(0, -2))

    for name, inputs in (("02_unet_interpolation", 9),):
        file = load_file(golden / f"{name}.safetensors")
        net = VideoUnet(inputs, 64, 64, (32, 32), 16)
        load({f"model.diffusion_model.{n}": v for n, v in net.state_dict().items()}, file)
        x, concat, audio = (file[f"input.t14.{part}"] for part in ("x", "concat", "crossattn"))
        between = file["weights.model.learned_mask"].expand(3, 12, -1, -1, -1)
        placed = torch.cat([concat[:, None, :4], between, concat[:, None, 4:]], 1).flatten(0, 1)
        ends = torch.zeros(3, 14, 1, *x.shape[2:])
        ends[:, [0, -1]] = 1
        y = net(torch.cat([x, placed, ends.flatten(0, 1)], 1), file["input.t14.c_noise"], audio, audio.flatten(0, 1))
        errors[name] = error(y, file["output.t14.y"])

    for name, value in errors.items():
        print(f"{name}: {value:.1e}")
    if max(errors.values()) > BAR:
        sys.exit(f"more than {BAR:.0e} off")


if __name__ == "__main__":
    main()
