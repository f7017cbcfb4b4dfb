"""Laughter, sighs and coughs from a glottal source, noise and formants: `(samples f32 [n] at 16 kHz, phones)` each.

Laughter: voiced notes of some 75 ms every 210 ms (Provine and Yong 1991), here up to 130 ms so that video shows them,
with a breath between and the pitch falling. A cough: an explosive burst, noise, a short voiced end (Korpas 1996).
A sigh: a slow breath in, a longer one out.
"""

import numpy as np
from scipy import signal

from visemes import Phone

RATE = 16_000


def _formants(source: np.ndarray, centres: tuple[float, ...], widths: tuple[float, ...]) -> np.ndarray:
    """`source` through resonators in parallel, at `centres` with `widths`, Hz."""
    total = np.zeros_like(source)
    for place, (centre, width) in enumerate(zip(centres, widths)):
        radius = np.exp(-np.pi * width / RATE)
        angle = 2 * np.pi * centre / RATE
        total += signal.lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source) / (1 + place)
    return total


def _voice(pitch: np.ndarray) -> np.ndarray:
    """A pulse train of `pitch` Hz per sample, softened at -12 dB an octave."""
    phase = np.cumsum(pitch) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    return signal.lfilter([1], [1, -1.8, 0.81], pulses)


def _hump(length: int, attack: float) -> np.ndarray:
    """An envelope of `length` samples: up over the part `attack`, then down, both as half cosines."""
    up = max(1, int(attack * length))
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(up) / up)
    return np.concatenate([rise, 0.5 + 0.5 * np.cos(np.pi * np.arange(length - up) / max(1, length - up))])


def _unit(samples: np.ndarray) -> np.ndarray:
    return samples / (np.abs(samples).max() + 1e-9)


def laugh(rng: np.random.Generator) -> tuple[np.ndarray, list[Phone]]:
    """Five to eleven calls in 1.5 to 3 s; each phone "laugh" is a call."""
    rate = rng.uniform(3.8, 5.0)
    base = rng.uniform(150, 360)
    vowel = np.array([rng.uniform(650, 850), rng.uniform(1200, 1700), 2600, 3600]) * rng.uniform(0.95, 1.1)
    count = int(rng.integers(5, 12))
    samples = np.zeros(int(RATE * (count / rate + 0.3)))
    phones = []
    for call in range(count):
        start = call / rate + rng.uniform(0, 0.02)
        length = int(RATE * rng.uniform(0.09, 0.13))
        at = int(start * RATE)
        fall = np.linspace(1.15, 0.85, length) * (1.25 - 0.4 * call / count)
        voiced = _unit(_voice(base * fall)) * _hump(length, 0.2)
        breath = int(RATE * 0.08)  # the aspirated onset and the breath after
        air = np.concatenate([rng.standard_normal(length), rng.standard_normal(breath)]) * _hump(length + breath, 0.3)
        sound = 0.12 * air
        sound[:length] += voiced
        shaped = _unit(_formants(sound, tuple(vowel), (110, 140, 200, 300)))
        samples[at : at + len(shaped)] += shaped * (1 - 0.5 * call / count)
        phones.append(Phone("laugh", start, start + length / RATE))
    return _unit(samples).astype(np.float32), phones


def sigh(rng: np.random.Generator) -> tuple[np.ndarray, list[Phone]]:
    """A breath in of about 0.6 s, then one out of 0.9 to 1.6 s, half voiced at times: the one phone "sigh"."""
    inward, pause, outward = rng.uniform(0.4, 0.8), 0.08, rng.uniform(0.9, 1.6)
    lengths = [int(RATE * part) for part in (inward, pause, outward)]
    drawn = _formants(rng.standard_normal(lengths[0]), (1500, 3000, 4500), (900, 1200, 1500)) * _hump(lengths[0], 0.7)
    out = _formants(rng.standard_normal(lengths[2]), (700, 1300, 2400), (350, 500, 900))
    if rng.random() < 0.5:
        out = _unit(out) + 0.6 * _unit(_formants(_voice(np.linspace(1, 0.6, lengths[2]) * rng.uniform(110, 220)),
                                                (600, 1100, 2400), (120, 160, 250)))  # fmt: skip
    samples = np.concatenate([0.35 * _unit(drawn), np.zeros(lengths[1]), _unit(out) * _hump(lengths[2], 0.15)])
    start = (lengths[0] + lengths[1]) / RATE
    return samples.astype(np.float32), [Phone("sigh", start, start + outward)]


def cough(rng: np.random.Generator) -> tuple[np.ndarray, list[Phone]]:
    """One to three coughs, each one phone "cough"."""
    pieces, phones, at = [], [], 0
    for _ in range(int(rng.integers(1, 4))):
        length = int(RATE * rng.uniform(0.22, 0.35))
        burst = rng.standard_normal(length) * np.exp(-np.arange(length) / (0.05 * RATE))
        tail = rng.standard_normal(length) * 0.25 * _hump(length, 0.25)
        voiced = _unit(_voice(np.linspace(1.1, 0.8, length) * rng.uniform(130, 260))) * _hump(length, 0.5) * 0.35
        attack = np.minimum(1, np.arange(length) / (0.004 * RATE))
        sound = _formants((burst + tail + voiced) * attack, (500, 1100, 2000, 3300), (250, 350, 500, 700))
        gap = int(RATE * rng.uniform(0.2, 0.6))
        pieces += [_unit(sound), np.zeros(gap)]
        phones.append(Phone("cough", at / RATE, (at + length) / RATE))
        at += length + gap
    return np.concatenate(pieces).astype(np.float32), phones


SOUNDS = {"laugh": laugh, "sigh": sigh, "cough": cough}
