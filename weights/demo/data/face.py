"""A still face that can talk, blink and turn: a photograph with tracked points or a drawn one."""

from dataclasses import dataclass, field, replace

import numpy as np

import mesh
from rig import Crop, Rig


@dataclass
class Face:
    """A neutral `picture` [h, w, 3] u8 RGB, mouth closed and eyes open, and its mesh `points` [468, 3].

    The points are in pixels, 0 at the picture's edge; z grows away from the camera. With a `matte` [h, w] f32, 1 on the
    head, only the head moves, over `background` [h, w, 3] u8, which has no head; without, the picture around the head
    gives way. Brows move less behind glasses, whose frame would bend.
    """

    picture: np.ndarray
    points: np.ndarray
    matte: np.ndarray | None = None
    background: np.ndarray | None = None
    has_glasses: bool = False
    _rigs: dict[tuple[int, Crop | None], Rig] = field(default_factory=dict, repr=False, compare=False)

    def render(self, pose: np.ndarray, size: int = 128, crop: Crop | None = None) -> np.ndarray:
        """The face in a `pose` [len(POSE)], [size, size, 3] u8, in a square `crop` of the picture (its upper left)."""
        return self._rig(size, crop).render(np.asarray(pose, np.float32))

    def landmarks(self, pose: np.ndarray, size: int = 128, crop: Crop | None = None) -> np.ndarray:
        """iBUG's 68 points [68, 2] f32 of what `render` shows, in pixels of it, centres of pixels at halves."""
        return mesh.to_ibug(self.mesh_points(pose, size, crop)).astype(np.float32)

    def mesh_points(self, pose: np.ndarray, size: int = 128, crop: Crop | None = None) -> np.ndarray:
        """All 468 points [468, 2] of what `render` shows."""
        return self._rig(size, crop).points(np.asarray(pose, np.float32))

    def render_clip(
        self, poses: np.ndarray, size: int = 128, crop: Crop | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames [frames, size, size, 3] u8 and landmarks [frames, 68, 2] f32 of a pose track [frames, len(POSE)]."""
        frames = np.stack([self.render(pose, size, crop) for pose in poses])
        return frames, np.stack([self.landmarks(pose, size, crop) for pose in poses])

    def _rig(self, size: int, crop: Crop | None) -> Rig:
        if (size, crop) not in self._rigs:
            square = crop or (0.0, 0.0, float(min(self.picture.shape[:2])))
            self._rigs[size, crop] = Rig(self, size, square)
        return self._rigs[size, crop]


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
