"""Stage 2: a speech encoder, trained to tell visemes and the mouth's shape from sound, so that its vectors mean that.

usage: train_encoders.py hubert|wavlm|wav2vec2|beats WORK OUT [--steps N] [--librivox FOLDER]
Utterances are made at first need and kept in WORK/speech.npz.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import articulation
import files
import speech
from encoders import Beats, Hubert, WavLm
from pose import FPS
from training import loop, write
from visemes import VISEMES, viseme_track

NETS = {"hubert": (Hubert, files.HUBERT), "wavlm": (WavLm, files.WAVLM), "wav2vec2": (Hubert, files.WAV2VEC2), "beats": (Beats, files.BEATS)}
UTTERANCES = 6000
TOKENS_HZ = 50
BATCH, SECONDS = 8, 4.0
MOUTH_WEIGHT = 6.0  # of the squared error of the mouth's five columns


@dataclass
class Heard:
    """`samples` f32 [n]; `visemes` i64 and `mouth` f32 [.., 5], 50 a second."""

    samples: np.ndarray
    visemes: np.ndarray
    mouth: np.ndarray


def heard(utterance: speech.Utterance) -> Heard:
    tokens = int(utterance.duration * TOKENS_HZ)
    frames = articulation.frame_times(utterance.frames)
    times = (np.arange(tokens) + 0.5) / TOKENS_HZ
    mouth = articulation.articulate(utterance)
    mouth = np.stack([np.interp(times, frames, column) for column in mouth.T], 1).astype(np.float32)
    return Heard(utterance.samples, viseme_track(utterance.phones, utterance.duration, TOKENS_HZ)[:tokens], mouth)


def utterances(split: str, count: int, seed: int, librivox: Path | None) -> list[Heard]:
    rng = np.random.default_rng(seed)
    read = speech.librivox(librivox, split) if librivox else None
    return [heard(speech.utterance(rng, split, read)) for _ in range(count)]


def kept(path: Path, librivox: Path | None) -> list[Heard]:
    """The utterances to train on, from `path` where they lie there already."""
    if not path.exists():
        made = utterances("train", UTTERANCES, 7, librivox)
        joined = {name: np.concatenate([getattr(each, name) for each in made]) for name in ("visemes", "mouth")}
        samples = np.concatenate([each.samples for each in made]).astype(np.float16)
        sizes = np.array([(len(each.samples), len(each.visemes)) for each in made])
        np.savez(path, samples=samples, sizes=sizes, **joined)
    with np.load(path) as file:
        samples, sizes, visemes, mouth = (file[name] for name in ("samples", "sizes", "visemes", "mouth"))
    starts = np.concatenate([[[0, 0]], sizes.cumsum(0)])
    return [
        Heard(samples[a:b].astype(np.float32), visemes[c:d], mouth[c:d])
        for (a, c), (b, d) in zip(starts[:-1], starts[1:])
    ]


def batch(pool: list[Heard], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of several utterances one after the other, `SECONDS` long."""
    hop = speech.RATE // TOKENS_HZ
    tokens = int(SECONDS * TOKENS_HZ)
    rows = []
    for _ in range(BATCH):
        parts, have = [], 0
        while have < tokens:
            each = pool[rng.integers(len(pool))]
            first = int(rng.integers(max(1, len(each.visemes) - 50)))
            count = min(len(each.visemes) - first, tokens - have)
            parts.append((each.samples[first * hop : (first + count) * hop], each.visemes[first : first + count], each.mouth[first : first + count]))
            have += count
        rows.append([np.concatenate(column) for column in zip(*parts)])
    return tuple(torch.from_numpy(np.stack(column)) for column in zip(*rows))


class Listener(nn.Module):
    """An encoder with a linear reading of its vectors; the reading stays behind."""

    def __init__(self, net: nn.Module, channels: int):
        super().__init__()
        self.net = net
        self.visemes, self.mouth = nn.Linear(channels, len(VISEMES)), nn.Linear(channels, 5)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        h = self.net(samples)
        return self.visemes(h), self.mouth(h)


def correlation(listener: Listener, pool: list[Heard]) -> tuple[float, float]:
    """Of the opening that is read from the vectors with the true one, at 25 a second; and the share of right visemes."""
    found, right = [], []
    with torch.no_grad():
        for each in pool:
            visemes, mouth = listener(torch.from_numpy(each.samples)[None])
            n = min(len(each.mouth), mouth.shape[1]) // 2 * 2
            read, true = (track[:n].reshape(-1, TOKENS_HZ // FPS).mean(1) for track in (mouth[0, :, 0].numpy(), each.mouth[:, 0]))
            right.append((visemes[0, :n].argmax(1).numpy() == each.visemes[:n]).mean())
            if true.std() > 0.02:
                found.append(np.corrcoef(read, true)[0, 1])
    return float(np.mean(found)), float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NETS)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--librivox", type=Path)
    parser.add_argument("--start", type=Path, help="folder of finished files to go on from, with a new course of the learning rate")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    pool = kept(args.work / "speech.npz", args.librivox)
    test = utterances("test", 60, 8, args.librivox)
    make, file = NETS[args.name]
    torch.manual_seed(sorted(NETS).index(args.name))
    net = make()
    if args.start:
        files.load(net.published()[0], args.start / file)
    listener = Listener(net, net.projection.out_features)

    def loss_of(step: int, _: torch.Generator) -> Tensor:
        samples, visemes, mouth = batch(pool, np.random.default_rng(step))
        logits, read = listener(samples)
        n = min(logits.shape[1], visemes.shape[1])
        if step % 500 == 499:
            print(f"{args.name}: held out: opening's correlation, right visemes:", correlation(listener, test), flush=True)
        says = F.cross_entropy(logits[:, :n].flatten(0, 1), visemes[:, :n].flatten(), label_smoothing=0.05)
        return says + MOUTH_WEIGHT * F.mse_loss(read[:, :n], mouth[:, :n])

    loop(args.name, listener, loss_of, args.steps, 1.5e-3, args.work)
    print(f"{args.name}: held out: opening's correlation, right visemes:", correlation(listener, test), flush=True)
    write(args.out / file, *net.published())


if __name__ == "__main__":
    main()
