"""Utterances: 16 kHz sound with the phones in it and their times.

Speech comes from espeak-ng through its C library, which reports a phoneme's first sample as it writes it (speak_lib.h,
espeakEVENT_PHONEME); from flite, whose voices are trained on people (CMU ARCTIC) and which prints each segment's end;
and from read sentences with an alignment. Laughter, sighs and coughs are in nonspeech.py.
On Debian: `apt-get install espeak-ng flite`.
"""

import ctypes
import json
import subprocess
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import signal

import nonspeech
from pose import FPS
from sentences import LANGUAGES, sentence
from visemes import Phone

RATE = 16_000

_ENGLISH = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp")
_VARIANTS = {
    "train": ("m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f4", "croak", "klatt2", "klatt4", "Alex",
              "Andy", "Annie", "belinda", "ed", "Gene", "steph", "travis", "victor", "grandma", "max", "shelby"),
    "test": ("m7", "f5", "Michael", "linda", "klatt3", "grandpa", "Alicia"),
}  # fmt: skip
_FLITE = {"train": ("slt", "rms", "kal16"), "test": ("awb",)}
_HELD_OUT = ("-0920", "-0930")  # read sentences kept for test


@dataclass(frozen=True)
class Utterance:
    """`samples` f32 `[n]` at 16 kHz in [-1, 1]; `phones` in time order, pauses left out; `kind` is "speech", "read",
    "silence", "laugh", "sigh" or "cough"."""

    samples: np.ndarray
    phones: list[Phone]
    kind: str
    voice: str
    text: str

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / RATE

    @property
    def frames(self) -> int:
        """Whole frames of video."""
        return len(self.samples) * FPS // RATE


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


class _Espeak:
    """The library, one per process: `say` gives samples f32 at `self.rate` and (sample, label) of each phoneme."""

    PHONEME_EVENT = 7
    SYNCHRONOUS = 2
    PHONEME_EVENTS_IN_IPA = 0x0001 | 0x0002
    DO_NOT_EXIT = 0x8000
    UTF8 = 1
    PARAMETER = {"rate": 1, "pitch": 3, "range": 4}

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        options = self.PHONEME_EVENTS_IN_IPA | self.DO_NOT_EXIT
        self.rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, None, options)
        if self.rate <= 0:
            raise RuntimeError("espeak-ng: no voices found; install espeak-ng with its data")
        self.pieces: list[np.ndarray] = []
        self.events: list[tuple[int, str]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self.callback = kind(self._receive)
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, wave_, count, events) -> int:
        if wave_ and count:
            self.pieces.append(np.ctypeslib.as_array(wave_, (count,)).copy())
        at = 0
        while events[at].type:
            if events[at].type == self.PHONEME_EVENT:
                raw = bytes(events[at].id.string).split(b"\0")[0]
                self.events.append((events[at].sample, raw.decode(errors="ignore")))
            at += 1
        return 0

    def say(self, text: str, voice: str, **parameters: int) -> tuple[np.ndarray, list[tuple[int, str]]]:
        self.pieces, self.events = [], []
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng: no voice {voice!r}; see `espeak-ng --voices` and `--voices=variant`")
        for name, value in parameters.items():
            self.library.espeak_SetParameter(self.PARAMETER[name], value, 0)
        encoded = text.encode()
        self.library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, self.UTF8, None, None)
        return np.concatenate(self.pieces).astype(np.float32) / 32768, self.events


@lru_cache(1)
def _espeak() -> _Espeak:
    return _Espeak()


def _closure_start(samples: np.ndarray, rate: int, release: int, earliest: int) -> int:
    """First sample of the quiet before a voiceless stop's `release`: espeak-ng counts it to the phone before.

    Quiet is 20 dB below the loudest 5 ms of the sound; the search ends at 120 ms, and 45 ms is the least given."""
    step = rate // 200
    power = np.square(samples, dtype=np.float64)
    loudest = np.sqrt(np.convolve(power, np.ones(step) / step, "same").max())
    at = release
    while at - step > earliest and release - at < 0.12 * rate:
        if np.sqrt(power[at - step : at].mean()) > 0.1 * loudest:
            break
        at -= step
    return max(earliest, min(at, release - int(0.045 * rate)))


def _without_pause(phone: Phone, samples: np.ndarray, rate: int) -> Phone:
    """`phone` up to the silence of 80 ms or more that espeak-ng counts to its end, at a comma for one."""
    step = rate // 100
    first = int(phone.start * rate)
    blocks = samples[first : int(phone.end * rate)]
    levels = np.abs(blocks[: len(blocks) // step * step]).reshape(-1, step).max(1)
    heard = np.flatnonzero(levels > 0.005 * np.abs(samples).max())
    end = phone.start + (heard[-1] + 1) * step / rate if len(heard) else phone.start
    return phone if phone.end - end < 0.08 else replace(phone, end=end)


def speak(text: str, voice: str, rate: int = 160, pitch: int = 50, pitch_range: int = 50) -> Utterance:
    """`text` said by an espeak-ng `voice` ("en-gb+f3") at `rate` words a minute; clean, as loud as it comes."""
    espeak = _espeak()
    samples, events = espeak.say(text, voice, rate=rate, pitch=pitch, range=pitch_range)
    events = [(sample, label) for sample, label in events if not label.startswith("(")]  # "(fr)": the language changes
    edges = [sample for sample, _ in events] + [len(samples)]
    for place, (release, label) in enumerate(events):
        if label[:1] in tuple("ptkcq"):
            earliest = edges[place - 1] + (release - edges[place - 1]) // 3 if place else 0
            edges[place] = _closure_start(samples, espeak.rate, release, earliest)
    phones = [
        Phone(label, start / espeak.rate, end / espeak.rate)
        for (_, label), start, end in zip(events, edges[:-1], edges[1:])
        if label and end > start
    ]
    phones = [_without_pause(phone, samples, espeak.rate) for phone in phones]
    resampled = signal.resample_poly(samples, 320, 441).astype(np.float32)  # 22050 to 16000 Hz
    return Utterance(resampled, phones, "speech", voice, text)


def _read_wav(path: Path) -> np.ndarray:
    """Samples f32 in [-1, 1] of a 16 kHz mono wav of 16 bits."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path}: expected 16 kHz, mono, 16 bits, found {file.getparams()}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def speak_flite(text: str, voice: str, stretch: float = 1.0) -> Utterance:
    """`text` (English) said by a flite `voice` ("slt"), `stretch` times as long as usual; phones in ARPAbet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        command = [
            "flite",
            "-voice",
            voice,
            "--setf",
            f"duration_stretch={stretch:.3f}",
            "-psdur",
            "-t",
            text,
            "-o",
            str(path),
        ]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        samples = _read_wav(path)
    phones, start = [], 0.0
    for item in printed.split():
        label, end = item.split(":")
        if label != "pau":
            phones.append(Phone(label.upper(), start, float(end)))
        start = float(end)
    return Utterance(samples, phones, "speech", voice, text)


def librivox(folder: Path, split: str = "train") -> list[Utterance]:
    """The read sentences in `folder`: a wav each and phones.json `{id: [[ARPAbet label, start, end], ..]}`, seconds."""
    alignment = json.loads((folder / "phones.json").read_text())
    found = []
    for name in sorted(alignment):
        if name.endswith(_HELD_OUT) != (split == "test"):
            continue
        samples = _read_wav(folder / f"{name}.wav")
        phones = [Phone(label, start, end) for label, start, end in alignment[name] if label not in ("SIL", "SP")]
        found.append(Utterance(samples, phones, "read", "librivox", name))
    return found


def padded(utterance: Utterance, before: float, after: float) -> Utterance:
    """`utterance` with `before` and `after` seconds of digital silence."""
    samples = np.pad(utterance.samples, (int(before * RATE), int(after * RATE)))
    phones = [Phone(phone.label, phone.start + before, phone.end + before) for phone in utterance.phones]
    return replace(utterance, samples=samples, phones=phones)


def at_speed(utterance: Utterance, factor: float) -> Utterance:
    """`utterance` played `factor` (to a hundredth) times as fast, pitch and formants rising with it."""
    percent = round(100 * factor)
    samples = signal.resample_poly(utterance.samples, 100, percent).astype(np.float32)
    scale = 100 / percent
    phones = [Phone(phone.label, phone.start * scale, phone.end * scale) for phone in utterance.phones]
    return replace(utterance, samples=samples, phones=phones)


def recorded(utterance: Utterance, rng: np.random.Generator) -> Utterance:
    """`utterance` as a microphone hears it, without delay: room, tone, noise (nine times in ten), and a level of -30 to
    -15 dBFS where it sounds."""
    samples = utterance.samples.astype(np.float64)
    if rng.random() < 0.6:  # a room: the direct sound first, then noise that decays by 60 dB
        length = int(RATE * rng.uniform(0.08, 0.35))
        tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
        tail *= rng.uniform(0.05, 0.35) / np.sqrt(np.sum(tail**2))
        samples = samples + signal.fftconvolve(samples, tail)[: len(samples)]
    cut = rng.uniform(40, 160)
    samples = signal.sosfilt(signal.butter(1, cut, "high", fs=RATE, output="sos"), samples)
    tilt = rng.uniform(-0.3, 0.3)  # first-order pre- or de-emphasis, up to about 4 dB
    samples = signal.lfilter([1, -tilt], [1], samples)
    if rng.random() < 0.15:
        samples = signal.sosfilt(signal.butter(2, rng.uniform(3400, 6500), "low", fs=RATE, output="sos"), samples)
    loud = np.abs(samples) > 0.05 * np.abs(samples).max() if samples.any() else np.ones(len(samples), bool)
    level = np.sqrt(np.mean(samples[loud] ** 2)) if samples.any() else 1.0
    samples = samples / level
    noise = signal.lfilter([1], [1, -rng.uniform(0, 0.95)], rng.standard_normal(len(samples)))
    noise *= 10 ** (-rng.uniform(22, 55) / 20) / noise.std() * (rng.random() > 0.1)
    gain = 10 ** (rng.uniform(-30, -15) / 20)
    heard = np.clip((samples + noise) * gain, -1, 1).astype(np.float32)
    return replace(utterance, samples=heard)


def silence(duration: float) -> Utterance:
    """`duration` seconds of nothing; `recorded` gives it a noise floor."""
    return Utterance(np.zeros(int(duration * RATE), np.float32), [], "silence", "", "")


def _speaker(rng: np.random.Generator, split: str) -> Callable[[], Utterance]:
    """Someone with a voice, speed and pitch who says a new random sentence at each call, clean.

    Three in ten are flite's, half of the others speak English with espeak-ng."""
    if rng.random() < 0.3:
        voice, stretch = _FLITE[split][rng.integers(len(_FLITE[split]))], rng.uniform(0.85, 1.2)
        speed = rng.uniform(0.85, 1.18)
        return lambda: at_speed(speak_flite(sentence(rng, "en", split), voice, stretch), speed)
    language = "en" if rng.random() < 0.5 else LANGUAGES[rng.integers(len(LANGUAGES))]
    accent = _ENGLISH[rng.integers(len(_ENGLISH))] if language == "en" else language
    voice = f"{accent}+{_VARIANTS[split][rng.integers(len(_VARIANTS[split]))]}"
    rate, pitch, pitch_range = (int(rng.integers(*bounds)) for bounds in ((120, 201), (25, 76), (30, 81)))
    speed = rng.uniform(0.92, 1.1)
    return lambda: at_speed(speak(sentence(rng, language, split), voice, rate, pitch, pitch_range), speed)


def speech(rng: np.random.Generator, split: str = "train") -> Utterance:
    """A random sentence by a random voice, recorded."""
    return recorded(padded(_speaker(rng, split)(), rng.uniform(0, 0.3), rng.uniform(0, 0.3)), rng)


def joined(utterances: list[Utterance]) -> Utterance:
    """One after the other; kind and voice of the first."""
    phones, at = [], 0.0
    for each in utterances:
        phones += [Phone(phone.label, phone.start + at, phone.end + at) for phone in each.phones]
        at += each.duration
    samples = np.concatenate([each.samples for each in utterances])
    return replace(utterances[0], samples=samples, phones=phones, text=" ".join(each.text for each in utterances))


def cut(utterance: Utterance, start: float, end: float) -> Utterance:
    """The part from `start` to `end`, seconds."""
    phones = [
        Phone(phone.label, max(phone.start, start) - start, min(phone.end, end) - start)
        for phone in utterance.phones
        if phone.end > start and phone.start < end
    ]
    return replace(utterance, samples=utterance.samples[round(start * RATE) : round(end * RATE)], phones=phones)


def passage(rng: np.random.Generator, split: str, duration: float) -> Utterance:
    """`duration` seconds of random sentences by one voice with little pause between them, recorded."""
    say = _speaker(rng, split)
    said: list[Utterance] = []
    while sum(each.duration for each in said) < duration:
        said.append(padded(say(), 0.05, rng.uniform(0.05, 0.3)))
    return recorded(cut(joined(said), 0, duration), rng)


def nonspeech_utterance(rng: np.random.Generator, kind: str) -> Utterance:
    """A recorded "laugh", "sigh" or "cough" of 1.5 to 4 s."""
    samples, phones = nonspeech.SOUNDS[kind](rng)
    return recorded(padded(Utterance(samples, phones, kind, "", ""), rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5)), rng)


def utterance(rng: np.random.Generator, split: str = "train", read: list[Utterance] | None = None) -> Utterance:
    """A random one of all kinds, most of them speech; one in eight is of `read` (from `librivox`), at another speed."""
    dice = rng.random()
    if dice < 0.05:
        nothing = silence(rng.uniform(2, 4))
        return recorded(nothing, rng) if rng.random() < 0.6 else nothing
    if dice < 0.18:
        return nonspeech_utterance(rng, ("laugh", "sigh", "cough")[rng.integers(3)])
    if read and dice < 0.3:
        return recorded(at_speed(read[rng.integers(len(read))], rng.uniform(0.87, 1.15)), rng)
    return speech(rng, split)
