"""The shape of a random identity: the canonical face, smoothly deformed, its lips closed."""

import numpy as np

from .mesh import LOWER_LIP, POINTS, UPPER_LIP

EYE = (3.16, 2.62)  # centre of an eye, centimetres from the middle, as in the canonical face
DISTANCE = 60.0  # of the camera, centimetres


def _bump(points: np.ndarray, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """A Gaussian weight `[points]` round a centre in the frontal plane."""
    return np.exp(-0.5 * (((points[:, :2] - centre) / radii) ** 2).sum(1))


def _step(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 at `start`, 1 at `end`, smooth between."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _close_lips(points: np.ndarray, upper: float, lower: float) -> None:
    """Bring the inner lips onto the line halfway between them; scale each lip's thickness about it."""
    top, bottom = points[UPPER_LIP[-1], 1].copy(), points[LOWER_LIP[-1], 1].copy()
    line = (top + bottom) / 2
    for rings, inner, fullness in ((UPPER_LIP, top, upper), (LOWER_LIP, bottom, lower)):
        for ring in rings:
            # Corners belong to both lips: they stay.
            points[ring[1:-1], 1] = (line + (points[ring, 1] - inner) * fullness)[1:-1]
    depth = (points[UPPER_LIP[-1], 2] + points[LOWER_LIP[-1], 2]) / 2
    points[UPPER_LIP[-1], 2] = points[LOWER_LIP[-1], 2] = depth


def random_shape(rng: np.random.Generator) -> np.ndarray:
    """Points `[468, 3]` of a random face in the canonical face's centimetres, nearly symmetric."""
    p = POINTS.copy()

    def normal(spread: float) -> float:
        return float(np.clip(rng.normal(0, spread), -2 * spread, 2 * spread))

    _close_lips(p, upper=1.35 + normal(0.17), lower=1.25 + normal(0.19))
    mouth = _bump(p, (0, -4.3), (2.6, 1.8))
    p[:, 0] *= 1 + normal(0.07) * mouth
    p[:, 1] += normal(0.22) * mouth
    corners = np.abs(p[:, 0]) * _bump(p, (0, -4.3), (2.4, 1.0)) / 2.4
    p[:, 1] += (0.27 + normal(0.10)) * corners

    size, opening, tilt, apart = 1.12 + normal(0.06), 1.42 + normal(0.15), normal(0.045), normal(0.14)
    lift, arch, thickness = 0.1 + normal(0.22), normal(0.20), 1.05 + normal(0.2)
    for side in (-1, 1):
        eye = (side * EYE[0], EYE[1])
        wide, narrow = _bump(p, eye, (1.9, 1.2)), _bump(p, eye, (1.9, 0.85))
        dx, dy = p[:, 0] - eye[0], p[:, 1] - eye[1]
        p[:, 0] += wide * (dx * (size - 1) + side * apart)
        p[:, 1] += narrow * dy * (size * opening - 1) + wide * side * dx * tilt
        brow = _bump(p, (side * 3.4, 4.6), (2.6, 0.9))
        p[:, 1] += (
            brow * lift
            - 0.22 * _bump(p, (side * 1.3, 4.6), (0.9, 0.8))
            + arch * _bump(p, (side * 4.0, 4.9), (1.2, 0.9))
        )
        p[:, 1] += _bump(p, (side * 3.4, 4.6), (2.6, 0.5)) * (p[:, 1] - 4.6) * (thickness - 1)

    nose = _bump(p, (0, -0.9), (1.7, 1.3))
    p[:, 0] *= 1 + (normal(0.11)) * nose
    p[:, 1] += normal(0.22) * nose
    p[:, 2] += normal(0.3) * nose
    bridge = _bump(p, (0, 2.2), (1.2, 2.2))
    p[:, 0] *= 1 + normal(0.10) * bridge
    p[:, 2] += normal(0.25) * bridge

    below, above = _step(p[:, 1], -3.2, -8.0), _step(p[:, 1], 4.8, 8.3)
    p[:, 0] *= 1 + normal(0.055)
    p[:, 0] *= 1 + (-0.02 + normal(0.055)) * below
    p[:, 0] *= 1 + normal(0.07) * _bump(p, (0, -9.0), (9, 1.6))
    p[:, 1] += (0.3 + normal(0.35)) * below + (-0.25 + normal(0.35)) * above
    p[:, 0] *= 1 + normal(0.03) * above
    cheeks = _step(np.abs(p[:, 0]), 3.0, 7.0) * np.exp(-0.5 * ((p[:, 1] + 1.0) / 2.5) ** 2)
    p[:, 0] *= 1 + normal(0.03) * cheeks

    # No face is quite symmetric.
    p[:, 0] += normal(0.05) * _step(p[:, 1], 0, -9)
    p[:, 1] += normal(0.006) * p[:, 0]
    return p


def to_picture(points: np.ndarray, origin: tuple[float, float], scale: float) -> np.ndarray:
    """Centimetres `[.., 2 or 3]` to pixels: x right, y down and, where there, z away from the camera (as MediaPipe's).

    `origin` is the place of (0, 0) in the picture, `scale` the pixels in a centimetre at its depth.
    """
    points = np.asarray(points, np.float64)
    if points.shape[-1] == 2:
        return np.asarray(origin) + scale * points * (1, -1)
    nearer = DISTANCE / (DISTANCE - (points[..., 2:] - POINTS[:, 2].mean()))
    flat = np.asarray(origin) + scale * nearer * points[..., :2] * (1, -1)
    return np.concatenate([flat, -scale * (points[..., 2:] - POINTS[:, 2].mean())], -1)
