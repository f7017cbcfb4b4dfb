"""One engine that makes a still face talk, blink and turn: a photograph with tracked points or a drawn one.

A face is a neutral picture (mouth closed, eyes open) and MediaPipe's 468 points in it. A pose moves two layers of the picture,
what lies above the line between the lips and what lies below (movements.py), the mouth's inside shows where they part (mouth.py),
the lids are drawn into the picture before (eyes.py), the head turns as one and fades into a background that stays.
"""

from dataclasses import dataclass, field, replace

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

GRID = 128  # cells a side on which displacements are computed
OVERSAMPLING = 2
BROWS_BEHIND_GLASSES = 0.3
BORDER = 0.16  # of the side, over which the head's motion fades
Crop = tuple[float, float, float]  # left, top, side in pixels of the picture


@dataclass
class Face:
    """A neutral `picture` [h, w, 3] u8 RGB and its mesh `points` [468, 3]: pixels, 0 at the edge; z grows away from the camera.

    With a `matte` [h, w] f32, 1 on the head, only the head moves, over `background` [h, w, 3] u8, which has no head; without, the
    picture around the head gives way. Brows move less behind glasses, whose frame would bend.
    """

    picture: np.ndarray
    points: np.ndarray
    matte: np.ndarray | None = None
    background: np.ndarray | None = None
    has_glasses: bool = False
    _rigs: dict = field(default_factory=dict, repr=False, compare=False)

    def render(self, pose: np.ndarray, size: int = 128, crop: Crop | None = None) -> np.ndarray:
        """The face in a `pose` [len(POSE)], [size, size, 3] u8; `crop` a square of the picture, its upper left one by default."""
        return self._rig(size, crop).render(np.asarray(pose, np.float32))

    def landmarks(self, pose: np.ndarray, size: int = 128, crop: Crop | None = None) -> np.ndarray:
        """iBUG's 68 points [68, 2] f32 of what `render` shows, in pixels of it, centres of pixels at halves."""
        return mesh.to_ibug(self.mesh_points(pose, size, crop)).astype(np.float32)

    def mesh_points(self, pose: np.ndarray, size: int = 128, crop: Crop | None = None) -> np.ndarray:
        """All 468 points [468, 2] of what `render` shows."""
        return self._rig(size, crop).points(np.asarray(pose, np.float32))

    def render_clip(self, poses: np.ndarray, size: int = 128, crop: Crop | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Frames [frames, size, size, 3] u8 and landmarks [frames, 68, 2] f32 of a pose track [frames, len(POSE)]."""
        frames = np.stack([self.render(pose, size, crop) for pose in poses])
        return frames, np.stack([self.landmarks(pose, size, crop) for pose in poses])

    def _rig(self, size: int, crop: Crop | None) -> "_Rig":
        key = (size, crop)
        if key not in self._rigs:
            self._rigs[key] = _Rig(self, size, crop or (0.0, 0.0, float(min(self.picture.shape[:2]))))
        return self._rigs[key]


def relit(face: Face, rng: np.random.Generator) -> Face:
    """The same face in another light: exposure, gamma, white balance, and more light from one side."""
    height, width = face.picture.shape[:2]
    gamma = rng.uniform(0.85, 1.3)
    gain = rng.uniform(0.7, 1.08) * rng.uniform(0.93, 1.07, size=3)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    side = 1 + strength * np.tanh(1.5 * (x * np.cos(angle) + y * np.sin(angle)))
    light = (gain * side[..., None]).astype(np.float32)

    def lit(picture: np.ndarray) -> np.ndarray:
        return (np.clip((picture.astype(np.float32) / 255) ** gamma * light, 0, 1) * 255 + 0.5).astype(np.uint8)

    background = None if face.background is None else lit(face.background)
    return replace(face, picture=lit(face.picture), background=background, _rigs={})


class _Rig:
    """A face made ready for pictures of one size and crop: its texture and the field of every movement."""

    def __init__(self, face: Face, size: int, crop: Crop):
        self.size, self.side = size, size * OVERSAMPLING
        left, top, span = crop
        self._scale = self.side / span
        to_side = np.array([[self._scale, 0, -left * self._scale], [0, self._scale, -top * self._scale]])
        self._texture = _resampled(face.picture, to_side, self.side)
        self._matte = None if face.matte is None else _resampled(face.matte, to_side, self.side)
        self._background = None if face.background is None else _resampled(face.background, to_side, self.side)
        self._behaviour = np.ones(len(movements.MOVEMENTS), np.float32)
        if face.has_glasses:
            self._behaviour[[movements.MOVEMENTS.index(name) for name in ("brow_raise", "brow_furrow")]] = BROWS_BEHIND_GLASSES
        points = (face.points - [left, top, 0]) * self._scale
        self.anatomy = Anatomy(points)

        cell = self.side / GRID
        self._cell = cell
        self._nodes = warp.centres(GRID, GRID)
        at = self.anatomy.to_frame((self._nodes + 0.5) * cell)
        depth = _depth(points, self.anatomy, at)
        bottom = float(self.anatomy.to_frame(np.array([self.side / 2, self.side]))[1])
        unit = self.anatomy.directions_to_pixels
        self._fields = [unit(movements.fields(self.anatomy, at, depth, bottom, lower)) / cell for lower in (False, True)]
        self._fields = [np.ascontiguousarray(layer, np.float32).reshape(len(layer), -1) for layer in self._fields]
        self._below_line = [
            ((at[..., 1] - self.anatomy.line(at[..., 0], lower)) * self.anatomy.unit_px).astype(np.float32) for lower in (False, True)
        ]

        places = self.anatomy.points
        of_points = [movements.fields(self.anatomy, places, warp.sampled_at(depth, points[:, :2] / cell - 0.5), bottom, lower)
                     for lower in (False, True)]
        is_lower = mesh.in_lower_layer(places[:, 1] > self.anatomy.line(places[:, 0]))
        self._point_fields = np.where(is_lower[:, None], of_points[1], of_points[0])
        self._mouth_depth = float(warp.sampled_at(depth, points[[13], :2] / cell - 0.5)[0])

        pixels = warp.centres(self.side, self.side)
        self._pixels = pixels
        self._eyes = Eyes(self.anatomy, self._texture, self.anatomy.to_frame(pixels + 0.5))
        self._mouth = Mouth(self.anatomy, _white(self._texture, points))
        self._held = self._head_weight(bottom)
        self._pivot = self.anatomy.to_pixels(np.array([self.anatomy.mouth_x, self.anatomy.mouth_y + self.anatomy.chin + 0.25]))

    def render(self, pose: np.ndarray) -> np.ndarray:
        texture = self._eyes.draw(self._texture, *_lids_and_gaze(pose))
        amount = movements.amounts(pose) * self._behaviour
        target = self._nodes + self._head_shift(pose)
        maps, below = zip(*(self._solve(amount, target, layer) for layer in range(2)))
        picture = warp.sampled(texture, maps[0])

        rows, columns = self._mouth_region(pose)
        region = (rows, columns)
        upper = picture[region].astype(np.float32)
        lower = warp.sampled(texture, maps[1][region])
        to_head = cv2.resize(target[..., 0:2] * self._cell + 0.5 * self._cell, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        at = self.anatomy.to_frame(to_head[region]) - [self.anatomy.mouth_x, self.anatomy.mouth_y]
        at = at - self._mouth_depth * np.array([pose[COLUMN["yaw"]], pose[COLUMN["pitch"]]])
        inside = self._mouth.draw(at, below[0][region] / self.anatomy.unit_px, pose, self.anatomy.unit_px)
        # The lower lip reaches one pixel further up, so that no inside shows between closed lips.
        mouth = inside + (lower - inside) * np.clip(1.5 + below[1][region], 0, 1)[..., None]
        tuck = float(pose[COLUMN["tuck"]])
        if tuck > 0:
            across = np.clip(1.2 - (at[..., 0] / (0.8 * self.anatomy.mouth_half_width)) ** 2, 0, 1)
            teeth = (tuck * across * self._mouth.upper_teeth(at, self.anatomy.unit_px))[..., None]
            mouth += (0.8 * self._mouth.teeth_colour(at) - mouth) * teeth
        mouth += (upper - mouth) * np.clip(0.5 - below[0][region], 0, 1)[..., None]
        picture[region] = np.clip(mouth + 0.5, 0, 255).astype(np.uint8)
        if self._matte is not None:
            matte = cv2.remap(self._matte, maps[0], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
            picture = cv2.blendLinear(picture, self._background, matte, 1 - matte)
        return cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def points(self, pose: np.ndarray) -> np.ndarray:
        """The mesh's points [468, 2] in pixels of the rendered size."""
        lids, _ = _lids_and_gaze(pose)
        places = self._eyes.moved(self.anatomy.points, lids)
        places = places + np.tensordot(movements.amounts(pose) * self._behaviour, self._point_fields, axes=1)
        turn, shift = self._head_motion(pose)
        moved = self._pivot + shift + (self.anatomy.to_pixels(places) - self._pivot) @ turn.T
        return moved / OVERSAMPLING

    def _solve(self, amount: np.ndarray, target: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel of the picture comes from in the texture, [side, side, 2], and how far that lies below the lips' line."""
        moved_by = (amount @ self._fields[layer]).reshape(GRID, GRID, 2)
        source = warp.origins(moved_by, target)
        below = warp.sampled(self._below_line[layer], source)
        size = (self.side, self.side)
        shift = cv2.resize(source - self._nodes, size, interpolation=cv2.INTER_LINEAR) * self._cell
        return self._pixels + shift, cv2.resize(below, size, interpolation=cv2.INTER_LINEAR)

    def _head_motion(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotation times scale [2, 2], about the pivot in the neck, and the shift [2] in pixels."""
        roll, scale = float(pose[COLUMN["roll"]]), float(pose[COLUMN["scale"]])
        turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        return turn, np.array([pose[COLUMN["shift_x"]], pose[COLUMN["shift_y"]]]) * self.side

    def _head_shift(self, pose: np.ndarray) -> np.ndarray:
        """From each cell to where it comes from in the still head, [GRID, GRID, 2] in cells: nothing at the borders."""
        turn, shift = self._head_motion(pose)
        place = (self._nodes + 0.5) * self._cell
        source = self._pivot + (place - self._pivot - shift) @ np.linalg.inv(turn).T
        return (self._held * (source - place) / self._cell).astype(np.float32)

    def _head_weight(self, bottom: float) -> np.ndarray:
        """How much of the head's motion each cell takes part in, [GRID, GRID, 1]."""
        across = (self._nodes[..., 0] + 0.5) / GRID
        down = (self._nodes[..., 1] + 0.5) / GRID
        chin = float(self.anatomy.to_pixels(np.array([0.0, self.anatomy.mouth_y + self.anatomy.chin]))[1]) / self.side
        weight = np.minimum(np.minimum(across, 1 - across), down) / BORDER if self._matte is None else np.ones_like(down)
        weight = np.clip(np.minimum(weight, (1 - down) / max(1 - chin, BORDER)), 0, 1)
        return (weight * weight * (3 - 2 * weight))[..., None]

    def _mouth_region(self, pose: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns that hold all of what differs between the layers: between the corners, from the lips to the chin."""
        face = self.anatomy
        half = 1.45 * face.mouth_half_width
        box = np.array([[face.mouth_x + x, face.mouth_y + y] for x in (-half, half) for y in (-0.2, face.chin + 0.35)])
        turn, shift = self._head_motion(pose)
        parallax = self._mouth_depth * np.array([pose[COLUMN["yaw"]], pose[COLUMN["pitch"]]])
        corners = self._pivot + shift + (face.to_pixels(box + parallax) - self._pivot) @ turn.T
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
        low, high = np.clip(low, 0, self.side - 1), np.clip(high, 1, self.side)
        return slice(low[1], high[1]), slice(low[0], high[0])


def _lids_and_gaze(pose: np.ndarray) -> tuple[float, tuple[float, float]]:
    lids = float(np.clip(pose[COLUMN["lids"]], -0.3, 1))
    return lids, (float(pose[COLUMN["gaze_x"]]), float(pose[COLUMN["gaze_y"]]))


def _resampled(picture: np.ndarray, to_side: np.ndarray, side: int) -> np.ndarray:
    """`picture` through the affine map `to_side` [2, 3] (pixels' edges at whole numbers) to [side, side, 3], blurred first if smaller."""
    scale = to_side[0, 0]
    if scale < 1:  # as much blur as the smaller grid needs
        picture = cv2.GaussianBlur(picture, (0, 0), 0.45 / scale)
    centred = to_side.copy()
    centred[:, 2] += 0.5 * scale - 0.5
    return cv2.warpAffine(picture, centred, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _depth(points: np.ndarray, face: Anatomy, at: np.ndarray) -> np.ndarray:
    """How far each place `at` [..., 2] lies in front of the ears, in eyes' distances: smooth, 0 away from the head."""
    ears = points[list(mesh.EARS), 2].mean()
    front = np.clip((ears - points[:, 2]) / face.unit_px, 0, None)
    centre = face.points[list(mesh.EARS)].mean(axis=0)
    # The hair over the forehead lies about as far in front as the forehead; below the jaw the neck falls off to the still body.
    upwards = np.linspace(-np.pi, 0, 13)
    over_head = centre + 1.35 * face.half_width * np.stack([np.cos(upwards), np.sin(upwards)], axis=-1)
    hair = -np.sin(upwards) * 0.6 * front[mesh.FOREHEAD]
    around = np.linspace(-np.pi, np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(around), np.sin(around)], axis=-1)
    still = np.concatenate([centre + ring * face.half_width * radius for radius in (2.4, 50)])
    places = np.concatenate([face.points, over_head, still])
    values = np.concatenate([front, hair, np.zeros(len(still))])
    depth = LinearNDInterpolator(places, values, fill_value=0.0)(at)
    cells = 1 / float(np.linalg.norm(at[0, 1] - at[0, 0]))
    return cv2.GaussianBlur(depth.astype(np.float32), (0, 0), 0.06 * cells)


def _white(texture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The colour of a white thing in the picture's light, [3]: of the eyes, or of the cheeks where the eyes are darker."""
    eyes = np.zeros(texture.shape[:2], np.uint8)
    for upper, lower in mesh.EYES:
        cv2.fillPoly(eyes, [np.round(points[list(upper + lower[-2:0:-1]), :2]).astype(np.int32)], 1)
    inside = texture[eyes.astype(bool)].astype(np.float64)
    of_eyes = inside[np.argsort(inside.sum(axis=1))[len(inside) * 8 // 10 :]].mean(axis=0)
    places = points[[index for cheek in mesh.CHEEKS for index in cheek], :2].astype(int)
    x, y = np.clip(places, 0, np.array(texture.shape[1::-1]) - 1).T
    of_cheeks = cv2.blur(texture, (7, 7))[y, x].astype(np.float64).mean(axis=0)
    white = of_eyes if of_eyes.mean() > of_cheeks.mean() else of_cheeks
    return white.mean() * (white / white.mean()) ** 0.5  # skin, and eyes in small pictures, are redder than the light on them
