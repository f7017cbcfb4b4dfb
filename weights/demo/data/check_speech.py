"""Figures of the utterances and their mouths, and a plot of some: `python check_speech.py LIBRIVOX_FOLDER PLOT.png`.

Prints per source how the sound's level agrees with its phones, how often p, b, m find lips closed, and how well a
linear regression from log-mel frames predicts the mouth's columns on held-out words and voices: the floor of what a
network can learn.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from articulation import MOUTH, articulate, frame_times, parts
from motion import pose_track
from pose import COLUMN, FPS
from sentences import sentence
from speech import RATE, Utterance, librivox, nonspeech_utterance, padded, recorded, speak, speak_flite, speech

_VOICELESS_STOPS = ("p", "t", "k", "P", "T", "K")
_COLOURS = {
    "open": (0, 0, 0),
    "wide": (200, 0, 200),
    "round": (255, 0, 0),
    "tuck": (0, 160, 0),
    "tongue": (0, 140, 255),
}


def level_db(utterance: Utterance, start: float, end: float) -> float:
    """Lowest level of 20 ms between `start` and `end` against the utterance's loudest 20 ms, dB."""
    power = np.convolve(np.square(utterance.samples, dtype=np.float64), np.ones(320) / 320, "same")
    first = int(start * RATE)
    lowest = power[first : max(int(end * RATE), first + 1)].min()
    return 10 * np.log10(lowest / power.max() + 1e-9)


def closures(utterance: Utterance) -> list[float]:
    """The least opening within each p, b, m, give or take a frame."""
    opening, times = articulate(utterance)[:, 0], frame_times(utterance.frames)
    margin = 1 / FPS
    return [
        opening[(times >= phone.start - margin) & (times <= phone.end + margin)].min()
        for phone in utterance.phones
        if parts(phone.label)[0] == "pbm"
    ]


def report_times(name: str, said: list[Utterance]) -> None:
    """Vowels must be loud and the closures of voiceless stops quiet, if the times are right."""
    stops, vowels, shut = [], [], []
    for utterance in said:
        for phone in utterance.phones:
            if phone.label in _VOICELESS_STOPS:
                stops.append(level_db(utterance, phone.start, phone.end))
            elif parts(phone.label)[0] in ("aa", "eh", "oh"):
                middle, quarter = (phone.start + phone.end) / 2, (phone.end - phone.start) / 4
                vowels.append(level_db(utterance, middle - quarter, middle + quarter))
        shut += closures(utterance)
    print(
        f"{name}: quietest 20 ms of open vowels {np.median(vowels):.0f} dB, p t k {np.median(stops):.0f} dB (medians); "
        f"p b m closed {100 * np.mean(np.array(shut) < 0.02):.1f} % of {len(shut)}"
    )


def log_mel(samples: np.ndarray, bands: int = 40) -> np.ndarray:
    """Log power in mel bands `[frames, bands]`, 50 ms Hann windows centred on the frames of 25 fps."""
    frames, width = int(len(samples) / RATE * FPS), 800
    centres = (frame_times(frames) * RATE).astype(int)
    padded_samples = np.pad(samples, width)
    windows = padded_samples[centres[:, None] + np.arange(width) + width // 2] * np.hanning(width)
    power = np.abs(np.fft.rfft(windows, 1024)) ** 2
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.fft.rfftfreq(1024, 1 / RATE)
    rise = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    logs = np.log(power @ np.clip(np.minimum(rise, fall), 0, None).T + 1e-6)
    return logs - logs.mean()


def with_context(features: np.ndarray, reach: int = 5) -> np.ndarray:
    """Each frame's features, those of `reach` frames to each side, and 1, `[frames, (2 * reach + 1) * bands + 1]`."""
    held = np.pad(features, ((reach, reach), (0, 0)), mode="edge")
    beside = [held[shift : shift + len(features)] for shift in range(2 * reach + 1)]
    return np.concatenate([*beside, np.ones((len(features), 1))], 1)


def fit(said: list[Utterance]) -> np.ndarray:
    """Ridge regression from sound to mouth."""
    inputs = np.concatenate([with_context(log_mel(utterance.samples)) for utterance in said])
    targets = np.concatenate([articulate(utterance) for utterance in said])
    return np.linalg.solve(inputs.T @ inputs + 300 * np.eye(inputs.shape[1]), inputs.T @ targets)


def report_regression(name: str, weights: np.ndarray, said: list[Utterance]) -> None:
    found = np.concatenate([with_context(log_mel(utterance.samples)) @ weights for utterance in said])
    true = np.concatenate([articulate(utterance) for utterance in said])
    figures = (f"{column} {np.corrcoef(found[:, at], true[:, at])[0, 1]:.2f}" for at, column in enumerate(MOUTH))
    print(f"linear regression, {name}: correlation", ", ".join(figures))


def plot(utterance: Utterance, track: np.ndarray, width: int = 1500, height: int = 330) -> np.ndarray:
    """Waveform, phones and the mouth's columns over time, u8 BGR; lines where a p, b, m begins are red."""
    image = np.full((height, width, 3), 255, np.uint8)
    scale = (width - 1) / utterance.duration
    for x, piece in enumerate(np.array_split(utterance.samples / np.abs(utterance.samples).max(), width)):
        cv2.line(image, (x, int(60 - 55 * piece.max())), (x, int(60 - 55 * piece.min())), (160, 160, 160), 1)
    for phone in utterance.phones:
        x = int(phone.start * scale)
        cv2.line(image, (x, 0), (x, height), (0, 0, 255) if parts(phone.label)[0] == "pbm" else (210, 210, 210), 1)
        shown = phone.label if phone.label.isascii() else parts(phone.label)[0]
        cv2.putText(image, shown, (x + 2, 135), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    times = frame_times(len(track))
    for name, colour in _COLOURS.items():
        points = np.stack([times * scale, 310 - 160 * track[:, COLUMN[name]]], 1).astype(np.int32)
        cv2.polylines(image, [points], False, colour, 2 if name == "open" else 1, cv2.LINE_AA)
    title = f"{utterance.kind} {utterance.voice} {utterance.text} | " + ", ".join(_COLOURS)
    cv2.putText(image, title, (5, 325), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (90, 90, 90), 1, cv2.LINE_AA)
    return image


def main(folder: Path, picture: Path) -> None:
    rng = np.random.default_rng(0)
    variants = ("en-us+m3", "en+f3", "de+m1", "fr+f4", "es+m6", "it+klatt2")
    said = [
        speak(sentence(rng, voice[:2]), voice, int(rng.integers(120, 201))) for voice in variants for _ in range(10)
    ]
    report_times("espeak-ng", said)
    for voice in ("slt", "rms", "kal16", "awb"):
        report_times(f"flite {voice}", [speak_flite(sentence(rng), voice) for _ in range(10)])
    read, kept = librivox(folder), librivox(folder, "test")
    report_times("read", read + kept)

    weights = fit([speech(rng) for _ in range(240)] + [recorded(read[place % len(read)], rng) for place in range(24)])
    report_regression("test speech", weights, [speech(rng, "test") for _ in range(60)])
    report_regression("test read", weights, kept)

    shown = [
        padded(speak("My brother puts five apples in the bottle before lunch, mama.", "en-us+m3"), 0.15, 0.2),
        padded(speak("Wie man eine warme Lampe im Park oben putzt.", "de+f4"), 0.15, 0.2),
        speak_flite("The baker moved the empty boat by the sea.", "slt"),
        kept[-1],
        *(nonspeech_utterance(rng, kind) for kind in ("laugh", "sigh", "cough")),
    ]
    rows = [plot(utterance, pose_track(utterance, rng, still=True)) for utterance in shown]
    cv2.imwrite(str(picture), np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
