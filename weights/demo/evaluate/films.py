"""Held-out films to judge the demo networks by.

usage: films.py FOLDER [--films N] [--first N] [--seconds S] [--face drawn|astronaut|grace_hopper] [--librivox FOLDER]
Of each film FOLDER/NNN holds: input.mp4 (a face that says one thing), speech.wav (another thing), truth.mp4 (the same face and the
same motion, saying that), phones.txt (its phones, an Audacity label track). Faces, voices and sentences are not those of training;
lossless H.264, 256x256, 25 fps.
"""

import argparse
import subprocess
import wave
from pathlib import Path

import cv2
import numpy as np

import motion
import speech
from articulation import articulate, mouth_columns
from clips import FIRST_TEST_IDENTITY
from face import Face, relit
from painter import drawn
from portrait import portrait
from pose import FPS

SIZE = 256
LIGHT_SEED = 99_000  # of lights that training has not seen


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def write_video(path: Path, frames: np.ndarray, sound: Path) -> None:
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FPS), "-i", "-",
               "-i", str(sound), "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p", "-c:a", "pcm_s16le", "-f", "mov", str(path)]  # fmt: skip
    subprocess.run(command, input=np.ascontiguousarray(frames).tobytes(), check=True)


def face_of(name: str, number: int) -> Face:
    """Number `number` of the held-out drawn people, or a portrait in a light of its own."""
    rng = np.random.default_rng([LIGHT_SEED, number])
    return drawn(2 * FIRST_TEST_IDENTITY + number) if name == "drawn" else relit(portrait(name), rng)


def make(folder: Path, number: int, name: str, seconds: float, librivox: Path | None) -> None:
    """Writes film `number`, the same whenever it is made; what speaks anew is a read sentence for every other portrait."""
    rng = np.random.default_rng([number, 4, len(name)])
    old = speech.passage(rng, "test", seconds)
    new = speech.passage(rng, "test", seconds)
    if librivox and name != "drawn" and number % 2:
        read = speech.librivox(librivox, "test")
        new = read[number // 2 % len(read)]
        new = speech.cut(new, 0, min(seconds, new.duration))
    face = face_of(name, number)
    poses = motion.pose_track(old, rng)
    frames = min(old.frames, new.frames)
    poses = poses[:frames]
    told = poses.copy()
    told[:, mouth_columns()] = articulate(new)[:frames]

    folder.mkdir(parents=True, exist_ok=True)
    write_wav(folder / "speech.wav", new.samples[: frames * speech.RATE // FPS])
    write_wav(folder / "old.wav", old.samples[: frames * speech.RATE // FPS])
    for file, track, sound in (("input.mp4", poses, "old.wav"), ("truth.mp4", told, "speech.wav")):
        write_video(folder / file, face.render_clip(track, SIZE)[0], folder / sound)
    lines = (f"{phone.start:.3f}\t{phone.end:.3f}\t{phone.label}\n" for phone in new.phones if phone.start < frames / FPS)
    (folder / "phones.txt").write_text("".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=6.4)
    parser.add_argument("--face", choices=("drawn", "astronaut", "grace_hopper"), default="drawn")
    parser.add_argument("--librivox", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for number in range(args.first, args.first + args.films):
        make(args.folder / f"{number:03}", number, args.face, args.seconds, args.librivox)
        print(f"film {number} made", flush=True)


if __name__ == "__main__":
    main()
