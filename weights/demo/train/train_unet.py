"""Stages 3 to 6: a UNet of KeySync or KeyFace.

usage: train_unet.py NETWORK CLIPS WORK OUT [--steps N]
NETWORK: keyframe, interpolation (KeySync's), keyface-keyframe, keyface-interpolation. OUT holds the autoencoder and the speech
encoders already.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import files
from diffusion import scalings
from features import Example, examples
from training import loop, write
from unet import VideoUnet, sinusoid
from vae import LATENT_SCALE

FRAMES = 14
BATCH = 8
WIDTHS, HEAD, CONTEXT = (32, 64), 16, 64
EMOTION = 32  # channels of valence and arousal together
UNHEARD, UNCONDITIONED = 0.2, 0.1  # shares of clips that hear nothing; that are not shown the conditioning latents
LATENT = 16


@dataclass(frozen=True)
class Kind:
    """One of the four networks."""

    file: str
    encoders: tuple[str, ...]
    embedder: int  # the audio projection's number among the conditioner's embedders
    interpolates: bool
    masked: bool

    @property
    def feels(self) -> bool:
        return not self.masked and not self.interpolates


KINDS = {
    "keyframe": Kind(files.KEYFRAME, (files.HUBERT,), 2, False, True),
    "interpolation": Kind(files.INTERPOLATION, (files.WAVLM,), 2, True, True),
    "keyface-keyframe": Kind(files.KEYFACE_KEYFRAME, (files.WAVLM, files.BEATS), 3, False, False),
    "keyface-interpolation": Kind(files.KEYFACE_INTERPOLATION, (files.WAV2VEC2, files.BEATS), 1, True, False),
}


class Network(nn.Module):
    """A UNet with what its checkpoint holds beside it."""

    def __init__(self, kind: Kind, channels: int):
        super().__init__()
        self.kind = kind
        inputs = 9 if kind.interpolates else 8
        self.unet = VideoUnet(inputs, CONTEXT + (EMOTION if kind.feels else 0), CONTEXT, WIDTHS, HEAD)
        self.audio = nn.Linear(channels, CONTEXT)
        if kind.interpolates:
            self.learned_mask = nn.Parameter(0.1 * torch.randn(4, LATENT, LATENT))

    def concat(self, latents: Tensor) -> Tensor:
        """`latents` [clips, 4, h, w], or of both ends [clips, 8, h, w], scaled, for each frame: [clips * 14, 4 or 5, h, w]."""
        latents = latents / LATENT_SCALE
        clips, _, h, w = latents.shape
        if not self.kind.interpolates:
            return latents[:, None].expand(-1, FRAMES, -1, -1, -1).flatten(0, 1)
        between = self.learned_mask.expand(clips, FRAMES - 2, -1, -1, -1)
        placed = torch.cat([latents[:, None, :4], between, latents[:, None, 4:]], 1)
        ends = torch.zeros(clips, FRAMES, 1, h, w)
        ends[:, [0, -1]] = 1
        return torch.cat([placed, ends], 2).flatten(0, 1)

    def forward(self, x: Tensor, sigma: Tensor, concat: Tensor, heard: Tensor, is_heard: Tensor, emotion: Tensor) -> Tensor:
        """F for `x` [clips * 14, 4, h, w] at `sigma` [clips]; `heard` [clips, 14, 2, channels], `emotion` [clips, 14, 2]."""
        _, _, c_in, c_noise = scalings(sigma.repeat_interleave(FRAMES))
        audio = self.audio(heard.mean(2)) * is_heard[:, None, None]
        label = audio.flatten(0, 1)
        if self.kind.feels:
            felt = [sinusoid(emotion[..., axis].flatten(), EMOTION // 2) for axis in (0, 1)]
            label = torch.cat([*felt, label], 1)
        return self.unet(torch.cat([x * c_in[:, None, None, None], concat], 1), c_noise, audio, label)

    def published(self) -> tuple[dict[str, Tensor], dict]:
        out = {f"model.diffusion_model.{name}": value for name, value in self.unet.state_dict().items()}
        out |= {f"conditioner.embedders.{self.kind.embedder}.linear.{n}": v for n, v in self.audio.state_dict().items()}
        if self.kind.interpolates:
            out["model.learned_mask"] = self.learned_mask
        return out, {"num_head_channels": HEAD}


def chosen(example: Example, kind: Kind, generator: torch.Generator) -> Tensor:
    """Frames of a training clip: 14 in a row, or keyframes some way apart, the first of them doubled as published batches begin."""
    draw = lambda limit: int(torch.randint(max(limit, 1), (1,), generator=generator))
    length = len(example.mean)
    if kind.interpolates:
        return draw(length - FRAMES + 1) + torch.arange(FRAMES)
    return torch.randperm(length, generator=generator)[:FRAMES].sort().values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=KINDS)
    parser.add_argument("clips", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--start", type=Path, help="folder of finished files to go on from, with a new course of the learning rate")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    kind = KINDS[args.network]
    pool = examples(args.clips, args.out, list(kind.encoders))
    pool = [each for each in pool if len(each.mean) >= FRAMES]
    channels = sum(pool[0].heard[name].shape[-1] for name in kind.encoders)
    torch.manual_seed(list(KINDS).index(args.network))
    net = Network(kind, channels)
    if args.start:
        files.load(net.published()[0], args.start / kind.file)

    @torch.compile
    def run(z: Tensor, mask: Tensor, noise: Tensor, sigma: Tensor, shown: Tensor, heard: Tensor, is_heard: Tensor, emotion: Tensor) -> Tensor:
        s = sigma.repeat_interleave(FRAMES)[:, None, None, None]
        x = (z + s * noise) * mask + z * (1 - mask)
        with torch.autocast("cpu", torch.bfloat16):
            output = net(x, sigma, net.concat(shown), heard, is_heard, emotion)
        c_skip, c_out, _, _ = scalings(s)
        target = (z - c_skip * x) / c_out
        error = (output.float() - target).square().mean(1, keepdim=True)
        return (error * mask).sum() / mask.sum()

    def loss_of(step: int, g: torch.Generator) -> Tensor:
        picked = [pool[i] for i in torch.randint(len(pool), (BATCH,), generator=g)]
        frames = [chosen(each, kind, g) for each in picked]
        gather = lambda of: torch.stack([of(each)[n] for each, n in zip(picked, frames)])
        mean, std = gather(lambda e: e.mean).flatten(0, 1), gather(lambda e: e.std).flatten(0, 1)
        z = mean + std * torch.randn(mean.shape, generator=g)
        mask = gather(lambda e: e.mask).flatten(0, 1) if kind.masked else torch.ones(len(z), 1, *z.shape[2:])
        if kind.interpolates:
            by_clip = z.view(BATCH, FRAMES, *z.shape[1:])
            shown = torch.cat([by_clip[:, 0], by_clip[:, -1]], 1)
        else:
            # KeySync and KeyFace are shown the first frame of a video: any other of the clip as well.
            other = [int(torch.randint(len(each.mean), (1,), generator=g)) for each in picked]
            shown = torch.stack([each.mean[n] + each.std[n] * torch.randn(each.mean[n].shape, generator=g) for each, n in zip(picked, other)])
        dice = torch.rand(BATCH, generator=g)
        is_heard = (dice >= UNHEARD).float()
        shown = shown * (dice >= UNCONDITIONED)[:, None, None, None]
        # The published noise levels, and one in four from all that the sampler visits.
        sigma = (1 + 1.2 * torch.randn(BATCH, generator=g)).exp()
        wide = (torch.rand(BATCH, generator=g) * 12.76 - 6.21).exp()
        sigma = torch.where(torch.rand(BATCH, generator=g) < 0.25, wide, sigma)
        heard = torch.stack([torch.cat([e.heard[name] for name in kind.encoders], -1)[n] for e, n in zip(picked, frames)])
        emotion = gather(lambda e: e.emotion)
        noise = torch.randn(z.shape, generator=g)
        return run(z, mask, noise, sigma, shown, heard, is_heard, emotion)

    loop(args.network, net, loss_of, args.steps, 1e-3, args.work)
    write(args.out / kind.file, *net.published())


if __name__ == "__main__":
    main()
