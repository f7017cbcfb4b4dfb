"""What each part of a pose does to a face: fields of displacement over the face's frame (see anatomy.py).

A face has two layers, what lies above the line between the lips and what lies below; they move alike where they meet.
A movement is a pair of fields, one a layer, scaled by its amount, a function of the pose; only the amounts are computed
for every frame. Sizes are parts of the eyes' distance (about 90 mm); they were chosen by looking, and the opening so
that a tracker reads 0.35 to 0.4 of that distance at 1.
"""

import numpy as np

from anatomy import Anatomy
from pose import COLUMN

MOVEMENTS = (
    "open",
    "open_round",
    "wide",
    "narrow",
    "round",
    "tuck",
    "smile",
    "frown",
    "brow_raise",
    "brow_furrow",
    "yaw",
    "pitch",
)
LIP_DROP, LIP_RISE = 0.375, 0.03
CHIN_DROP = 0.25


def amounts(pose: np.ndarray) -> np.ndarray:
    """The amount of each of MOVEMENTS, [..., 12], for `pose` [..., len(POSE)]."""
    value = {name: pose[..., column] for name, column in COLUMN.items()}
    return np.stack(
        [
            value["open"],
            value["open"] * value["round"],
            np.maximum(value["wide"], 0),
            np.maximum(-value["wide"], 0),
            value["round"],
            value["tuck"],
            np.maximum(value["smile"], 0),
            np.maximum(-value["smile"], 0),
            value["brow_raise"],
            value["brow_furrow"],
            value["yaw"],
            value["pitch"],
        ],
        axis=-1,
    ).astype(np.float32)


def fields(face: Anatomy, at: np.ndarray, depth: np.ndarray, bottom: float, lower_layer: bool) -> np.ndarray:
    """The displacement of each of MOVEMENTS at amount 1, [12, ..., 2], in the eyes' distance.

    `at` [..., 2] places in the frame, `depth` [...] their distance in front of the ears, `bottom` the y where the body
    holds still.
    """
    x, y = at[..., 0] - face.mouth_x, at[..., 1]
    u = x / face.mouth_half_width
    v = y - face.line(at[..., 0])
    side, beside = np.sign(u), np.abs(u)
    zero = np.zeros_like(x)

    # The jaw takes over from the lip on the way to the chin, then the neck gives way; the jaw's corners hold still.
    t = v / face.chin
    onto_jaw = _step(t, 0.05, 0.95)
    neck_end = max((bottom - face.mouth_y) / face.chin, 1.6)
    across = 1 - _step(np.abs(x), 0.3, 1.0)
    jaw = onto_jaw * (1 - _ramp(t, 1.05, neck_end)) * across
    profile = np.clip(1 - np.abs(u) ** 2.3, 0, 1) ** 0.72
    round_profile = np.clip(1 - u**2, 0, 1) ** 0.5
    above = _bell(np.minimum(v, 0), 0.6 * face.nose_to_mouth)
    corner = _bell(beside - 1, 0.5) * _bell(v, 0.14)
    upper_only, lower_only = (0.0, 1.0) if lower_layer else (1.0, 0.0)

    lip = lower_only * LIP_DROP * profile * (1 - onto_jaw) - upper_only * LIP_RISE * profile * above
    drop = lip + CHIN_DROP * jaw + 0.07 * corner
    hollow = -0.05 * np.sign(x) * _bell(np.abs(x) - 0.5, 0.2) * _bell(t - 0.4, 0.5) - 0.045 * side * corner
    rounder = (round_profile - profile) * (lower_only * LIP_DROP * (1 - onto_jaw) - upper_only * LIP_RISE * above)

    # Across the mouth: even between the corners, then fading into the cheeks.
    stretch = (
        side * np.where(beside < 1, beside, 1 - _step(beside, 1.0, 2.8)) * _bell(np.maximum(np.abs(v) - 0.1, 0), 0.22)
    )
    near = _bell(v, 0.16) * (1 - _step(beside, 0.6, 1.4))
    pursed = 0.28 * v * near
    cheek = sum(_blob(at - place, 0.2) for place in face.cheeks)
    lift = np.minimum(beside, 1) ** 2 * (1 - _step(beside, 1.0, 2.6)) * _bell(v, 0.22)

    brow_side = _bell(np.maximum(np.abs(at[..., 0]) - 0.35, 0), 0.2)
    above_eyes = y - face.brow_y
    brow = np.where(above_eyes < 0, _bell(above_eyes, 0.28), 1 - _step(above_eyes, 0.02, 0.17)) * brow_side
    inner = [_blob(at - place, 0.13) for place in face.inner_brows]

    pairs = {
        "open": (hollow, drop),
        "open_round": (0.15 * face.mouth_half_width * stretch, rounder),
        "wide": (0.06 * stretch, -0.12 * v * near - 0.015 * lift),
        "narrow": (-0.05 * stretch, 0.10 * v * near),
        "round": (-0.42 * face.mouth_half_width * stretch, pursed),
        "tuck": (zero, -0.03 * upper_only * profile * above + 0.02 * jaw),
        "smile": (0.075 * stretch, -0.085 * lift - 0.035 * cheek - 0.05 * v * near),
        "frown": (-0.015 * stretch, 0.07 * lift),
        "brow_raise": (zero, -0.085 * brow),
        "brow_furrow": (0.045 * (inner[0] - inner[1]), 0.035 * (inner[0] + inner[1])),
        "yaw": (depth, zero),
        "pitch": (zero, depth),
    }
    return np.stack([np.stack(pairs[name], axis=-1) for name in MOVEMENTS]).astype(np.float32)


def _ramp(x: np.ndarray, start: float, end: float) -> np.ndarray:
    return np.clip((x - start) / (end - start), 0, 1)


def _step(x: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 before `start`, 1 after `end`, smooth between."""
    t = _ramp(x, start, end)
    return t * t * (3 - 2 * t)


def _bell(x: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((x / width) ** 2))


def _blob(offset: np.ndarray, width: float) -> np.ndarray:
    return _bell(np.linalg.norm(offset, axis=-1), width)
