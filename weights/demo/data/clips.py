"""Talking-face clips as the lip-sync pipeline sees them: 128x128 crops around a face that speaks.

usage: clips.py FOLDER [--clips N] [--first N] [--split train|test] [--seconds S] [--librivox FOLDER] [--jobs N]
Writes FOLDER/NNNNN.npz, one a clip (see [`Clip`]); what is there already stays, so that a killed run goes on.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import motion
import speech
from face import Face, relit
from occluders import occluder, skin_colour
from painter import drawn
from portrait import NAMES, portrait
from pose import FPS
from visemes import Phone

SIDE = 128
MARGIN = 1.9  # the crop's side over that of the landmarks' box, as src/pipelines/region.rs has it
FOLLOWED_S = 0.48  # seconds before and after over which the crop's middle is averaged
ROOM = 1.25  # what is rendered around a crop that follows the head, over the crop's side
SCENE = int(ROOM * SIDE)
FIRST_TEST_IDENTITY = 1_000_000


@dataclass
class Clip:
    """`frames` u8 [n, 128, 128, 3], `landmarks` f32 [n, 68, 2] in their pixels, `occluded` bool [n, 16, 16] or None: pixel (8 i, 8 j)
    belongs to what hides the face; `emotion` f32 [n, 2], valence and arousal; `samples` f32 at 16 kHz; `poses` [n, len(POSE)]."""

    frames: np.ndarray
    landmarks: np.ndarray
    occluded: np.ndarray | None
    emotion: np.ndarray
    poses: np.ndarray
    samples: np.ndarray
    phones: list[Phone]
    identity: str

    def save(self, path: Path) -> None:
        """Writes the whole file or none."""
        fields = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        labels = np.array([phone.label for phone in self.phones])
        times = np.array([(phone.start, phone.end) for phone in self.phones], np.float32).reshape(-1, 2)
        part = path.with_suffix(".part.npz")
        np.savez(part, labels=labels, times=times, identity=np.array(self.identity), **fields)
        os.replace(part, path)

    @staticmethod
    def load(path: Path) -> "Clip":
        with np.load(path) as file:
            phones = [Phone(str(label), *map(float, time)) for label, time in zip(file["labels"], file["times"])]
            names = ("frames", "landmarks", "emotion", "poses", "samples")
            occluded = file["occluded"] if "occluded" in file else None
            return Clip(**{n: file[n] for n in names}, occluded=occluded, phones=phones, identity=str(file["identity"]))


def framing(face: Face, poses: np.ndarray, rng: np.random.Generator | None) -> tuple[float, np.ndarray]:
    """Side and middles [n, 2] of the crop in the picture's pixels as the pipeline places it, a little off where `rng` is given."""
    side = float(min(face.picture.shape[:2]))
    points = np.stack([face.landmarks(pose, int(side)) for pose in poses])
    low, high = points.min(1), points.max(1)
    size = MARGIN * np.quantile((high - low).max(1), 0.95)
    reach = round(FOLLOWED_S * FPS)
    middles = (low + high) / 2
    smoothed = np.stack([middles[max(0, n - reach) : n + reach + 1].mean(0) for n in range(len(middles))])
    if rng is None:
        return size, smoothed
    size *= rng.uniform(0.92, 1.1)
    if rng.random() < 0.4:
        smoothed = np.repeat(smoothed.mean(0, keepdims=True), len(smoothed), 0)
    return size, smoothed + rng.normal(0, 0.02 * size, 2)


def render(face: Face, poses: np.ndarray, size: float, middles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames [n, 128, 128, 3] and landmarks [n, 68, 2] in squares of `size` pixels of the picture around `middles`."""
    room = ROOM * size
    corner = middles.mean(0) - room / 2
    crop = (float(corner[0]), float(corner[1]), room)
    scale = SIDE / size
    frames, landmarks = [], []
    for pose, middle in zip(poses, middles):
        # Where the crop's corner lies in what is rendered, in its pixels.
        left, top = (middle - size / 2 - corner) * scale
        scene = face.render(pose, SCENE, crop)
        shift = np.array([[1, 0, left], [0, 1, top]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(scene, shift, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE))
        landmarks.append(face.landmarks(pose, SCENE, crop) - (left, top))
    return np.stack(frames), np.stack(landmarks).astype(np.float32)


def identity(rng: np.random.Generator, split: str) -> tuple[Face, str]:
    """A drawn person, or for one clip in eight of training a portrait in a light of its own."""
    if split == "train" and rng.random() < 0.125:
        name = NAMES[rng.integers(len(NAMES))]
        return relit(portrait(name), rng), name
    seed = int(rng.integers(FIRST_TEST_IDENTITY)) + (FIRST_TEST_IDENTITY if split == "test" else 0)
    return drawn(seed), f"drawn {seed}"


def make(number: int, split: str, seconds: float, librivox: Path | None) -> Clip:
    """Clip `number` of a split: the same whenever it is made."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([number, split == "test"])
    read = speech.librivox(librivox, split) if librivox else []
    dice = rng.random()
    if dice < 0.04:
        said = speech.recorded(speech.silence(seconds), rng)
    elif dice < 0.12:
        said = speech.nonspeech_utterance(rng, ("laugh", "sigh", "cough")[rng.integers(3)])
    elif read and dice < 0.2:
        said = speech.recorded(speech.at_speed(read[rng.integers(len(read))], rng.uniform(0.87, 1.15)), rng)
    else:
        said = speech.passage(rng, split, seconds)
    start = rng.uniform(0, max(said.duration - seconds, 0))
    said = speech.cut(said, start, start + min(seconds, said.duration))

    neutral = rng.random() < 0.5
    emotion = np.clip(rng.normal(0, 0.15, 2), -0.3, 0.3)[None].repeat(said.frames, 0) if neutral else None
    emotion = motion.emotion_curve(said.frames, rng) if emotion is None else emotion
    face, name = identity(rng, split)
    poses = motion.pose_track(said, rng, emotion)
    frames, landmarks = render(face, poses, *framing(face, poses, rng))

    occluded = None
    if rng.random() < 0.1:
        hider = occluder(rng, SIDE, skin_colour(frames[0], landmarks[0]))
        drawn_over = [hider.draw(f, l, n / FPS) for n, (f, l) in enumerate(zip(frames, landmarks))]
        frames = np.stack([frame for frame, _ in drawn_over])
        occluded = np.stack([mask[::8, ::8] for _, mask in drawn_over])
    return Clip(frames, landmarks, occluded, emotion.astype(np.float32), poses, said.samples, said.phones, name)


def _make(path: Path, *args) -> None:
    if not path.exists():
        make(*args).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--seconds", type=float, default=3.2)
    parser.add_argument("--librivox", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    numbers = range(args.first, args.first + args.clips)
    with ProcessPoolExecutor(args.jobs) as pool:
        made = [pool.submit(_make, args.folder / f"{n:05}.npz", n, args.split, args.seconds, args.librivox) for n in numbers]
        for count, each in enumerate(made, 1):
            each.result()
            if count % 50 == 0:
                print(f"{count} of {len(made)} clips", flush=True)


if __name__ == "__main__":
    main()
