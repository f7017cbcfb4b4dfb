"""Stage 1: the autoencoder. usage: train_vae.py CLIPS WORK OUT [--steps N]"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import files
from clips import Clip
from training import loop, write
from vae import LATENT_SCALE, Vae

BATCH = 8
KL = 3e-4
MOUTH_WEIGHT = 3.0  # of the pixels around the mouth, over the others'


def weights_of(landmarks: np.ndarray, side: int) -> np.ndarray:
    """What each pixel's error counts, [n, side, side]: more where eyes and mouth are."""
    y, x = np.mgrid[:side, :side] + 0.5
    out = np.ones((len(landmarks), side, side), np.float32)
    for part, weight in (((48, 68), MOUTH_WEIGHT), ((36, 48), 1.0)):
        points = landmarks[:, part[0] : part[1]]
        low, high = points.min(1), points.max(1)
        middle, reach = (low + high) / 2, (high - low).max(1) * 0.75
        distance = np.hypot(x - middle[:, 0, None, None], y - middle[:, 1, None, None]) / reach[:, None, None]
        out += weight * np.exp(-(distance**2))
    return out


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def error(y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Absolute error of pixels, of their differences to neighbours, and of both at a half to a sixteenth of the size: colours of
    large areas count as much as what is fine."""
    total = 0.0
    for level in range(5):
        if level:
            y, x, weight = F.avg_pool2d(y, 2), F.avg_pool2d(x, 2), F.avg_pool2d(weight, 2)
        total = total + ((y - x).abs() * weight).mean()
        for a, b, w in zip(edges(y), edges(x), (weight[..., :, 1:], weight[..., 1:, :])):
            total = total + ((a - b).abs() * w).mean()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6500)
    parser.add_argument("--rate", type=float, default=2e-3, help="of learning, at its highest")
    parser.add_argument("--start", type=Path, help="folder of finished files to go on from, with a new course of the learning rate")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    clips = [Clip.load(path) for path in sorted(args.clips.glob("?????.npz"))]
    print(f"{len(clips)} clips, {sum(len(clip.frames) for clip in clips)} frames", flush=True)
    net = Vae()
    if args.start:
        files.load(dict(net.state_dict()), args.start / files.VAE)

    @torch.compile
    def run(x: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = net.moments(x)
            mean, log_variance = mean.float(), log_variance.float()
            y = net.decoder(mean + (0.5 * log_variance).exp() * noise)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return error(y.float(), x, weight) + KL * kl

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rng = np.random.default_rng(step)
        chosen = [clips[i] for i in rng.integers(len(clips), size=BATCH)]
        places = [rng.integers(len(clip.frames)) for clip in chosen]
        frames = np.stack([clip.frames[n] for clip, n in zip(chosen, places)])
        weight = weights_of(np.stack([clip.landmarks[n] for clip, n in zip(chosen, places)]), frames.shape[1])
        if rng.random() < 0.5:
            frames, weight = frames[:, :, ::-1], weight[:, :, ::-1]
        x = torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        noise = torch.randn(BATCH, 4, x.shape[2] // 8, x.shape[3] // 8, generator=generator)
        return run(x, torch.from_numpy(weight.copy())[:, None], noise)

    loop("vae", net, loss_of, args.steps, args.rate, args.work)

    # Latents of mean 0 and deviation 1 after the published factor.
    rng = np.random.default_rng(0)
    with torch.no_grad():
        frames = np.stack([clip.frames[rng.integers(len(clip.frames))] for clip in clips])
        x = torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        means = torch.cat([net.moments(part)[0] for part in x.split(32)])
        net.rescale(1 / (LATENT_SCALE * means.std((0, 2, 3))))
    write(args.out / files.VAE, dict(net.state_dict()), {})


if __name__ == "__main__":
    main()
