"""Holes in a picture filled from around them."""

import cv2
import numpy as np


def filled(picture: np.ndarray, hole: np.ndarray, trust: np.ndarray | None = None) -> np.ndarray:
    """`picture` [h, w, 3] with `hole` [h, w] bool filled smoothly by averages of what is around it, f32.

    The nearest average that has enough to go by counts most; `trust` [h, w] in [0, 1] weighs what is known.
    """
    picture = picture.astype(np.float32)
    known = np.where(hole, 0, 1 if trust is None else trust).astype(np.float32)
    result, missing = np.zeros_like(picture), np.ones(hole.shape, np.float32)
    for sigma in (1.5, 3, 6, 12, 24, 48):
        weight = cv2.GaussianBlur(known, (0, 0), sigma)
        mean = cv2.GaussianBlur(picture * known[..., None], (0, 0), sigma) / np.maximum(weight, 1e-6)[..., None]
        take = missing * np.clip(weight / 0.15, 0, 1)
        result += take[..., None] * mean
        missing -= take
    result += missing[..., None] * mean
    soft = np.maximum(cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 1.5), hole)[..., None]
    return picture + (result - picture) * soft
