"""What is seen between the lips: throat, tongue, and the teeth of both jaws."""

import numpy as np

from anatomy import Anatomy
from movements import CHIN_DROP
from pose import COLUMN

THROAT = np.array([52.0, 20.0, 22.0])
TONGUE = np.array([166.0, 82.0, 84.0])
TEETH = np.array([216.0, 206.0, 192.0])
WHITE = 185.0  # mean of the whites of eyes in light for which the colours above hold
# In eyes' distances below the line of the closed lips.
UPPER_TEETH_END = 0.040
LOWER_TEETH_START = 0.045
TOOTH_WIDTH = 0.062


class Mouth:
    """The inside of a face's mouth, in a light in which the whites of eyes have the colour `white` [3] RGB."""

    def __init__(self, face: Anatomy, white: np.ndarray):
        light = np.clip(white / WHITE, 0.25, 1.2)
        self._throat, self._tongue, self._teeth = THROAT * light, TONGUE * light, TEETH * light
        self._half_width = face.mouth_half_width

    def draw(self, at: np.ndarray, below_lip: np.ndarray, pose: np.ndarray, unit_px: float) -> np.ndarray:
        """The inside of the mouth, [h, w, 3].

        `at` [h, w, 2] places from the middle of the closed lips in the head's frame, `below_lip` [h, w] how far below
        the edge of the upper lip, both in eyes' distances; `unit_px` pixels to that distance.
        """
        open_, tongue_up = float(pose[COLUMN["open"]]), float(pose[COLUMN["tongue"]])
        x, y = at[..., 0], at[..., 1]
        in_jaw = y - CHIN_DROP * 1.15 * open_

        picture = np.broadcast_to(self._throat, (*x.shape, 3)).copy()
        # The tongue lies in the lower jaw; its back fades into the throat. Raised, its tip goes to the upper teeth.
        back = 0.02 - 0.12 * open_ + 1.3 * x**2 - tongue_up * CHIN_DROP * 0.9 * open_
        from_back = np.clip((in_jaw - back) / 0.10, 0, 1)
        groove = 1 - 0.14 * np.exp(-((x / 0.018) ** 2)) * from_back
        lit = (0.35 + 0.45 * from_back) * groove
        picture = _over(picture, lit[..., None] * self._tongue, _smooth((in_jaw - back + 0.02) / 0.08))
        lower = _edge(in_jaw - LOWER_TEETH_START - 0.5 * x**2, unit_px, 0.012) * _smooth(
            2.6 - 2.4 * np.abs(x) / self._half_width
        )
        picture = _over(picture, 0.82 * self._teeth_colour(at), lower)
        picture = _over(picture, self._teeth_colour(at), self._upper_teeth(at, unit_px))
        shadow = 0.42 + 0.58 * np.clip(below_lip / 0.06, 0, 1)
        return picture * shadow[..., None]

    def draw_tuck(self, lip: np.ndarray, at: np.ndarray, pose: np.ndarray, unit_px: float) -> np.ndarray:
        """`lip` [h, w, 3] with the upper teeth on it as far as the lower lip is tucked under them."""
        tuck = float(pose[COLUMN["tuck"]])
        if tuck == 0:
            return lip
        across = np.clip(1.2 - (at[..., 0] / (0.8 * self._half_width)) ** 2, 0, 1)
        return _over(lip, 0.8 * self._teeth_colour(at), tuck * across * self._upper_teeth(at, unit_px))

    def _upper_teeth(self, at: np.ndarray, unit_px: float) -> np.ndarray:
        """How much of each pixel is upper teeth, [h, w]; `at` as in `draw`."""
        x, y = at[..., 0], at[..., 1]
        sides = _smooth(2.6 - 2.0 * np.abs(x) / self._half_width)
        return _edge(UPPER_TEETH_END - 0.5 * x**2 - y, unit_px, 0.012) * sides

    def _teeth_colour(self, at: np.ndarray) -> np.ndarray:
        """[h, w, 3], with faint lines between the teeth and less light towards the sides."""
        x = at[..., 0]
        tooth = np.abs(np.mod(x / TOOTH_WIDTH, 1) - 0.5)  # 0.5 in the gaps
        shade = (1 - 0.5 * (x / self._half_width) ** 2) * (1 - 0.10 * np.clip((tooth - 0.42) / 0.08, 0, 1))
        return np.clip(shade, 0.3, 1)[..., None] * self._teeth


def _edge(inside: np.ndarray, unit_px: float, soft: float = 0.0) -> np.ndarray:
    """Coverage of a pixel that lies `inside` an edge by so much, over one pixel or `soft`."""
    return np.clip(0.5 + inside / max(1 / unit_px, soft), 0, 1)


def _smooth(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _over(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return below + (above - below) * alpha[..., None]
