"""A look at a UNet before `viseme` runs it: held-out clips made again from other speech.

usage: preview.py keyframe|interpolation|keyface-keyframe|keyface-interpolation CLIPS OUT SHEET.png [--guidance AUDIO,REFERENCE]
CLIPS are held-out clips of one length; the sound, and with it the mouth to compare with, is the next clip's. Rows: input, made,
and the clip whose sound it is. Interpolation is given true latents at its ends.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import files
from clips import Clip
from diffusion import sample, scalings
from features import examples
from train_unet import FRAMES, KINDS, Network
from vae import LATENT_SCALE, Vae


def load(kind_name: str, folder: Path, channels: int) -> Network:
    net = Network(KINDS[kind_name], channels)
    files.load(net.published()[0], folder / KINDS[kind_name].file)
    return net.eval()


@torch.no_grad()
def generate(net: Network, z: Tensor, mask: Tensor, shown: Tensor, heard: Tensor, emotion: Tensor, guidance: tuple[float, float]) -> Tensor:
    """Latents [clips * 14, 4, h, w] in KeySync's three branches: nothing, the conditioning latents, the sound as well."""
    clips = len(heard)
    three = lambda t: t.repeat(3, *([1] * (t.dim() - 1)))
    shown3, heard3, emotion3 = three(shown), three(heard), three(emotion)
    shown3[:clips] = 0
    is_heard = torch.zeros(3 * clips)
    is_heard[2 * clips :] = 1
    concat = net.concat(shown3)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        x = x * mask + z * (1 - mask)
        sigmas = torch.full((3 * clips,), float(sigma))
        c_skip, c_out, _, _ = scalings(torch.tensor(float(sigma)))
        with torch.autocast("cpu", torch.bfloat16):
            output = net(three(x), sigmas, concat, heard3, is_heard, emotion3).float()
        nothing, reference, all_ = (output * c_out + three(x) * c_skip).chunk(3)
        audio, ref = guidance
        made = audio * (all_ - reference) + ref * (reference - nothing) + nothing
        return made * mask + z * (1 - mask)

    return sample(denoise, torch.randn(z.shape, generator=torch.Generator().manual_seed(23)))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=KINDS)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--guidance", default="5,2", type=lambda text: tuple(map(float, text.split(","))))
    args = parser.parse_args()
    kind = KINDS[args.network]
    pool = examples(args.clips, args.out, list(kind.encoders))
    clips = [Clip.load(path) for path in sorted(args.clips.glob("?????.npz"))]
    net = load(args.network, args.out, sum(pool[0].heard[name].shape[-1] for name in kind.encoders))
    vae = Vae().eval()
    vae.load_state_dict(files.read(args.out / files.VAE))

    rows = []
    for n, (clip, example) in enumerate(zip(clips, pool)):
        other = (n + 1) % len(pool)
        length = min(len(example.mean), len(pool[other].mean))
        frames = torch.arange(FRAMES) + 20 if kind.interpolates else torch.linspace(0, length - 1, FRAMES).long()
        z = example.mean[frames]
        mask = example.mask[frames] if kind.masked else torch.ones_like(example.mask[frames])
        shown = torch.cat([z[:1], z[-1:]], 1) if kind.interpolates else example.mean[:1]
        heard = torch.cat([pool[other].heard[name] for name in kind.encoders], -1)[frames][None]
        made = generate(net, z, mask, shown, heard, example.emotion[frames][None], args.guidance)
        decoded = ((vae.decoder(made / LATENT_SCALE).permute(0, 2, 3, 1).clamp(-1, 1) + 1) * 127.5).byte().numpy()
        again = ((vae.decoder(z / LATENT_SCALE).permute(0, 2, 3, 1).clamp(-1, 1) + 1) * 127.5).byte().numpy()
        rows += [np.concatenate(list(part), 1) for part in (clip.frames[frames], again, decoded, clips[other].frames[frames])]
    cv2.imwrite(str(args.sheet), np.concatenate(rows)[..., ::-1])


if __name__ == "__main__":
    main()
