"""Phones to the mouth's columns of a pose track, with coarticulation by dominance functions (Cohen and Massaro 1993).

Every viseme has a target per column and a strength with which it holds that column; its dominance decays exponentially
with the time to its interval, and a column is the mean of the targets weighted by dominance. Over that, lips really
close: a closure of p, b, m or of a pause multiplies the opening by zero.
"""

from typing import NamedTuple

import numpy as np

from pose import COLUMN, FPS
from speech import RATE, Utterance
from visemes import VISEMES, Phone, parts, segments, viseme, viseme_track

__all__ = ["MOUTH", "VISEMES", "articulate", "frame_times", "parts", "viseme", "viseme_track"]

MOUTH = ("open", "wide", "round", "tuck", "tongue")


class _Shape(NamedTuple):
    """A viseme's targets, and how strongly it holds the opening and the lips (wide, round): 1 as vowels do."""

    open: float
    wide: float = 0.0
    round: float = 0.0
    tuck: float = 0.0
    tongue: float = 0.0
    holds_open: float = 1.0
    holds_lips: float = 1.0


_SHAPES = {
    "sil": _Shape(0.0, holds_open=1.2, holds_lips=0.5),
    "pbm": _Shape(0.0, holds_open=1.5, holds_lips=0.3),
    "fv": _Shape(0.07, tuck=1.0, holds_open=1.5, holds_lips=0.4),
    "th": _Shape(0.20, tongue=1.0, holds_lips=0.3),
    "tdn": _Shape(0.22, wide=0.1, tongue=0.8, holds_open=0.7, holds_lips=0.2),
    "l": _Shape(0.32, tongue=1.0, holds_open=0.7, holds_lips=0.2),
    "sz": _Shape(0.14, wide=0.35, tongue=0.2, holds_open=1.2, holds_lips=0.6),
    "sh": _Shape(0.18, round=0.6, holds_open=1.1),
    "kg": _Shape(0.32, holds_open=0.4, holds_lips=0.1),
    "r": _Shape(0.24, round=0.4, tongue=0.1, holds_open=0.8, holds_lips=0.6),
    "w": _Shape(0.08, wide=-0.6, round=1.0, holds_open=1.3, holds_lips=1.5),
    "ee": _Shape(0.32, wide=0.9),
    "ih": _Shape(0.42, wide=0.5),
    "eh": _Shape(0.76, wide=0.5),
    "aa": _Shape(1.08, wide=0.1),
    "uh": _Shape(0.46, holds_open=0.6, holds_lips=0.4),
    "oh": _Shape(0.74, wide=-0.3, round=0.6),
    "oo": _Shape(0.24, wide=-0.5, round=1.0, holds_open=1.1, holds_lips=1.3),
    "ue": _Shape(0.26, wide=-0.3, round=0.9, holds_open=1.1, holds_lips=1.2),
    "laugh": _Shape(1.05, wide=0.6, holds_open=1.3),
    "sigh": _Shape(0.55, round=0.3),
    "cough": _Shape(0.80, round=0.2, holds_open=1.3),
}
_DECAY = {"open": 28.0, "wide": 12.0, "round": 12.0, "tuck": 35.0, "tongue": 30.0}  # of dominance, per second
_LOUDER = 0.27  # by how much 12 dB widen the opening
_LAUGH_BREATH = 0.45  # opening between two calls of a laugh
_LAUGH_GAP = 0.3  # seconds; a longer pause ends the laugh
_CLOSING, _OPENING = 0.05, 0.06  # seconds that lips take to meet and to part
_RESTING, _RELAXING = 0.08, 0.25  # seconds after speech, after laughter and the like, till lips rest
_PREPARING = 0.10  # seconds by which lips part before a sound


def frame_times(frames: int) -> np.ndarray:
    """The centre of each frame, seconds, `[frames]`."""
    return (np.arange(frames) + 0.5) / FPS


def _away(parts_: list[Phone], times: np.ndarray) -> np.ndarray:
    """Seconds from each time to the inner half of each interval, `[times, parts]`: 0 inside."""
    start = np.array([part.start for part in parts_])
    end = np.array([part.end for part in parts_])
    centre, half = (start + end) / 2, (end - start) / 4
    return np.maximum(0, np.abs(times[:, None] - centre) - half)


def _closed(start: float, end: float, times: np.ndarray) -> np.ndarray:
    """How closed lips are that are together from `start` to `end`: 1 within, half-cosine ramps outside, `[times]`."""
    before = np.clip((start - times) / _CLOSING, 0, 1)
    after = np.clip((times - end) / _OPENING, 0, 1)
    return 0.5 + 0.5 * np.cos(np.pi * np.maximum(before, after))


def _loudness(samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """-1 to 1 per time: level of 80 ms about it against the mean level of what sounds, 12 dB to each side."""
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    first = np.clip(((times - 0.04) * RATE).astype(int), 0, len(samples))
    last = np.clip(((times + 0.04) * RATE).astype(int), 0, len(samples))
    mean = (power[last] - power[first]) / np.maximum(1, last - first)
    sounding = mean > 0.01 * mean.max()
    if not sounding.any():
        return np.zeros(len(times))
    level = 10 * np.log10(mean + 1e-12)
    return np.clip((level - level[sounding].mean()) / 12, -1, 1)


def _with_laugh_breaths(found: list[Phone]) -> list[tuple[Phone, float]]:
    """Each part with its target opening; a short pause within a laugh stays open."""
    result = []
    for place, part in enumerate(found):
        opening = _SHAPES[part.label].open
        beside = [other.label for other in found[max(0, place - 1) : place + 2 : 2]]
        if part.label == "sil" and beside == ["laugh", "laugh"] and part.end - part.start < _LAUGH_GAP:
            opening = _LAUGH_BREATH
        result.append((part, opening))
    return result


def articulate(utterance: Utterance) -> np.ndarray:
    """The columns MOUTH `[frames, 5]` f32 of what `utterance` does with the mouth; frame n is at (n + 0.5) / 25 s."""
    times = frame_times(utterance.frames)
    found = segments(utterance.phones, utterance.duration)
    openings = _with_laugh_breaths(found)
    shapes = [_SHAPES[part.label] for part in found]
    away = _away(found, times)

    track = np.empty((len(times), len(MOUTH)))
    for place, name in enumerate(MOUTH):
        if name == "open":
            targets = np.array([opening for _, opening in openings])
            holds = np.array([shape.holds_open for shape in shapes])
        else:
            targets = np.array([getattr(shape, name) for shape in shapes])
            holds = np.array([shape.holds_lips if name in ("wide", "round") else 1.0 for shape in shapes])
        dominance = holds * np.exp(-_DECAY[name] * away)
        track[:, place] = dominance @ targets / dominance.sum(1)

    track[:, 0] *= 1 + _LOUDER * _loudness(utterance.samples, times)
    for place, (part, opening) in enumerate(openings):
        if part.label == "pbm":
            _meet(track, part, times)
        elif part.label == "fv":
            track[:, 0] *= 1 - 0.6 * _closed(part.start, part.end, times)
        elif part.label == "sil" and opening == 0:
            after_sound = place > 0 and found[place - 1].label in ("laugh", "sigh", "cough")
            start = part.start + (_RELAXING if after_sound else _RESTING) if place > 0 else 0.0
            end = part.end - _PREPARING if place < len(openings) - 1 else utterance.duration
            if end > start:
                track[:, 0] *= 1 - _closed(start, end, times)
    return track.astype(np.float32)


def _meet(track: np.ndarray, part: Phone, times: np.ndarray) -> None:
    """Shut the lips of `track` over a p, b or m, in one frame at least; no teeth show."""
    end = part.start + 0.7 * (part.end - part.start)  # p and b part before their sound ends
    closed = _closed(part.start, end, times)
    closed[np.argmin(np.abs(times - (part.start + end) / 2))] = 1.0
    track[:, 0] *= 1 - closed
    track[:, MOUTH.index("tuck")] *= 1 - closed


def mouth_columns() -> list[int]:
    """Where MOUTH stands in a pose track."""
    return [COLUMN[name] for name in MOUTH]
