"""What the UNets train on, made once by the networks before them: latents, masks, and what the speech encoders hear."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import files
from clips import Clip
from encoders import Beats, Hubert, WavLm
from vae import LATENT_SCALE, Vae

LATENT_STEP = 8
NOSE = 28  # the point from whose row the mask goes down
ENCODERS = {files.HUBERT: Hubert, files.WAVLM: WavLm, files.WAV2VEC2: Hubert, files.BEATS: Beats}


@dataclass
class Example:
    """A clip as the UNets see it: `mean` and `std` [n, 4, 16, 16] of its scaled latents, `mask` [n, 1, 16, 16] (1: to be made),
    `emotion` [n, 2], and by file name what an encoder heard, `heard[name]` [n, 2, channels]."""

    mean: Tensor
    std: Tensor
    mask: Tensor
    emotion: Tensor
    heard: dict[str, Tensor]
    identity: str


def box_mask(landmarks: np.ndarray, side: int) -> np.ndarray:
    """KeySync's mask "box" at the latents' size [n, side / 8, side / 8]: from the nose's row down, as wide as the face, corners
    truncated and included, the pixel (8 i, 8 j) of each cell."""
    at = np.arange(0, side, LATENT_STEP)
    top = landmarks[:, NOSE, 1].astype(int)
    left, right = landmarks[..., 0].min(1).astype(int), landmarks[..., 0].max(1).astype(int)
    rows = at[None] >= top[:, None]
    columns = (at[None] >= left[:, None]) & (at[None] <= right[:, None])
    return rows[:, :, None] & columns[:, None, :]


def pairs(vectors: Tensor, frames: int, padded: bool) -> Tensor:
    """Vectors [tokens, channels] of a clip as two a frame: with one of zeros at the end (`padded`: HuBERT, wav2vec 2.0), or resized
    to the nearest."""
    if padded:
        missing = 2 * frames - len(vectors)
        vectors = F.pad(vectors, (0, 0, 0, missing)) if missing > 0 else vectors[: 2 * frames]
    else:
        vectors = vectors[torch.arange(2 * frames) * len(vectors) // (2 * frames)]
    return vectors.view(frames, 2, -1)


def encoder(folder: Path, name: str) -> torch.nn.Module:
    """The encoder in `folder` with the weights of the file, which it was written with."""
    net = ENCODERS[name]()
    files.load(net.published()[0], folder / name)
    return net.eval()


@torch.no_grad()
def examples(clips: Path, folder: Path, encoders: list[str]) -> list[Example]:
    """All clips, by the autoencoder and the `encoders` in `folder`."""
    vae = Vae().eval()
    vae.load_state_dict(files.read(folder / files.VAE))
    nets = {name: encoder(folder, name) for name in encoders}
    made = []
    for path in sorted(clips.glob("?????.npz")):
        clip = Clip.load(path)
        frames = len(clip.frames)
        x = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
            parts = [vae.moments(part) for part in x.split(32)]
        mean, log_variance = (torch.cat(part).float() for part in zip(*parts))
        mask = box_mask(clip.landmarks, clip.frames.shape[1])
        if clip.occluded is not None:
            mask &= ~clip.occluded
        samples = torch.from_numpy(clip.samples)[: frames * 640]
        samples = F.pad(samples, (0, frames * 640 - len(samples)))[None]
        heard = {name: pairs(net(samples)[0], frames, isinstance(net, Hubert)) for name, net in nets.items()}
        made.append(
            Example(
                mean * LATENT_SCALE, (0.5 * log_variance).exp() * LATENT_SCALE, torch.from_numpy(mask)[:, None].float(),
                torch.from_numpy(clip.emotion), heard, clip.identity,
            )  # fmt: skip
        )
        if len(made) % 100 == 0:
            print(f"{len(made)} clips encoded", flush=True)
    return made
