"""Lids that close and eyes that look aside, drawn into the picture of a face before it is warped."""

import numpy as np

import mesh
import warp
from anatomy import Anatomy
from fill import filled

LID_TRAVEL = 0.9  # of the opening of the eye that the upper lid covers; the lower does the rest
# In eyes' distances:
LASH = 0.008  # how far the lid's edge lies below its points, so that the lashes are the lid's
CREASE = 0.07  # the fold above the eye that a closed lid smooths out
MARGIN = (0.05, 0.03)  # what of lashes and shadow above and beside, and below the eye is not the lid's skin
GAZE_REACH = (0.045, 0.018)  # of the iris at gaze 1
LASH_WIDTH, LASH_SHADE = 0.011, 0.55


class Eyes:
    """Both eyes of a `texture` [h, w, 3] u8 whose pixels have the frame's places `at` [h, w, 2]."""

    def __init__(self, face: Anatomy, texture: np.ndarray, at: np.ndarray):
        self._eyes = [_Eye(face, texture, at, index) for index in range(2)]

    def draw(self, texture: np.ndarray, lids: float, gaze: tuple[float, float]) -> np.ndarray:
        """`texture` with the lids closed by `lids` and the irises moved by `gaze`, as in a pose."""
        if lids == 0 and gaze == (0, 0):
            return texture
        drawn = texture.copy()
        for eye in self._eyes:
            drawn[eye.region] = eye.drawn(texture, lids, gaze)
        return drawn

    def moved(self, points: np.ndarray, lids: float) -> np.ndarray:
        """The mesh's `points` [468, 2] of the frame with the lids closed by `lids`."""
        moved = points.copy()
        for eye in self._eyes:
            moved[:, 1] += eye.lid_shift(points, lids)
        return moved


class _Eye:
    """One eye: `region` are its rows and columns in the texture."""

    def __init__(self, face: Anatomy, texture: np.ndarray, at: np.ndarray, index: int):
        upper, lower = (face.points[list(points)] for points in mesh.EYES[index])
        self._x = np.maximum.accumulate(upper[:, 0])
        self._upper = upper[:, 1]
        self._lower = np.interp(self._x, np.maximum.accumulate(lower[:, 0]), lower[:, 1])
        brow = float(face.points[list(mesh.BROWS[index][5:]), 1].max())
        self._top = min(brow, float(self._upper.min()) - CREASE)
        self._bottom = float(self._lower.max()) + 0.10

        inside = (at[..., 0] > self._x[0] - 0.07) & (at[..., 0] < self._x[-1] + 0.07)
        inside &= (at[..., 1] > self._top - 0.02) & (at[..., 1] < self._bottom)
        rows, columns = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
        self.region = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        self._place = warp.centres(texture.shape[1], texture.shape[0])[self.region]
        self._to_texture = np.linalg.inv(np.stack([at[0, 1] - at[0, 0], at[1, 0] - at[0, 0]], axis=1)).astype(
            np.float32
        )
        self._unit_px = face.unit_px
        at = at[self.region]
        self._y = at[..., 1]
        self._edge, self._low = self._lid_edges(at[..., 0])
        self._opening = self._low - self._edge
        self._rise_fade = np.clip((self._bottom - self._y) / (self._bottom - self._low), 0, 1)

        # Looking aside moves the middle of the eye most, its corners and lids not at all.
        across = np.clip((at[..., 0] - self._x[0]) / (self._x[-1] - self._x[0]), 0, 1)
        within = (4 * across * (1 - across)) ** 0.5 * np.clip(
            self._opening / max(float(self._opening.max()), 1e-6), 0, 1
        )
        within = within * np.clip((self._y - self._edge) / LASH + 1, 0, 1)
        self._look = within * np.clip((self._low - self._y) / LASH + 1, 0, 1)

        # The closed lid: skin from around the eye grown over it, a little darker where it turns down to the lashes.
        is_eye = (at[..., 0] > self._x[0] - MARGIN[1]) & (at[..., 0] < self._x[-1] + MARGIN[1])
        is_eye &= (self._y > self._edge - MARGIN[0]) & (self._y < self._low + MARGIN[1])
        light = texture[self.region].mean(axis=-1)
        lit = np.clip(light / light[~is_eye].max(), 0.05, 1) ** 2  # lashes and creases are not what a lid looks like
        self._lid = filled(texture[self.region], is_eye, lit)
        depth = np.clip((self._y - self._edge) / np.maximum(self._opening, 1e-6), 0, 1)
        self._lid *= (1 - 0.16 * depth)[..., None]
        # Above the open eye, the crease goes as the lid comes down.
        self._smoothed = np.clip((self._y - self._edge + CREASE) / (0.5 * CREASE), 0, 1) * np.clip(
            self._opening / 0.02, 0, 1
        )
        self._lashes = np.clip(self._opening / 0.025, 0, 1)

    def _lid_edges(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y of the edges of the upper and the lower lid at `x`; outside the eye both the corner's."""
        upper, lower = np.interp(x, self._x, self._upper), np.interp(x, self._x, self._lower)
        return upper + np.minimum(LASH, np.maximum(lower - upper, 0) / 3), np.maximum(lower, upper)

    def lid_shift(self, points: np.ndarray, lids: float) -> np.ndarray:
        """How far down `points` [n, 2] between the brow and the cheek go with the lids."""
        x, y = points[:, 0], points[:, 1]
        upper, lower = self._lid_edges(x)
        down = np.where(
            y < (upper + lower) / 2,
            lids * LID_TRAVEL * (lower - upper) * np.clip((y - self._top) / (upper - LASH - self._top), 0, 1),
            -max(lids, 0)
            * (1 - LID_TRAVEL)
            * (lower - upper)
            * np.clip((self._bottom - y) / (self._bottom - lower), 0, 1),
        )
        near = (x >= self._x[0]) & (x <= self._x[-1]) & (y > self._top) & (y < self._bottom)
        return np.where(near, down, 0)

    def drawn(self, texture: np.ndarray, lids: float, gaze: tuple[float, float]) -> np.ndarray:
        """The region of `texture`, u8, in that pose."""
        edge = self._edge + lids * LID_TRAVEL * self._opening
        closing = max(lids, 0.0)
        # Wide open, the eye is drawn out upwards; closing, the lower lid rises.
        up = np.minimum(edge - self._edge, 0) * np.clip((self._y - self._top) / (self._edge - self._top), 0, 1)
        up = up * np.clip((self._low - self._y) / np.maximum(self._opening, 1e-6), 0, 1)
        rise = closing * (1 - LID_TRAVEL) * self._opening * self._rise_fade
        shift = np.stack(
            [-gaze[0] * GAZE_REACH[0] * self._look, rise - up - gaze[1] * GAZE_REACH[1] * self._look], axis=-1
        )
        patch = warp.sampled(texture, self._place + shift.astype(np.float32) @ self._to_texture.T).astype(np.float32)
        if closing > 0:
            comes = min(closing / 0.25, 1.0)
            covered = np.clip(0.5 + (edge - self._y) * self._unit_px, 0, 1) * self._smoothed * comes
            patch += (self._lid - patch) * covered[..., None]
            lash = np.exp(-(((self._y - edge) / LASH_WIDTH) ** 2)) * self._lashes * LASH_SHADE * comes
            patch *= 1 - lash[..., None]
        return np.clip(patch + 0.5, 0, 255).astype(np.uint8)
