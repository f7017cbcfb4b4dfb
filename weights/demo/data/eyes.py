"""Lids that close and eyes that look aside, drawn into the picture of a face before it is warped."""

import cv2
import numpy as np

import mesh
from anatomy import Anatomy

LID_TRAVEL = 0.92  # of the opening of the eye that the upper lid covers; the lower does the rest
LASH = 0.010  # by how much the lid's edge lies below its points, in eyes' distances, so that the lashes go with it
GAZE_REACH = (0.045, 0.018)  # of the iris at gaze 1, in eyes' distances
LASH_SHADE = 0.45


class Eyes:
    """Both eyes of a `texture` [h, w, 3] u8 whose pixels have the frame's places `at` [h, w, 2]."""

    def __init__(self, face: Anatomy, at: np.ndarray):
        self._eyes = [_Eye(face, at, index) for index in range(2)]
        self._face = face

    def draw(self, texture: np.ndarray, lids: float, gaze: tuple[float, float]) -> np.ndarray:
        """A copy of `texture` with the lids closed by `lids` and the irises moved by `gaze`, as in a pose."""
        if lids == 0 and gaze == (0, 0):
            return texture
        drawn = texture.copy()
        for eye in self._eyes:
            eye.draw(texture, drawn, lids, gaze)
        return drawn

    def moved(self, points: np.ndarray, lids: float) -> np.ndarray:
        """The mesh's `points` [468, 2] of the frame with the lids closed by `lids`."""
        moved = points.copy()
        for eye in self._eyes:
            moved[:, 1] += eye.lid_shift(points, lids)
        return moved


class _Eye:
    def __init__(self, face: Anatomy, at: np.ndarray, index: int):
        upper, lower = (face.points[list(points)] for points in mesh.EYES[index])
        self._x = np.maximum.accumulate(upper[:, 0])
        self._upper, self._lower = upper[:, 1], np.interp(self._x, np.maximum.accumulate(lower[:, 0]), lower[:, 1])
        self._fold = float(face.points[list(mesh.BROWS[index][5:]), 1].max())
        self._fold = min(self._fold, float(self._upper.min()) - 0.03)
        self._bottom = float(self._lower.max()) + 0.10

        left, right = self._x[0] - 0.06, self._x[-1] + 0.06
        inside = (at[..., 0] > left) & (at[..., 0] < right) & (at[..., 1] > self._fold) & (at[..., 1] < self._bottom)
        rows, columns = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
        self._region = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        self._at = at[self._region]
        self._pixels_to_frame = face
        self._px = 1 / float(np.linalg.norm(at[0, 1] - at[0, 0]))  # pixels a unit of the frame
        step_x, step_y = at[0, 1] - at[0, 0], at[1, 0] - at[0, 0]
        self._to_texture = np.linalg.inv(np.stack([step_x, step_y], axis=1)).astype(np.float32)
        self._place = np.stack(np.meshgrid(np.arange(columns[0], columns[-1] + 1), np.arange(rows[0], rows[-1] + 1)), -1)
        self._place = self._place.astype(np.float32)
        self._edges = self._lid_edges(self._at[..., 0])

    def _lid_edges(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        upper, lower = np.interp(x, self._x, self._upper), np.interp(x, self._x, self._lower)
        open_by = np.maximum(lower - upper, 0)
        return upper + np.minimum(LASH, open_by / 3), lower

    def lid_shift(self, points: np.ndarray, lids: float) -> np.ndarray:
        """How far down `points` [n, 2] between the brow and the cheek go with the lids."""
        x, y = points[:, 0], points[:, 1]
        upper, lower = self._lid_edges(x)
        opening = lower - upper
        near = (x >= self._x[0]) & (x <= self._x[-1]) & (y > self._fold) & (y < self._bottom)
        on_upper = y < (upper + lower) / 2
        down = np.where(
            on_upper,
            lids * LID_TRAVEL * opening * np.clip((y - self._fold) / (upper - LASH - self._fold), 0, 1),
            -max(lids, 0) * (1 - LID_TRAVEL) * opening * np.clip((self._bottom - y) / (self._bottom - lower), 0, 1),
        )
        return np.where(near, down, 0)

    def draw(self, texture: np.ndarray, drawn: np.ndarray, lids: float, gaze: tuple[float, float]) -> None:
        x, y = self._at[..., 0], self._at[..., 1]
        upper, lower = self._edges
        opening = lower - upper
        edge = upper + lids * LID_TRAVEL * opening
        rise = max(lids, 0) * (1 - LID_TRAVEL) * opening

        # The lid: the skin from the fold under the brow to the edge is drawn out like a blind.
        skin_y = self._fold + (y - self._fold) * (upper - self._fold) / (edge - self._fold)
        skin = self._sample(texture, np.zeros_like(x), skin_y - y)
        # The eye and what lies below it. Wide open, the eye itself is stretched; looking aside, its middle moves.
        ball_y = np.where(y < lower, lower - (lower - y) * opening / np.maximum(lower - np.minimum(edge, upper), 1e-6), y)
        ball_y = ball_y + rise * np.clip((self._bottom - y) / (self._bottom - lower), 0, 1)
        across = np.clip((x - self._x[0]) / (self._x[-1] - self._x[0]), 0, 1)
        within = np.clip(opening / max(float(opening.max()), 1e-6), 0, 1) * (4 * across * (1 - across)) ** 0.5
        within = within * np.clip((y - upper + LASH) / LASH, 0, 1) * np.clip((lower + LASH - y) / LASH, 0, 1)
        ball = self._sample(texture, -gaze[0] * GAZE_REACH[0] * within, ball_y - y - gaze[1] * GAZE_REACH[1] * within)

        is_skin = np.clip(0.5 + (edge - y) * self._px, 0, 1)[..., None]
        patch = ball + (skin - ball) * is_skin
        if lids > 0:
            lash = np.exp(-(((y - edge) / 0.012) ** 2)) * np.clip(opening / 0.03, 0, 1) * LASH_SHADE * min(lids, 1)
            patch *= 1 - lash[..., None]
        drawn[self._region] = np.clip(patch + 0.5, 0, 255).astype(np.uint8)

    def _sample(self, texture: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        where = self._place + np.stack([dx, dy], -1).astype(np.float32) @ self._to_texture.T
        return cv2.remap(texture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
