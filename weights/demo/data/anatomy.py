"""A face's own frame, and the places in it that movements hang on.

The frame: its origin between the outer corners of the eyes, x along them to the right of the picture, y towards the
mouth, unit the distance between them (the eyes' distance). All other modules of the engine measure in it.
"""

import numpy as np

import mesh


class Anatomy:
    """Where a neutral face has its mouth, jaw, brows and eyes, from its mesh `points` [468, 3] in pixels."""

    def __init__(self, points: np.ndarray):
        right, left = points[list(mesh.OUTER_CORNERS), :2]
        self.unit_px = float(np.linalg.norm(left - right))
        self.origin = (right + left) / 2
        along = (left - right) / self.unit_px
        self.axes = np.array([along, [-along[1], along[0]]])
        at = self.points = self.to_frame(points[:, :2])

        upper, lower = at[list(mesh.UPPER_INNER_LIP)], at[list(mesh.LOWER_INNER_LIP)]
        self.mouth_x = float((upper[0, 0] + upper[-1, 0]) / 2)
        self.mouth_half_width = float((upper[-1, 0] - upper[0, 0]) / 2)
        self.lines = tuple((np.maximum.accumulate(line[:, 0]), line[:, 1]) for line in (upper, lower))
        self.mouth_y = float(self.line(np.float64(self.mouth_x)))
        self.lip_thickness = (float(upper[5, 1] - at[0, 1]), float(at[17, 1] - lower[5, 1]))
        self.nose_to_mouth = self.mouth_y - float(at[mesh.NOSE_BASE, 1])
        self.chin = float(at[mesh.CHIN, 1]) - self.mouth_y
        self.half_width = float(np.ptp(at[list(mesh.EARS), 0])) / 2
        self.brow_y = float(at[list(mesh.BROWS[0] + mesh.BROWS[1]), 1].mean())
        self.inner_brows = [at[list(pair)].mean(axis=0) for pair in mesh.INNER_BROWS]
        self.cheeks = [at[list(pair)].mean(axis=0) for pair in mesh.CHEEKS]

    def to_frame(self, xy: np.ndarray) -> np.ndarray:
        """`xy` [..., 2] pixels in the frame."""
        return (xy - self.origin) @ self.axes.T / self.unit_px

    def to_pixels(self, xy: np.ndarray) -> np.ndarray:
        """`xy` [..., 2] of the frame in pixels."""
        return self.origin + xy @ self.axes * self.unit_px

    def directions_to_pixels(self, d: np.ndarray) -> np.ndarray:
        """Displacements `d` [..., 2] of the frame in pixels."""
        return d @ self.axes * self.unit_px

    def line(self, x: np.ndarray, of_lower: bool | None = None) -> np.ndarray:
        """y of the line between the lips at `x`: the upper's edge, the lower's, or half way; level beside the mouth."""
        if of_lower is None:
            return (self.line(x, False) + self.line(x, True)) / 2
        return np.interp(x, *self.lines[of_lower])
