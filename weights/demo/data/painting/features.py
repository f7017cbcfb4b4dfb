"""Eyes, brows, nostrils and lips, each exactly at its points of the mesh."""

import numpy as np

from . import mesh
from .brush import blob, curve, ellipse, fill, lay, noise, shade, soften, stroke, taper
from .skin import Head, Light

IRISES = (
    np.array(
        [
            (92, 58, 34),
            (62, 40, 28),
            (44, 30, 24),
            (110, 84, 48),
            (96, 116, 76),
            (92, 124, 150),
            (120, 146, 168),
            (100, 108, 112),
        ]
    )
    / 255
)
IRIS_RADIUS = 0.585  # centimetres: irises hardly differ between people


def paint_eye(
    rng: np.random.Generator,
    picture: np.ndarray,
    head: Head,
    left: bool,
    iris: np.ndarray,
    tone: np.ndarray,
    light: Light,
    lashes: float,
) -> None:
    """Paint an open eye looking ahead. `lashes` 0 to 1: how dark and long."""
    s, side = head.scale, head.side
    pick = (lambda line: line) if left else mesh.mirrored
    upper, lower = curve(head.line(pick(mesh.LID_UPPER))), curve(head.line(pick(mesh.LID_LOWER)))
    almond = fill(side, np.concatenate([upper, lower[::-1]]), 0.03 * s)
    outer, inner = upper[0], upper[-1]
    middle = 0.5 * (outer + inner)
    top, bottom = upper[len(upper) // 2], lower[len(lower) // 2]
    centre = np.array([middle[0] + 0.02 * (inner - outer)[0], 0.5 * (top + bottom)[1] - 0.04 * s])

    white = np.array([0.90, 0.88, 0.86]) * (0.86 + 0.12 * light.key)
    lay(picture, white, almond)
    shade(picture, (0.78, 0.66, 0.63), almond * (1 - blob(side, centre, (0.85 * s, 0.7 * s))), 0.75)
    lay(
        picture,
        np.array([0.80, 0.52, 0.48]),
        blob(side, inner + 0.06 * (outer - inner), (0.14 * s, 0.10 * s)) * almond,
        0.8,
    )
    radius = IRIS_RADIUS * s
    disc = fill(side, ellipse(centre, (radius, radius)), 0.05 * s) * almond
    lay(picture, iris * 0.42, disc)
    lay(picture, iris, fill(side, ellipse(centre, (0.82 * radius, 0.82 * radius)), 0.09 * s) * almond)
    glow = centre + np.array([-light.direction[0] * 0.35, 0.4]) * radius
    lay(picture, np.minimum(iris * 1.7 + 0.05, 1), blob(side, glow, (0.35 * radius, 0.28 * radius)) * disc, 0.55)
    lay(
        picture,
        np.array([0.03, 0.025, 0.025]),
        fill(side, ellipse(centre, (0.40 * radius, 0.40 * radius)), 0.04 * s) * almond,
    )
    # The upper lid shades the ball below it.
    shade(picture, (0.48, 0.43, 0.42), stroke(side, upper + (0, 0.10 * s), 0.26 * s, 0.09 * s) * almond, 0.8)
    spark = centre + np.array([light.direction[0] * 0.45 - 0.05, -0.42]) * radius
    lay(
        picture,
        np.array([1.0, 1.0, 1.0]),
        fill(side, ellipse(spark, (0.20 * radius, 0.20 * radius)), 0.03 * s) * almond,
        0.95,
    )

    lash = np.array([0.10, 0.07, 0.06]) + 0.12 * (1 - lashes) * tone
    width = (0.10 + 0.10 * lashes) * s
    lay(picture, lash, stroke(side, upper, width * taper(len(upper), 0.9, 0.25), 0.035 * s), 0.9)
    shade(
        picture,
        (0.62, 0.46, 0.42),
        stroke(side, lower, 0.09 * s * taper(len(lower), 0.9, 0.3), 0.04 * s),
        0.45 + 0.3 * lashes,
    )
    rim = tone * np.array([1.0, 0.84, 0.8])
    lay(picture, rim, stroke(side, lower[4:] - (0, 0.05 * s), 0.06 * s, 0.03 * s), 0.4)
    if lashes > 0.5:
        out = (outer - inner) / np.linalg.norm(outer - inner)
        wing = np.array([upper[6], outer, outer + 0.28 * s * out - (0, 0.16 * s)])
        lay(picture, lash, stroke(side, curve(wing), 0.11 * s * np.linspace(1, 0.1, 13), 0.04 * s), 0.8)
    crease = curve(head.line(pick(mesh.CREASE)))
    strength = rng.uniform(0.3, 0.75)
    shade(
        picture, (0.55, 0.42, 0.38), stroke(side, crease, 0.13 * s * taper(len(crease), 0.4, 0.3), 0.05 * s), strength
    )
    lid = fill(side, np.concatenate([upper, crease[::-1]]), 0.06 * s)
    lay(
        picture,
        np.minimum(tone * 1.12, 1),
        lid * (1 - almond) * blob(side, 0.5 * (top + crease[len(crease) // 2]), (0.8 * s, 0.2 * s)),
        0.22,
    )


def paint_brow(
    rng: np.random.Generator, picture: np.ndarray, head: Head, left: bool, colour: np.ndarray, density: float
) -> None:
    """Paint a brow: a soft body and hairs that lean outwards."""
    s, side = head.scale, head.side
    pick = (lambda line: line) if left else mesh.mirrored
    upper, lower = curve(head.line(pick(mesh.BROW_UPPER))), curve(head.line(pick(mesh.BROW_LOWER)))
    t = np.linspace(0, 1, len(upper))  # from the tail to the head of the brow
    middle, half = 0.5 * (upper + lower), 0.5 * np.linalg.norm(upper - lower, axis=1)
    half = np.maximum(half, 0.18 * s) * np.interp(t, (0, 0.15, 0.55, 1), (0.35, 0.7, 0.9, 0.85))
    along = np.gradient(middle, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    body = stroke(side, middle, 2 * half, 0.09 * s)
    hairs = np.zeros((side, side), np.float32)
    for _ in range(70):
        where = rng.uniform(0, len(middle) - 1.001)
        i, f = int(where), where % 1
        base = middle[i] * (1 - f) + middle[i + 1] * f
        across = np.array([-along[i][1], along[i][0]])
        offset = rng.uniform(-0.6, 0.75) * half[i]
        root = base + offset * across
        lean = rng.normal(0.0, 0.14) + (0.7 * (where / len(middle)) - 0.35) * (1 if left else -1)
        cos, sin = np.cos(lean), np.sin(lean)
        way = -np.array([along[i][0] * cos - along[i][1] * sin, along[i][0] * sin + along[i][1] * cos])
        tip = root + way * rng.uniform(0.3, 0.55) * s
        hairs = np.maximum(hairs, stroke(side, np.linspace(root, tip, 4), 0.085 * s * np.array([1, 0.9, 0.6, 0.15])))
    mask = np.clip(0.62 * body * (1 + 0.12 * noise(rng, side, 0.3 * s)) + 0.45 * soften(hairs, 0.02 * s), 0, 1)
    lay(picture, colour, mask, density)


def paint_nostrils(picture: np.ndarray, head: Head, tone: np.ndarray) -> None:
    """Paint the nostrils and the edge of the nose's base."""
    s, side = head.scale, head.side
    dark = tone**1.6 * np.array([0.34, 0.22, 0.19])
    for x, (outer, inner, above) in ((-1, (60, 242, 79)), (1, (290, 462, 309))):
        centre = 0.42 * head.at(outer) + 0.38 * head.at(inner) + 0.2 * head.at(above)
        mask = fill(side, ellipse(centre, (0.40 * s, 0.17 * s), x * 0.35), 0.08 * s)
        lay(picture, dark, mask, 0.85)
    base = curve(head.line([64, 240, 97, 2, 326, 460, 294]))
    shade(picture, (0.62, 0.48, 0.44), stroke(side, base, 0.16 * s * taper(len(base), 0.3, 0.3), 0.09 * s), 0.5)


def paint_lips(
    rng: np.random.Generator,
    picture: np.ndarray,
    head: Head,
    tone: np.ndarray,
    light: Light,
    lipstick: np.ndarray | None,
) -> None:
    """Paint closed lips: a darker upper and a fuller, lit lower one, and the line between them."""
    s, side = head.scale, head.side
    top, line = curve(head.line(mesh.UPPER_LIP[0])), curve(head.line(mesh.UPPER_LIP[-1]))
    bottom = curve(head.line(mesh.LOWER_LIP[0]))
    left, right = top[:1], top[-1:]
    line = np.concatenate([left, line, right])
    upper, lower = (
        fill(side, np.concatenate([top, line[::-1]]), 0.06 * s),
        fill(side, np.concatenate([line, bottom[::-1]]), 0.06 * s),
    )
    natural = tone * np.array([0.93, 0.66, 0.65]) + np.array([0.02, 0.0, 0.0])
    colour = natural if lipstick is None else 0.3 * natural + 0.7 * lipstick
    strength = 0.86 if lipstick is not None else rng.uniform(0.62, 0.85)
    level = (light.key * 0.85 + light.ambient) ** (1 / 2.2)
    crinkle = 1 + 0.035 * noise(rng, side, 0.25 * s)[..., None]
    lay(picture, (colour * 0.87 * level * crinkle).astype(np.float32), upper, strength)
    lay(picture, (np.minimum(colour * 1.02, 1) * level * crinkle).astype(np.float32), lower, strength)
    middle = head.at(13, 14)
    away = -light.direction[0]
    shade(picture, (0.7, 0.58, 0.58), stroke(side, bottom - (0, 0.06 * s), 0.2 * s, 0.12 * s) * lower, 0.4)
    gleam = 0.45 * middle + 0.55 * head.at(17) - (0.3 * away * s, 0.08 * s)
    lay(picture, np.array([1.0, 0.93, 0.9]), blob(side, gleam, (0.75 * s, 0.14 * s)) * lower, rng.uniform(0.18, 0.42))
    rim = curve(head.line([39, 37, 0, 267, 269])) - (0, 0.08 * s)
    lay(picture, np.minimum(tone * 1.15, 1), stroke(side, rim, 0.12 * s, 0.07 * s), 0.25)
    dark = tone**1.5 * np.array([0.42, 0.22, 0.21])
    lay(picture, dark, stroke(side, line + (0, 0.02 * s), 0.11 * s * taper(len(line), 0.7, 0.7), 0.04 * s), 0.8)
    for corner, x in ((left[0], -1), (right[0], 1)):
        lay(picture, dark, blob(side, corner - (0.08 * x * s, 0), (0.13 * s, 0.08 * s)), 0.5)
