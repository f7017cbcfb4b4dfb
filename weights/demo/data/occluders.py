"""Things that pass in front of a mouth: a hand, a microphone, a cup, each with its true mask.

An occluder is a picture made once of shaded capsules, then laid over each frame where its motion puts it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from painting.skin import TONES

UNIT = 12  # pixels of the sprite in a centimetre
EYES = 8.9  # centimetres between the outer corners of the eyes, as in the canonical face


@dataclass
class Capsule:
    """A round bar from `start` to `end` (centimetres, x right, y down), its radii there, its colour in sRGB."""

    start: tuple[float, float]
    end: tuple[float, float]
    radii: tuple[float, float]
    colour: np.ndarray
    height: float = 0.0  # how far in front of the others


@dataclass
class Occluder:
    """A sprite and its motion. `sprite` f32 `[h, w, 4]`: colour times coverage, coverage; both 0 to 1."""

    sprite: np.ndarray
    anchor: tuple[float, float]  # pixel of the sprite that is held at the mouth
    offset: np.ndarray  # where it is held, centimetres from the mouth's centre
    away: np.ndarray  # from there to out of the picture, centimetres
    turn: float  # radians, clockwise, when held
    period: float  # seconds from coming to coming
    phase: float
    share: float  # of the period that it is held at the mouth
    size: int

    def presence(self, t: float) -> float:
        """0 out of the picture, 1 held at the mouth, at `t` seconds: smooth, a third of a second to come and to go."""
        since = (t / self.period + self.phase) % 1 * self.period
        held = self.share * self.period
        rise = np.clip(min(since, held - since) / 0.4, 0, 1)
        return float(rise * rise * (3 - 2 * rise))

    def draw(self, frame: np.ndarray, landmarks: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """The frame u8 `[size, size, 3]` with the occluder over it at `t` seconds, and its mask bool `[size, size]`.

        `landmarks` `[68, 2]` (iBUG's order, pixels, their centres at halves) say where the mouth is, and how large and
        how turned the face is.
        """
        eyes = landmarks[45] - landmarks[36]
        scale = np.linalg.norm(eyes) / EYES
        roll = np.arctan2(eyes[1], eyes[0])
        out = 1 - self.presence(t)
        sway = np.array([np.sin(1.9 * t + 9 * self.phase), np.sin(2.7 * t + 5 * self.phase)])
        where = self.offset + out * self.away + 0.25 * sway
        angle = roll + self.turn + 0.3 * out * np.sign(self.away[0]) + 0.03 * sway[1]
        cos, sin = np.cos(roll), np.sin(roll)
        place = (
            landmarks[48:68].mean(0)
            - 0.5
            + scale * np.array([where[0] * cos - where[1] * sin, where[0] * sin + where[1] * cos])
        )
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale / UNIT
        affine = np.concatenate([turn, (place - turn @ self.anchor)[:, None]], 1)
        # Shrunk first, so that each pixel of the frame is the mean of those it covers.
        layer = cv2.warpAffine(self.sprite, _doubled(affine), (2 * self.size, 2 * self.size))
        layer = cv2.resize(layer, (self.size, self.size), interpolation=cv2.INTER_AREA)
        cover = layer[..., 3:]
        lower = np.float32([[1, 0, 0], [0, 1, 1.2 * scale]])
        shadow = cv2.GaussianBlur(cv2.warpAffine(layer[..., 3], lower, layer.shape[1::-1]), (0, 0), 0.9 * scale)[
            ..., None
        ]
        mixed = frame / np.float32(255) * (1 - 0.3 * shadow) * (1 - cover) + layer[..., :3]
        return np.round(255 * np.clip(mixed, 0, 1)).astype(np.uint8), layer[..., 3] > 0.5


def occluder(rng: np.random.Generator, size: int, tone: np.ndarray | None = None) -> Occluder:
    """A random hand, microphone or cup for frames of `size` pixels; `tone` `[3]` is the hand's skin in sRGB, 0 to 1."""
    if tone is None:
        depth = rng.uniform(0, len(TONES) - 1)
        tone = np.array([np.interp(depth, np.arange(len(TONES)), TONES[:, channel]) for channel in range(3)])
    side = rng.choice((-1, 1))
    kind = rng.choice(("hand", "microphone", "cup"), p=(0.5, 0.35, 0.15))
    period = rng.uniform(3.0, 6.0)
    motion = {
        "turn": side * rng.uniform(0.15, 0.8),
        "period": period,
        "phase": rng.random(),
        "share": rng.uniform(0.4, 0.75),
    }
    if kind == "hand":
        sprite, anchor = _hand(rng, tone, side)
        offset = np.array([-side * rng.uniform(0.0, 2.5), rng.uniform(-0.5, 2.5)])
        motion["turn"] = -side * rng.uniform(0.2, 0.9)
    elif kind == "microphone":
        sprite, anchor = _microphone(rng, tone)
        offset = np.array([side * rng.uniform(-0.8, 2.2), rng.uniform(0.8, 3.2)])
        motion["turn"] = -side * rng.uniform(0.1, 0.7)
        motion["share"] = rng.uniform(0.6, 0.95)
    else:
        sprite, anchor = _cup(rng, tone, side)
        offset = np.array([side * rng.uniform(-0.3, 0.8), rng.uniform(0.4, 1.4)])
        motion["turn"] = -side * rng.uniform(0.0, 0.2)
    away = np.array([side * rng.uniform(2, 9), rng.uniform(17, 20)])
    return Occluder(sprite=sprite, anchor=anchor, offset=offset, away=away, size=size, **motion)


def skin_colour(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face's own colour `[3]` in sRGB, 0 to 1: the cheeks' median. `frame` u8 `[h, w, 3]`, `landmarks` `[68, 2]`."""
    radius = 0.08 * np.linalg.norm(landmarks[45] - landmarks[36])
    patches = []
    for jaw, eye in ((3, 41), (13, 46)):
        x, y = 0.35 * landmarks[jaw] + 0.35 * landmarks[eye] + 0.3 * landmarks[30]
        left, top = max(0, int(x - radius)), max(0, int(y - radius))
        patches.append(frame[top : int(y + radius) + 1, left : int(x + radius) + 1].reshape(-1, 3))
    return np.median(np.concatenate(patches), 0) / 255


def _doubled(affine: np.ndarray) -> np.ndarray:
    """The affine map `[2, 3]` onto a frame twice as large, pixel centres kept in place."""
    doubled = 2 * affine
    doubled[:, 2] += 0.5
    return doubled


def _render(rng: np.random.Generator, parts: list[Capsule], width: float, height: float) -> np.ndarray:
    """A sprite of shaded capsules in a box of centimetres, light from above; x is counted from the box's middle."""
    columns, rows = int(width * UNIT), int(height * UNIT)
    x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5) / UNIT - np.float32(width / 2)
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / UNIT
    x, y = np.broadcast_arrays(x, y)
    light = np.array([rng.uniform(-0.5, 0.5), -0.5, 0.8])
    light /= np.linalg.norm(light)
    top = np.full((rows, columns), -np.inf, np.float32)
    colour = np.zeros((rows, columns, 3), np.float32)
    for part in parts:
        (ax, ay), (bx, by) = part.start, part.end
        length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-6)
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        radius = part.radii[0] + (part.radii[1] - part.radii[0]) * along
        dx, dy = (x - ax - along * (bx - ax)) / radius, (y - ay - along * (by - ay)) / radius
        depth = np.sqrt(np.maximum(1 - dx * dx - dy * dy, 0))
        level = part.height + depth * radius
        hit = (depth > 0) & (level > top)
        facing = dx * light[0] + dy * light[1] + depth * light[2]
        # A groove where one part passes in front of another.
        amount = (0.42 + 0.62 * np.clip((facing + 0.3) / 1.3, 0, None)) * np.clip(0.55 + 0.9 * depth, 0, 1)
        colour[hit] = (amount[..., None] * part.colour)[hit]
        top[hit] = level[hit]
    cover = np.isfinite(top).astype(np.float32)
    grain = 1 + 0.03 * rng.standard_normal((rows, columns, 1)).astype(np.float32)
    colour = cv2.GaussianBlur(np.clip(colour * grain, 0, 1) * cover[..., None], (0, 0), 0.12 * UNIT)
    return np.dstack([colour, cv2.GaussianBlur(cover, (0, 0), 0.12 * UNIT)])


def _sleeve(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.15, 0.8) * (1 - rng.uniform(0, 0.6) * rng.random(3))


def _hand(rng: np.random.Generator, tone: np.ndarray, side: int) -> tuple[np.ndarray, tuple[float, float]]:
    """The back of an upright hand, thumb towards `side`; its anchor lies among the fingers."""
    parts = [
        Capsule((0, 26), (0, 40), (3.2, 3.6), _sleeve(rng), 0.4),
        Capsule((0, 17), (0, 27), (2.3, 2.7), tone, -1.0),
    ]
    spread, curl = rng.uniform(0.6, 1.7), rng.uniform(0.72, 1.0)
    for index, (knuckle, height, length) in enumerate(
        ((-2.9, 10.6, 6.6), (-1.0, 9.9, 7.4), (0.9, 10.1, 7.0), (2.6, 11.2, 5.4))
    ):
        x = -side * knuckle
        lean = -side * (knuckle - 0.1) * 0.085 * spread
        parts.append(Capsule((0.45 * x, 17), (x, height), (1.9, 1.15), tone, -0.5))
        joint = (x + lean * length * 0.5, height - 0.5 * length * curl)
        tip = (joint[0] + lean * length * 0.4, joint[1] - 0.5 * length * curl)
        radius = 0.92 if index < 3 else 0.8
        parts += [
            Capsule((x, height), joint, (radius + 0.08, radius), tone, 0.1),
            Capsule(joint, tip, (radius, 0.78 * radius), tone, 0.1),
        ]
        nail = np.clip(tone * (1.05, 0.98, 0.98) + 0.07, 0, 1)
        parts.append(Capsule((tip[0], tip[1] + 0.35), (tip[0], tip[1] - 0.15), (0.42, 0.38), nail, 0.62))
        parts.append(Capsule((x, height + 0.1), (x, height - 0.1), (0.8, 0.8), tone * (1.0, 0.93, 0.91), 0.32))
    thumb = (side * 4.6, 10.6)
    parts += [
        Capsule((side * 1.6, 17), (side * 3.6, 13.6), (1.7, 1.2), tone, -0.2),
        Capsule((side * 3.6, 13.6), thumb, (1.15, 0.85), tone, 0.0),
    ]
    return _render(rng, parts, 20, 40), (10 * UNIT, 7.0 * UNIT)


def _microphone(rng: np.random.Generator, tone: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """A microphone with a head of mesh or foam, on a stand or held in a fist; its anchor is the head's upper half."""
    body = np.full(3, rng.uniform(0.08, 0.25))
    foam = rng.random() < 0.4
    head = _sleeve(rng) * 0.7 if foam else np.full(3, rng.uniform(0.35, 0.65))
    radius = rng.uniform(2.2, 2.9)
    ring = np.full(3, 0.75)
    parts = [
        Capsule((0, 7.0), (0, 20), (1.35, 1.05), body),
        Capsule((-0.9, 6.6), (0.9, 6.6), (1.1, 1.1), ring, 0.3),
        Capsule((0, 3.4), (0, 4.4), (radius, 0.9 * radius), head, 0.6),
    ]
    if rng.random() < 0.5:
        parts += [
            Capsule((-0.6, 20), (0.6, 20), (1.5, 1.5), body * 1.6, 0.3),
            Capsule((0, 21), (0, 40), (0.6, 0.6), ring * 0.6),
        ]
    else:
        parts.append(Capsule((0.4, 17), (3.5, 40), (2.4, 3.0), tone, -0.5))
        for y in (10.4, 12.3, 14.2, 16.0):
            parts.append(Capsule((-1.9, y), (1.7, y + 0.3), (1.05, 1.05), tone, 1.0))
    sprite = _render(rng, parts, 16, 40)
    if not foam:
        grid = (
            0.5
            + 0.5
            * np.cos(np.arange(sprite.shape[1]) * 2 * np.pi / 5)[None, :]
            * np.cos(np.arange(6.2 * UNIT) * 2 * np.pi / 5)[:, None]
        )
        sprite[: len(grid), :, :3] *= (0.72 + 0.4 * grid[..., None]).astype(np.float32)
    return sprite, (8 * UNIT, 2.6 * UNIT)


def _cup(rng: np.random.Generator, tone: np.ndarray, side: int) -> tuple[np.ndarray, tuple[float, float]]:
    """A mug held by its handle; its anchor is the middle of its rim."""
    glaze = _sleeve(rng) + 0.15
    wide, high = rng.uniform(3.4, 4.2), rng.uniform(7.5, 9.0)
    mug = [
        Capsule(
            (x, 1.0 + 0.25 * (1 - (x / wide) ** 2)),
            (0.92 * x, high),
            (1.0, 1.0),
            glaze,
            2.0 + 2.2 * np.sqrt(1 - (0.98 * x / wide) ** 2),
        )
        for x in np.linspace(-wide, wide, 33)
    ]
    fist = [
        Capsule((side * (wide + 0.9), y), (side * (wide + 3.2), y + 0.4), (1.1, 1.2), tone, 1.5)
        for y in (2.6, 4.5, 6.3, 8.0)
    ]
    arm = [
        Capsule((side * (wide + 2.6), 5), (side * (wide + 5), 22), (2.6, 2.9), tone, -0.5),
        Capsule((side * (wide + 5), 20), (side * (wide + 7), 36), (3.3, 3.6), _sleeve(rng), 0.0),
    ]
    return _render(rng, arm + fist + mug, 32, 36), (16 * UNIT, 1.4 * UNIT)
