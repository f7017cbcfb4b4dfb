"""The engine: a face made ready for pictures of one size, then moved by poses.

A pose moves two layers of the picture, what lies above the line between the lips and what lies below (movements.py);
where they part, the mouth's inside shows (mouth.py). The lids are drawn into the picture before (eyes.py). Then the
head turns as one over what is behind it. Displacements are made on a coarse grid and inverted there; the picture is
sampled at twice the size that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

import mesh
import movements
import warp
from anatomy import Anatomy
from eyes import Eyes
from mouth import Mouth
from pose import COLUMN

if TYPE_CHECKING:
    from face import Face

GRID = 128  # cells a side on which displacements are computed
OVERSAMPLING = 2
BORDER = 0.16  # of the side, over which the head's motion fades where there is no matte
NECK = 0.25  # below the chin, in eyes' distances: about what the head turns
BROWS_BEHIND_GLASSES = 0.3
Crop = tuple[float, float, float]  # left, top, side in pixels of the picture


class Rig:
    """A face at one size and crop: its texture, twice that size, and the fields of every movement.

    Pixels here are the texture's, 0 at the edge.
    """

    def __init__(self, face: Face, size: int, crop: Crop):
        self._size, self._side = size, size * OVERSAMPLING
        left, top, span = crop
        scale = self._side / span
        points = (face.points - [left, top, 0]) * scale
        self._texture = self._resampled(face.picture, crop)
        self._matte = None if face.matte is None else self._resampled(face.matte, crop)
        self._background = None if face.background is None else self._resampled(face.background, crop)
        self._face = Anatomy(points)

        self._cell = self._side / GRID
        self._nodes = warp.centres(GRID, GRID)
        self._places = (self._nodes + 0.5) * self._cell
        at = self._face.to_frame(self._places)
        depth = _depth(points, self._face, at)
        self._make_fields(at, depth, face.has_glasses)
        self._make_point_fields(warp.sampled_at(depth, points[:, :2] / self._cell - 0.5), face.has_glasses)

        self._pixels = warp.centres(self._side, self._side)
        self._eyes = Eyes(self._face, self._texture, self._face.to_frame(self._pixels + 0.5))
        self._mouth = Mouth(self._face, _white(self._texture, points))
        self._pivot = self._face.to_pixels(np.array([self._face.mouth_x, self._face.mouth_y + self._face.chin + NECK]))
        self._held = self._head_weight(self._places)[..., None].astype(np.float32)

    def render(self, pose: np.ndarray) -> np.ndarray:
        """The face in a `pose` [len(POSE)] f32: [size, size, 3] u8."""
        texture = self._eyes.draw(self._texture, *_lids_and_gaze(pose))
        amounts = movements.amounts(pose)
        target = self._nodes + self._head_shift(pose)
        (from_upper, below_upper), (from_lower, below_lower) = (self._solve(amounts, target, layer) for layer in (0, 1))

        picture = warp.sampled(texture, from_upper)
        region = self._mouth_region(pose)
        at = self._in_mouth(target, pose, region)
        unit_px = self._face.unit_px
        mouth = self._mouth.draw(at, below_upper[region] / unit_px, pose, unit_px)
        # The lower lip reaches one pixel further up, so that no inside shows between closed lips.
        mouth = _over(mouth, warp.sampled(texture, from_lower[region]), np.clip(1.5 + below_lower[region], 0, 1))
        mouth = self._mouth.draw_tuck(mouth, at, pose, unit_px)
        mouth = _over(mouth, picture[region], np.clip(0.5 - below_upper[region], 0, 1))
        picture[region] = np.clip(mouth + 0.5, 0, 255).astype(np.uint8)

        if self._matte is not None:
            matte = cv2.remap(self._matte, from_upper, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            picture = cv2.blendLinear(picture, self._background, matte, 1 - matte)
        return cv2.resize(picture, (self._size, self._size), interpolation=cv2.INTER_AREA)

    def points(self, pose: np.ndarray) -> np.ndarray:
        """The mesh's points [468, 2] in pixels of the rendered size."""
        lids, _ = _lids_and_gaze(pose)
        places = self._eyes.moved(self._face.points, lids)
        places = self._face.to_pixels(places + np.tensordot(movements.amounts(pose), self._point_fields, axes=1))
        moved = places
        # A fixed point, as in warp.origins: what of the head's motion a place takes part in depends on it.
        for _ in range(4):
            moved = places - self._head_weight(moved)[:, None] * self._to_still_head(moved, pose)
        return moved / OVERSAMPLING

    def _resampled(self, picture: np.ndarray, crop: Crop) -> np.ndarray:
        """The `crop` of `picture` at the texture's size."""
        left, top, span = crop
        scale = self._side / span
        if scale < 1:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.45 / scale)
        to_side = np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])
        size = (self._side, self._side)
        return cv2.warpAffine(picture, to_side, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def _make_fields(self, at: np.ndarray, depth: np.ndarray, has_glasses: bool) -> None:
        """Each layer's displacements in cells, [movements, GRID * GRID * 2], and pixels below the lips' line."""
        self._bottom = float(self._face.to_frame(np.array([self._side / 2, self._side]))[1])
        self._fields, self._below_line = [], []
        for lower in (False, True):
            fields = movements.fields(self._face, at, depth, self._bottom, lower) * _strength(has_glasses)
            in_cells = self._face.directions_to_pixels(fields) / self._cell
            self._fields.append(in_cells.astype(np.float32).reshape(len(fields), -1))
            below = (at[..., 1] - self._face.line(at[..., 0], lower)) * self._face.unit_px
            self._below_line.append(below.astype(np.float32))

    def _make_point_fields(self, depth: np.ndarray, has_glasses: bool) -> None:
        """The displacement in the frame of each of the mesh's points by each movement, [movements, 468, 2]."""
        places = self._face.points
        of_upper, of_lower = (
            movements.fields(self._face, places, depth, self._bottom, lower) for lower in (False, True)
        )
        is_lower = mesh.in_lower_layer(places[:, 1] > self._face.line(places[:, 0]))
        fields = np.where(is_lower[:, None], of_lower, of_upper)
        self._point_fields = fields * _strength(has_glasses)[..., 0]
        self._mouth_depth = float(depth[mesh.UPPER_INNER_LIP[5]])

    def _solve(self, amounts: np.ndarray, target: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel comes from in the texture, [side, side, 2], and how far below the lips' line that is."""
        moved_by = (amounts @ self._fields[layer]).reshape(GRID, GRID, 2)
        source = warp.origins(moved_by, target)
        below = warp.sampled(self._below_line[layer], source)
        shift = self._full_size(source - self._nodes) * self._cell
        return self._pixels + shift, self._full_size(below)

    def _full_size(self, of_cells: np.ndarray) -> np.ndarray:
        return cv2.resize(of_cells, (self._side, self._side), interpolation=cv2.INTER_LINEAR)

    def _head_motion(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotation times scale [2, 2], about the pivot in the neck, and the shift [2] in pixels."""
        roll, scale = float(pose[COLUMN["roll"]]), float(pose[COLUMN["scale"]])
        turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        return turn, np.array([pose[COLUMN["shift_x"]], pose[COLUMN["shift_y"]]]) * self._side

    def _to_still_head(self, places: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """From `places` [..., 2] in pixels of a moved head to where they are in the still one."""
        turn, shift = self._head_motion(pose)
        back = np.linalg.inv(turn)
        by = self._pivot - back @ (self._pivot + shift)
        return places @ (back - np.eye(2)).T.astype(places.dtype) + by.astype(places.dtype)

    def _head_shift(self, pose: np.ndarray) -> np.ndarray:
        """From each cell to where it comes from in the still head, [GRID, GRID, 2] in cells."""
        return self._held * self._to_still_head(self._places, pose) / np.float32(self._cell)

    def _head_weight(self, places: np.ndarray) -> np.ndarray:
        """How much of the head's motion `places` [..., 2] in pixels take part in: nothing at the bottom."""
        across, down = places[..., 0] / self._side, places[..., 1] / self._side
        chin = self._face.to_pixels(np.array([0.0, self._face.mouth_y + self._face.chin]))[1] / self._side
        weight = (1 - down) / max(1 - chin, BORDER)
        if self._matte is None:
            weight = np.minimum(weight, np.minimum(np.minimum(across, 1 - across), down) / BORDER)
        weight = np.clip(weight, 0, 1)
        return weight * weight * (3 - 2 * weight)

    def _parallax(self, pose: np.ndarray) -> np.ndarray:
        """How far the mouth is moved by the turn of the head, [2] in the frame."""
        return self._mouth_depth * np.array([pose[COLUMN["yaw"]], pose[COLUMN["pitch"]]])

    def _mouth_region(self, pose: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns that hold all of what differs between the layers: about the mouth and the chin."""
        face = self._face
        half = 1.45 * face.mouth_half_width
        box = np.array([[face.mouth_x + x, face.mouth_y + y] for x in (-half, half) for y in (-0.2, face.chin + 0.35)])
        turn, shift = self._head_motion(pose)
        corners = self._pivot + shift + (face.to_pixels(box + self._parallax(pose)) - self._pivot) @ turn.T
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
        low, high = np.clip(low, 0, self._side - 1), np.clip(high, 1, self._side)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _in_mouth(self, target: np.ndarray, pose: np.ndarray, region: tuple[slice, slice]) -> np.ndarray:
        """Each pixel's place from the middle of the closed lips, in the still head's frame: [rows, columns, 2] f32."""
        in_head = self._face.to_frame((target + 0.5) * self._cell)
        middle = np.array([self._face.mouth_x, self._face.mouth_y]) + self._parallax(pose)
        return self._full_size((in_head - middle).astype(np.float32))[region]


def _strength(has_glasses: bool) -> np.ndarray:
    """How strongly a face does each movement, [movements, 1, 1, 1]."""
    strength = np.ones(len(movements.MOVEMENTS), np.float32)
    if has_glasses:
        strength[[movements.MOVEMENTS.index(name) for name in ("brow_raise", "brow_furrow")]] = BROWS_BEHIND_GLASSES
    return strength[:, None, None, None]


def _lids_and_gaze(pose: np.ndarray) -> tuple[float, tuple[float, float]]:
    lids = float(np.clip(pose[COLUMN["lids"]], -0.3, 1))
    return lids, (float(pose[COLUMN["gaze_x"]]), float(pose[COLUMN["gaze_y"]]))


def _over(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return below + (above - below) * alpha[..., None]


def _depth(points: np.ndarray, face: Anatomy, at: np.ndarray) -> np.ndarray:
    """How far each place `at` [..., 2] lies in front of the ears, in eyes' distances: smooth, 0 away from the head."""
    ears = points[list(mesh.EARS), 2].mean()
    front = np.clip((ears - points[:, 2]) / face.unit_px, 0, None)
    centre = face.points[list(mesh.EARS)].mean(axis=0)
    # The hair over the forehead lies nearly as far in front; below the jaw the neck falls off to the still body.
    upwards = np.linspace(-np.pi, 0, 13)
    over_head = centre + 1.35 * face.half_width * np.stack([np.cos(upwards), np.sin(upwards)], axis=-1)
    hair = -np.sin(upwards) * 0.6 * front[mesh.FOREHEAD]
    around = np.linspace(-np.pi, np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(around), np.sin(around)], axis=-1)
    still = np.concatenate([centre + ring * face.half_width * radius for radius in (2.4, 50)])
    places = np.concatenate([face.points, over_head, still])
    values = np.concatenate([front, hair, np.zeros(len(still))])
    # It is smooth: every fourth place is enough.
    depth = LinearNDInterpolator(places, values, fill_value=0.0)(at[::4, ::4]).astype(np.float32)
    every = np.array([[0.25, 0, 0], [0, 0.25, 0]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    depth = cv2.warpAffine(depth, every, at.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    cells = 1 / float(np.linalg.norm(at[0, 1] - at[0, 0]))
    return cv2.GaussianBlur(depth, (0, 0), 0.06 * cells)


def _white(texture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The colour of something white in the picture's light, [3]: of the eyes, or the cheeks where those are lighter."""
    eyes = np.zeros(texture.shape[:2], np.uint8)
    for upper, lower in mesh.EYES:
        cv2.fillPoly(eyes, [np.round(points[list(upper + lower[-2:0:-1]), :2]).astype(np.int32)], 1)
    inside = texture[eyes.astype(bool)].astype(np.float64)
    of_eyes = inside[np.argsort(inside.sum(axis=1))[len(inside) * 8 // 10 :]].mean(axis=0)
    places = points[[index for cheek in mesh.CHEEKS for index in cheek], :2].astype(int)
    x, y = np.clip(places, 0, np.array(texture.shape[1::-1]) - 1).T
    of_cheeks = cv2.blur(texture, (7, 7))[y, x].astype(np.float64).mean(axis=0)
    white = of_eyes if of_eyes.mean() > of_cheeks.mean() else of_cheeks
    return white.mean() * (white / white.mean()) ** 0.5  # skin, and eyes in small pictures, are redder than their light
