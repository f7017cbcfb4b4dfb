"""Phones (IPA as espeak-ng writes it, ARPAbet) and the mouth shapes they share.

The classes follow the MPEG-4 visemes (ISO/IEC 14496-2), finer among vowels, plus sounds that are no speech.
"""

import unicodedata
from dataclasses import dataclass

import numpy as np

VISEMES = (
    "sil",  # pause, glottal stop
    "pbm",
    "fv",
    "th",
    "tdn",
    "l",
    "sz",
    "sh",  # sh, zh, ch, j
    "kg",  # k, g, ng, h and the back fricatives
    "r",
    "w",
    "ee",  # i, y as in yes
    "ih",
    "eh",
    "aa",
    "uh",  # schwa and neighbours
    "oh",
    "oo",
    "ue",  # front rounded: French u, German ü, ö
    "laugh",
    "sigh",
    "cough",
)
INDEX = {name: index for index, name in enumerate(VISEMES)}


@dataclass(frozen=True)
class Phone:
    """A phone from `start` to `end`, in seconds."""

    label: str
    start: float
    end: float


_IPA = {
    "pbm": "p b m β ɓ",
    "fv": "f v ʋ ɱ",
    "th": "θ ð",
    "tdn": "t d n ɾ ɖ ʈ ɳ ɲ",
    "l": "l ɫ ɭ ʎ ɬ",
    "sz": "s z ɕ ʑ",
    "sh": "ʃ ʒ ʂ ʐ",
    "kg": "k ɡ g ŋ h ɦ x ɣ χ ʁ ç q c ɟ ħ",
    "r": "ɹ r ɻ ʀ",
    "w": "w ʍ ɥ",
    "ee": "i j ʲ",
    "ih": "ɪ ɨ ᵻ",
    "eh": "e ɛ ɜ ɝ æ",
    "aa": "a ɑ ɐ ʌ",
    "uh": "ə ɚ ɘ",
    "oh": "o ɔ ɒ",
    "oo": "u ʊ ɯ ʉ",
    "ue": "y ʏ ø œ",
    "sil": "ʔ",
}
_OF_SYMBOL = {symbol: name for name, symbols in _IPA.items() for symbol in symbols.split()}

_ARPABET = {
    "AA": "aa", "AE": "eh", "AH": "aa", "AO": "oh", "AW": "aa oo", "AX": "uh", "AY": "aa ih", "B": "pbm", "CH": "sh",
    "D": "tdn", "DH": "th", "EH": "eh", "ER": "uh", "EY": "eh ih", "F": "fv", "G": "kg", "HH": "kg", "IH": "ih",
    "IY": "ee", "JH": "sh", "K": "kg", "L": "l", "M": "pbm", "N": "tdn", "NG": "kg", "OW": "oh oo", "OY": "oh ih",
    "P": "pbm", "R": "r", "S": "sz", "SH": "sh", "SIL": "sil", "SP": "sil", "T": "tdn", "TH": "th", "UH": "oo",
    "UW": "oo", "V": "fv", "W": "w", "Y": "ee", "Z": "sz", "ZH": "sh",
}  # fmt: skip


def parts(label: str) -> tuple[str, ...]:
    """The visemes that a phone passes through: two for a diphthong, one for most, `("sil",)` for a label unknown."""
    if label in INDEX:
        return (label,)
    stripped = label.rstrip("012")
    if stripped in _ARPABET:
        return tuple(_ARPABET[stripped].split())
    symbols = [symbol for symbol in unicodedata.normalize("NFD", label) if symbol in _OF_SYMBOL]
    names = [_OF_SYMBOL[symbol] for symbol in symbols]
    if len(names) > 1 and names[0] == "tdn" and names[1] in ("sh", "sz"):  # affricates show their fricative
        names = names[1:]
    names = [name for place, name in enumerate(names) if place == 0 or name != names[place - 1]]
    return tuple(names) or ("sil",)


def viseme(label: str) -> int:
    """Index into VISEMES of a phone's first mouth shape."""
    return INDEX[parts(label)[0]]


def segments(phones: list[Phone], duration: float) -> list[Phone]:
    """Visemes from 0 to `duration` without gap or overlap: `phones` with diphthongs split and "sil" between them."""
    found: list[Phone] = []
    at = 0.0
    for phone in phones:
        start, end = max(phone.start, at), min(phone.end, duration)
        if end <= start:
            continue
        if start > at + 1e-6:
            found.append(Phone("sil", at, start))
        names = parts(phone.label)
        edges = np.linspace(start, end, len(names) + 1)
        found += [Phone(name, float(a), float(b)) for name, a, b in zip(names, edges[:-1], edges[1:])]
        at = end
    if at < duration - 1e-6:
        found.append(Phone("sil", at, duration))
    merged: list[Phone] = []
    for part in found:
        if merged and part.label == merged[-1].label == "sil":
            part = Phone("sil", merged.pop().start, part.end)
        merged.append(part)
    return merged


def viseme_track(phones: list[Phone], duration: float, rate: float = 50.0) -> np.ndarray:
    """Indices into VISEMES `[floor(duration * rate)]` i64, the one at each frame's centre."""
    found = segments(phones, duration)
    times = (np.arange(int(duration * rate + 1e-6)) + 0.5) / rate
    places = np.searchsorted([part.end for part in found], times, side="right")
    names = np.array([INDEX[part.label] for part in found])
    return names[np.minimum(places, len(found) - 1)]
