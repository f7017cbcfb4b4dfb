"""Brushes: soft masks `[side, side]` f32 in 0 to 1 of curves and blobs in pixels, and paint laid on through them."""

import cv2
import numpy as np

SHIFT = 4  # fixed-point bits of OpenCV's polygon corners


def curve(points: np.ndarray, closed: bool = False, steps: int = 6) -> np.ndarray:
    """A Catmull-Rom spline through `points` `[n, 2]`: `[n * steps, 2]` closed, `[(n - 1) * steps + 1, 2]` open."""
    p = np.asarray(points, np.float64)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    path = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    path = path.reshape(-1, 2)
    return path if closed else np.concatenate([path, p[-2:-1]])


def soften(mask: np.ndarray, soft: float) -> np.ndarray:
    """The mask blurred by `soft` pixels (standard deviation)."""
    return mask if soft <= 0.05 else cv2.GaussianBlur(mask, (0, 0), soft)


def fill(side: int, polygon: np.ndarray, soft: float = 0.0) -> np.ndarray:
    """A filled polygon `[n, 2]` with a soft edge."""
    mask = np.zeros((side, side), np.uint8)
    corners = np.round(np.asarray(polygon) * 2**SHIFT).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SHIFT)
    return soften(mask.astype(np.float32) / 255, soft)


def stroke(side: int, path: np.ndarray, width: float | np.ndarray, soft: float = 0.0) -> np.ndarray:
    """A line along `path` `[n, 2]`, `width` pixels wide, or `[n]` wide from point to point."""
    along = np.gradient(path, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    half = 0.5 * np.broadcast_to(width, len(path))[:, None] * across
    return fill(side, np.concatenate([path + half, (path - half)[::-1]]), soft)


def taper(count: int, start: float = 0.0, end: float = 0.0) -> np.ndarray:
    """Widths `[count]` of a stroke: 1 in the middle, `start` and `end` at its ends."""
    t = np.linspace(0, 1, count)
    return np.where(t < 0.5, start + (1 - start) * np.sin(np.pi * t), end + (1 - end) * np.sin(np.pi * t))


def blob(side: int, centre: np.ndarray, radii: tuple[float, float], angle: float = 0.0) -> np.ndarray:
    """A Gaussian of standard deviations `radii`, turned by `angle` radians clockwise."""
    x = np.arange(side, dtype=np.float32)[None, :] - np.float32(centre[0])
    y = np.arange(side, dtype=np.float32)[:, None] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (x * cos + y * sin) / np.float32(radii[0]), (y * cos - x * sin) / np.float32(radii[1])
    return np.exp(-0.5 * (u * u + v * v))


def ellipse(centre: np.ndarray, radii: tuple[float, float], angle: float = 0.0, count: int = 40) -> np.ndarray:
    """The outline `[count, 2]` of an ellipse."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    x, y = radii[0] * np.cos(t), radii[1] * np.sin(t)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(centre)[:2] + np.stack([x * cos - y * sin, x * sin + y * cos], 1)


def noise(rng: np.random.Generator, side: int, cell: float) -> np.ndarray:
    """Smooth noise `[side, side]` of mean 0 and deviation about 1, its grains `cell` pixels wide."""
    count = max(2, int(np.ceil(side / cell)) + 1)
    grid = rng.standard_normal((count, count)).astype(np.float32)
    return 1.3 * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)


def lay(picture: np.ndarray, colour: np.ndarray, mask: np.ndarray, strength: float = 1.0) -> None:
    """Lay `colour` `[3]` or `[side, side, 3]` over the picture in place, through the mask."""
    rows, columns = np.flatnonzero(mask.max(1) > 2e-3), np.flatnonzero(mask.max(0) > 2e-3)
    if len(rows) == 0:
        return
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    colour = np.asarray(colour, np.float32)
    part = colour[window] if colour.ndim == 3 else colour
    picture[window] += (part - picture[window]) * (strength * mask[window])[..., None]


def shade(picture: np.ndarray, factor: np.ndarray, mask: np.ndarray, strength: float = 1.0) -> None:
    """Multiply the picture by `factor` `[3]` or a number in place, through the mask."""
    rows, columns = np.flatnonzero(mask.max(1) > 2e-3), np.flatnonzero(mask.max(0) > 2e-3)
    if len(rows) == 0:
        return
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    amount = (strength * mask[window])[..., None]
    picture[window] *= 1 + (np.asarray(factor, np.float32) - 1) * amount
