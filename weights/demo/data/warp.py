"""Warps of pictures by fields of displacement."""

import cv2
import numpy as np

INVERSION_STEPS = 8


def centres(width: int, height: int) -> np.ndarray:
    """Column and row of every cell, [height, width, 2] f32."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)


def sampled(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`image` [h, w, ...] at columns and rows `where` [..., 2], whole at cells' centres; its border goes on outside."""
    where = np.ascontiguousarray(where, np.float32)
    return cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def sampled_at(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`image` [h, w] at `points` [n, 2], as `sampled`."""
    return sampled(image, points[:, None])[:, 0]


def origins(moved_by: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Which places [h, w, 2] a displacement `moved_by` [cells, cells, 2] (in cells) brings to `target` [h, w, 2].

    Fixed point of p = target - moved_by(p), which converges where the displacement changes by less than a cell a cell.
    """
    source = target
    for _ in range(INVERSION_STEPS):
        source = target - sampled(moved_by, source)
    return source
