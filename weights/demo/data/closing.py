"""A photograph's smile undone: lips together, corners level, no teeth. What the engine needs of a face."""

from dataclasses import replace

import cv2
import numpy as np

import mesh
import movements
import warp
from anatomy import Anatomy
from face import Face

LIP_MARGIN = 0.012  # of each lip's edge that is cut away, in eyes' distances: teeth shine into it
NOT_RED = np.array([0.3, 1.0, 0.9])  # what reddening takes of each channel
LINE_WIDTH, LINE_SHADE = 0.010, 0.35  # of the line painted between the lips


def closed(face: Face, smile: float, redden: float = 0.0) -> Face:
    """`face` with lips closed and `smile` (as a pose counts it) taken away, pale lips reddened by `redden`, 0 to 1."""
    height, width = face.picture.shape[:2]
    anatomy = Anatomy(face.points)
    pixels = warp.centres(width, height)
    at = anatomy.to_frame(pixels + 0.5)

    layers, below = [], []
    for lower in (False, True):
        moved_by = anatomy.directions_to_pixels(_moved_by(anatomy, at, smile, lower)).astype(np.float32)
        source = warp.origins(moved_by, pixels)
        layers.append(warp.sampled(face.picture, source).astype(np.float32))
        inwards = LIP_MARGIN if lower else -LIP_MARGIN
        edge = anatomy.line(at[..., 0], lower) + inwards * _between_corners(anatomy, at)
        below.append(warp.sampled(((at[..., 1] - edge) * anatomy.unit_px).astype(np.float32), source))

    points = face.points.copy()
    is_lower = mesh.in_lower_layer(anatomy.points[:, 1] > anatomy.line(anatomy.points[:, 0]))
    moved = np.where(is_lower[:, None], *(_moved_by(anatomy, anatomy.points, smile, lower) for lower in (True, False)))
    points[:, :2] = anatomy.to_pixels(anatomy.points + moved)
    upper, lower = list(mesh.UPPER_INNER_LIP), list(mesh.LOWER_INNER_LIP)
    points[upper] = points[lower] = (points[upper] + points[lower]) / 2

    is_upper = np.clip(0.5 - below[0], 0, 1)[..., None]
    picture = layers[1] + (layers[0] - layers[1]) * is_upper
    now = Anatomy(points)
    here = now.to_frame(pixels + 0.5)
    line = np.exp(-(((here[..., 1] - now.line(here[..., 0])) / LINE_WIDTH) ** 2)) * _between_corners(now, here)
    picture *= 1 - LINE_SHADE * line[..., None]
    picture *= 1 - redden * _lips(points, width, height)[..., None] * NOT_RED
    return replace(face, picture=np.clip(picture + 0.5, 0, 255).astype(np.uint8), points=points, _rigs={})


def _lips(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """How much of each pixel is lip, [height, width] f32."""
    outline = points[list(mesh.LIPS_OUTLINE), :2]
    lips = np.zeros((height, width), np.float32)
    cv2.fillPoly(lips, [np.round((outline - 0.5) * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    return cv2.GaussianBlur(lips, (0, 0), width / 200)


def _between_corners(face: Anatomy, at: np.ndarray) -> np.ndarray:
    """1 between the corners of the mouth, 0 outside, smooth."""
    return np.clip(1 - ((at[..., 0] - face.mouth_x) / face.mouth_half_width) ** 2, 0, 1) ** 0.5


def _moved_by(face: Anatomy, at: np.ndarray, smile: float, lower: bool) -> np.ndarray:
    """Displacements [..., 2] in the frame that take away `smile` and bring the edges of the lips together."""
    fields = movements.fields(face, at, np.zeros(at.shape[:-1]), bottom=face.mouth_y + 3 * face.chin, lower_layer=lower)
    without_smile = -smile * fields[movements.MOVEMENTS.index("smile")]
    x, y = at[..., 0], at[..., 1]
    gap = np.maximum(face.line(x, True) - face.line(x, False), 0) + 2 * LIP_MARGIN * _between_corners(face, at)
    if lower:
        fade = np.clip(1 - np.maximum(y - face.line(x, True), 0) / (1.3 * face.chin), 0, 1)
        close = -0.55 * gap * fade
    else:
        fade = np.clip(1 - np.maximum(face.line(x, False) - y, 0) / face.nose_to_mouth, 0, 1)
        close = 0.45 * gap * fade
    return without_smile + np.stack([np.zeros_like(close), close], axis=-1)
