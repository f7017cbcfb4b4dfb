"""What is round the head: backgrounds, clothes, glasses."""

import cv2
import numpy as np

from . import mesh
from .brush import blob, curve, ellipse, fill, lay, noise, shade, soften, stroke
from .skin import Head, Light


def _colour(rng: np.random.Generator, low: float, high: float, saturation: float) -> np.ndarray:
    """A random sRGB colour `[3]` of brightness `low` to `high`."""
    hue, value = rng.uniform(0, 2 * np.pi), rng.uniform(low, high)
    wheel = 0.5 + 0.5 * np.cos(hue - np.array([0, 2.094, 4.189]))
    return value * (1 - saturation * (1 - wheel))


def paint_background(rng: np.random.Generator, side: int) -> np.ndarray:
    """A new picture `[side, side, 3]` f32: a wall, a studio's gradient, lights out of focus, or a blurred room."""
    first, second = _colour(rng, 0.25, 0.9, rng.uniform(0, 0.35)), _colour(rng, 0.2, 0.9, rng.uniform(0, 0.35))
    second = 0.6 * first + 0.4 * second
    angle = rng.uniform(0, 2 * np.pi)
    grid = np.linspace(-1, 1, side, dtype=np.float32)
    t = 0.5 + 0.5 * np.clip((grid[None, :] * np.cos(angle) + grid[:, None] * np.sin(angle)) / 1.3, -1, 1)
    picture = (first + (second - first) * t[..., None]).astype(np.float32)
    kind = rng.choice(4, p=(0.3, 0.2, 0.25, 0.25))
    if kind == 0:
        picture *= (1 + 0.05 * noise(rng, side, side / 5) + 0.02 * noise(rng, side, 6))[..., None]
    elif kind == 1:
        glow = blob(side, rng.uniform(0.3, 0.7, 2) * side, (0.35 * side, 0.35 * side))
        picture *= (0.75 + 0.4 * glow)[..., None]
    elif kind == 2:
        for _ in range(rng.integers(8, 22)):
            radius = rng.uniform(0.02, 0.09) * side
            disc = fill(side, ellipse(rng.uniform(0, side, 2), (radius, radius)), rng.uniform(0.1, 0.35) * radius)
            lay(picture, _colour(rng, 0.6, 1.0, 0.4), disc, rng.uniform(0.15, 0.5))
    else:
        for _ in range(rng.integers(4, 10)):
            x, y, w, h = rng.uniform(-0.1, 1, 2).tolist() + rng.uniform(0.08, 0.5, 2).tolist()
            box = side * np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
            lay(picture, _colour(rng, 0.15, 0.95, 0.5), fill(side, box), rng.uniform(0.3, 0.9))
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.015, 0.04) * side)
    return np.clip(picture, 0, 1)


def paint_clothes(rng: np.random.Generator, picture: np.ndarray, head: Head, light: Light) -> np.ndarray:
    """Paint shoulders in a shirt, a jumper, a jacket or a roll-neck; their mask `[side, side]`."""
    s, side = head.scale, head.side
    slope, low, width = rng.uniform(0.8, 2.2), rng.uniform(-13.4, -12.3), rng.uniform(5.4, 6.4)
    line = [(-26, low - slope - 4), (-16, low - slope - 0.6), (-10, low - 0.8), (-width, low + 0.6)]
    shoulders = curve(head.place(line + [(-x, y) for x, y in line[::-1]]))
    mask = fill(side, np.concatenate([shoulders, [(2 * side, 2 * side), (-side, 2 * side)]]), 0.06 * s)
    kind = rng.choice(4, p=(0.4, 0.2, 0.25, 0.15))
    depth = (rng.uniform(1.0, 2.0), rng.uniform(3.0, 5.5), 4.5, 0.0)[kind]
    neck = head.place(
        [
            (-width - 0.1, low + 1.2),
            (-width * 0.7, low - depth * 0.55),
            (0, low - depth),
            (width * 0.7, low - depth * 0.55),
            (width + 0.1, low + 1.2),
        ]
    )
    hole = fill(
        side,
        np.concatenate([curve(neck) if kind != 1 else neck, head.place([(width, low + 6), (-width, low + 6)])]),
        0.05 * s,
    )
    colour = _colour(rng, 0.15, 0.95, rng.uniform(0, 0.75)).astype(np.float32)
    x = (np.arange(side, dtype=np.float32)[None, :] - head.origin[0]) / (20 * s)
    level = (0.62 + 0.3 * light.key + 0.28 * light.direction[0] * x) * (
        1 + 0.07 * noise(rng, side, 3.5 * s) + 0.03 * noise(rng, side, 1.2 * s)
    )
    cloth = np.clip(colour * level[..., None], 0, 1).astype(np.float32)
    if rng.random() < 0.2:
        stripes = np.sin(
            (np.arange(side, dtype=np.float32)[:, None] + 6 * noise(rng, side, 6 * s))
            * 2
            * np.pi
            / (rng.uniform(1.0, 2.4) * s)
        )
        cloth *= (1 - 0.18 * np.clip(3 * stripes, 0, 1))[..., None]
    if kind == 3:
        tube = curve(
            head.place(
                [
                    (-width + 0.3, low - 1),
                    (-width + 0.5, -10.2),
                    (0, -11.4),
                    (width - 0.5, -10.2),
                    (width - 0.3, low - 1),
                ]
            )
        )
        mask = np.maximum(mask, fill(side, np.concatenate([tube, head.place([(0, -18)])]), 0.06 * s))
        lay(picture, cloth, mask)
        shade(picture, (0.6, 0.6, 0.6), stroke(side, tube, 0.7 * s, 0.3 * s) * mask, 0.5)
        return mask
    if kind == 2:
        lay(picture, np.array([0.93, 0.93, 0.94]) * min(1.0, 0.65 + 0.35 * light.key), mask * (1 - hole))
        for x in (-1, 1):
            wing = head.place(
                [
                    (x * (width - 0.2), low + 1.6),
                    (x * (width + 1.4), low - 0.4),
                    (x * 2.6, low - 5.2),
                    (x * 0.6, low - 3.2),
                ]
            )
            lay(picture, np.array([0.97, 0.97, 0.98]) * min(1.0, 0.68 + 0.35 * light.key), fill(side, wing, 0.05 * s))
            shade(picture, (0.6, 0.6, 0.62), stroke(side, np.linspace(wing[1], wing[2], 5), 0.3 * s, 0.15 * s), 0.6)
        lapels = head.place([(-width - 1.6, low + 0.7), (-1.8, low - 8), (1.8, low - 8), (width + 1.6, low + 0.7)])
        outside = mask * (1 - fill(side, np.concatenate([lapels, head.place([(0, 0)])]), 0.06 * s))
        lay(picture, cloth * 0.7, outside)
        return mask * (1 - hole)
    shade(picture, (0.55, 0.5, 0.5), soften(mask * (1 - hole), 0.4 * s), 0.5)
    lay(picture, cloth, mask * (1 - hole))
    edge = curve(neck) if kind != 1 else neck
    shade(picture, (0.7, 0.7, 0.7), stroke(side, edge + (0, 0.5 * s), 0.22 * s, 0.1 * s) * mask, 0.6)
    return mask * (1 - hole)


def paint_glasses(rng: np.random.Generator, picture: np.ndarray, head: Head) -> None:
    """Paint thin or thick rims round the eyes, with a faint gleam on the lenses."""
    s, side = head.scale, head.side
    frame = (np.array([0.08, 0.07, 0.07]), np.array([0.30, 0.17, 0.10]), np.array([0.45, 0.42, 0.40]))[rng.integers(3)]
    width, power = rng.uniform(0.14, 0.36) * s, rng.uniform(0.6, 1.0)
    radii = (rng.uniform(2.15, 2.45) * s, rng.uniform(1.5, 1.95) * s)
    t = np.linspace(0, 2 * np.pi, 64)
    shape = (
        np.stack([np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power, np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power], 1)
        * radii
    )
    centres = [
        head.line(pick(mesh.LID_UPPER) + pick(mesh.LID_LOWER)).mean(0) + (0, 0.25 * s) for pick in (list, mesh.mirrored)
    ]
    for centre, x, ear in zip(centres, (-1, 1), (127, 356), strict=True):
        rim = centre + shape
        shade(picture, (0.75, 0.7, 0.68), stroke(side, rim + (0, 0.22 * s), width, 0.2 * s), 0.5)
        lay(
            picture,
            np.array([0.9, 0.95, 1.0]),
            fill(side, rim) * blob(side, centre + (0.8 * s, -0.8 * s), (0.9 * s, 0.4 * s), -0.6),
            0.16,
        )
        lay(picture, frame, stroke(side, rim, width, 0.03 * s), 0.95)
        temple = np.array([centre + (x * radii[0], -0.4 * s), head.at(ear) + (x * 0.2 * s, 0.3 * s)])
        lay(picture, frame, stroke(side, np.linspace(*temple, 5), width * 0.9, 0.03 * s), 0.9)
    bridge = curve(
        np.array(
            [
                centres[0] + (radii[0], -0.2 * s),
                0.5 * (centres[0] + centres[1]) - (0, 0.55 * s),
                centres[1] + (-radii[0], -0.2 * s),
            ]
        )
    )
    lay(picture, frame, stroke(side, bridge, width, 0.03 * s), 0.95)
