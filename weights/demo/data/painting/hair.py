"""Hair, beards and stubble: masks from curves in centimetres, strands from noise in polar coordinates."""

from dataclasses import dataclass

import cv2
import numpy as np

from . import mesh
from .brush import curve, ellipse, fill, lay, noise, shade, soften, stroke
from .skin import Head, Light

COLOURS = (
    np.array(
        [
            (26, 21, 20),
            (44, 31, 25),
            (66, 44, 30),
            (98, 64, 40),
            (138, 96, 58),
            (186, 148, 96),
            (146, 70, 36),
            (150, 146, 142),
            (206, 202, 196),
        ]
    )
    / 255
)
STYLES = ("bald", "buzz", "short", "parted", "fringe", "long", "long fringe", "curly", "bun")
WEIGHTS = np.array([0.06, 0.09, 0.19, 0.16, 0.11, 0.16, 0.08, 0.10, 0.05])
LONG = ("long", "long fringe")


@dataclass
class Hair:
    """A style, its colour `[3]` in sRGB; in centimetres its volume, the hairline over the mesh's, long hair's end."""

    style: str
    colour: np.ndarray
    volume: float
    line: float
    end: float


def random_hair(rng: np.random.Generator, deep: bool) -> Hair:
    """`deep`: hair that goes with deep skin is mostly dark and more often curly."""
    weights = WEIGHTS * np.where(np.array(STYLES) == "curly", 3.0 if deep else 1.0, 1.0)
    style = STYLES[rng.choice(len(STYLES), p=weights / weights.sum())]
    odds = (
        np.array([6, 4, 1.5, 0.4, 0.1, 0.1, 0.1, 0.7, 0.3]) if deep else np.array([2.5, 3, 3, 3, 2.5, 2, 1.2, 1.2, 0.7])
    )
    colour = (
        COLOURS[rng.choice(len(COLOURS), p=odds / odds.sum())] * rng.uniform(0.85, 1.15) * (1 + rng.normal(0, 0.02, 3))
    )
    volume = {"bald": 0.0, "buzz": 0.12, "curly": rng.uniform(1.2, 2.6), "bun": 0.35}.get(style, rng.uniform(0.55, 1.4))
    return Hair(style, np.clip(colour, 0, 0.95), volume, rng.uniform(-0.5, 0.5), rng.uniform(-16, -11))


def _strands(rng: np.random.Generator, head: Head, crown: np.ndarray, fine: float, bend: float) -> np.ndarray:
    """Noise `[side, side]` drawn out along lines that leave `crown`; `fine` strands around, `bend` turns them."""
    side = head.side
    x = np.arange(side, dtype=np.float32)[None, :] - np.float32(crown[0])
    y = np.arange(side, dtype=np.float32)[:, None] - np.float32(crown[1])
    r = np.sqrt(x * x + y * y) / np.float32(head.scale)
    angle = np.arctan2(y, x) + np.float32(bend) * r
    turns = np.float32(1 / (2 * np.pi)) * angle % 1
    out = np.zeros((side, side), np.float32)
    for count, rings, weight in ((int(36 * fine), 6, 0.7), (int(110 * fine), 9, 0.6)):
        grid = rng.standard_normal((rings, count)).astype(np.float32)
        grid = np.concatenate([grid, grid[:, :2]], 1)
        out += weight * cv2.remap(grid, turns * count, np.clip(r / 24, 0, 1) * (rings - 1), cv2.INTER_LINEAR)
    return out


def _frizz(rng: np.random.Generator, mask: np.ndarray, scale: float, amount: float) -> np.ndarray:
    """The mask with a wavy edge: waves of `amount` centimetres."""
    side = len(mask)
    wide = soften(mask, 0.9 * amount * scale + 0.5)
    rough = noise(rng, side, 1.1 * amount * scale + 2)
    edge = np.minimum(1, 5 * wide * (1 - wide))
    return np.clip((wide + 0.16 * rough * edge - 0.5) * (1.6 * amount * scale + 1) + 0.5, 0, 1)


def _combed(mask: np.ndarray, strands: np.ndarray, reach: float) -> np.ndarray:
    """The mask with an edge that ends strand by strand, within about `reach` pixels."""
    wide = soften(mask, reach)
    edge = 4 * wide * (1 - wide)
    return np.clip((wide + 0.22 * edge * strands - 0.5) * 2.2 + 0.5, 0, 1)


def _edged(rng: np.random.Generator, mask: np.ndarray, head: Head, hair: Hair, strands: np.ndarray) -> np.ndarray:
    """The mask with the edge of the style: waves of curls, or the ends of strands."""
    if hair.style == "curly":
        return _frizz(rng, mask, head.scale, 0.45)
    return _combed(mask, strands, (0.2 if hair.style == "buzz" else 0.28) * head.scale)


def _pattern(rng: np.random.Generator, head: Head, hair: Hair) -> np.ndarray:
    """The pattern `[side, side]` of curls, stubble or strands: mean 0, deviation about 1."""
    side, s = head.side, head.scale
    if hair.style == "curly":
        curls = np.abs(noise(rng, side, 0.6 * s)) + 0.6 * np.abs(noise(rng, side, 0.35 * s))
        return (curls - curls.mean()) / (0.8 * curls.std())
    if hair.style == "buzz":
        return 0.45 * noise(rng, side, 2)
    above = rng.uniform(-3.0, -0.5)
    crown = np.array([head.origin[0] + rng.uniform(-2, 2) * s, head.outline(hair.volume)[:, 1].min() + above * s])
    return _strands(rng, head, crown, 1.0, rng.normal(0, 0.02))


def _tones(head: Head, hair: Hair, strands: np.ndarray, light: Light) -> np.ndarray:
    """The hair's colours `[side, side, 3]`; `strands` is its pattern."""
    side = head.side
    outline = head.outline(hair.volume)
    top, left, right = outline[:, 1].min(), outline[:, 0].min(), outline[:, 0].max()
    centre = np.array([(left + right) / 2, head.at(234, 454)[1]])
    u = (np.arange(side, dtype=np.float32)[None, :] - centre[0]) / ((right - left) / 2)
    v = (centre[1] - np.arange(side, dtype=np.float32)[:, None]) / (centre[1] - top)
    depth = np.sqrt(np.clip(1 - np.clip(u * u + v * v, 0, 0.97), 0.03, 1))
    facing = u * light.direction[0] + v * light.direction[1] + depth * light.direction[2]
    level = 0.45 + light.key * 0.75 * np.clip((facing + 0.3) / 1.3, 0, None)
    band = np.exp(-0.5 * ((v - 0.66 - 0.1 * light.direction[0] * u + 0.04 * strands) / 0.10) ** 2) * depth
    sheen = 0.14 if hair.style in ("curly", "buzz") else 0.4
    colour = hair.colour.astype(np.float32) * (level * (1 + 0.3 * strands))[..., None]
    return np.clip(
        colour + (sheen * light.key * band * (1 + 0.5 * strands))[..., None] * (0.35 * hair.colour + 0.16), 0, 1
    ).astype(np.float32)


def paint_back(rng: np.random.Generator, picture: np.ndarray, head: Head, hair: Hair, light: Light) -> np.ndarray:
    """Paint what lies behind the neck and the ears; its mask `[side, side]`."""
    s = head.scale
    if hair.style not in LONG and hair.style not in ("curly", "bun"):
        return np.zeros((head.side, head.side), np.float32)
    strands = _pattern(rng, head, hair)
    if hair.style == "bun":
        top = head.outline(hair.volume)[:, 1].min()
        mask = fill(head.side, ellipse((head.origin[0], top + 0.2 * s), (2.3 * s, 2.3 * s)), 0.1 * s)
    elif hair.style == "curly":
        low, wide = rng.uniform(-1.0, 5.0), head.half_width + hair.volume
        round_head = [
            (-wide * 0.9, 6),
            (-wide, 3),
            (-wide, 1.5 - low * 0.5),
            (-wide * 0.85, -low),
            (-4.5, -low - 1),
            (4.5, -low - 1),
            (wide * 0.85, -low),
            (wide, 1.5 - low * 0.5),
            (wide, 3),
            (wide * 0.9, 6),
        ]
        mask = _edged(rng, fill(head.side, curve(head.place(round_head), closed=True)), head, hair, strands)
    else:
        low, wide = hair.end, head.half_width + hair.volume + rng.uniform(0.1, 0.7)
        falls = [
            (-head.half_width - hair.volume * 0.9, 3.5),
            (-wide + 0.1, -2.5),
            (-wide - 0.3, low * 0.7),
            (-wide + 0.8, low),
            (-4, low - 1),
            (4, low - 1),
            (wide - 0.8, low),
            (wide + 0.3, low * 0.7),
            (wide - 0.1, -2.5),
            (head.half_width + hair.volume * 0.9, 3.5),
            (0, 8),
        ]
        mask = _edged(rng, fill(head.side, curve(head.place(falls), closed=True)), head, hair, strands)
    lay(picture, 0.72 * _tones(head, hair, strands, light), mask)
    return mask


def _opening(rng: np.random.Generator, head: Head, hair: Hair) -> np.ndarray:
    """The outline `[n, 2]` of the face that the hair leaves free, open downwards."""
    brow = (head.origin[1] - head.line(mesh.BROW_UPPER)[:, 1].min()) / head.scale
    high = (head.origin[1] - head.at(10)[1]) / head.scale + 0.55 + hair.line
    wide = head.half_width
    a, b = wide - 0.35, wide - 0.85
    if hair.style in LONG:
        a, b = wide - rng.uniform(0.3, 1.1), wide - rng.uniform(0.9, 1.6)
    if hair.style == "fringe" or hair.style == "long fringe":
        low = brow + rng.uniform(0.35, 1.3)
        top = [
            (-b, low - 0.6),
            (-b + 1.6, low + 0.1),
            (-2, low + rng.normal(0, 0.2)),
            (0, low + rng.normal(0, 0.2)),
            (2, low + rng.normal(0, 0.2)),
            (b - 1.6, low + 0.1),
            (b, low - 0.6),
        ]
    elif hair.style in ("parted", "long"):
        x = rng.choice((-1, 1)) * rng.uniform(0.5, 3.2)
        top = [
            (-b, 4.3),
            (-b + 0.7, 6.4),
            (min(x - 1.8, -3.2), high - 0.7),
            (x, high + 0.3),
            (max(x + 1.8, 3.2), high - 0.7),
            (b - 0.7, 6.4),
            (b, 4.3),
        ]
    else:
        temple = high - rng.uniform(0.2, 1.6)
        top = [
            (-b, 3.9),
            (-b + 0.15, 5.6),
            (-b + 1.5, temple),
            (-2.6, high),
            (0, high + 0.1 + rng.normal(0, 0.2)),
            (2.6, high),
            (b - 1.5, temple),
            (b - 0.15, 5.6),
            (b, 3.9),
        ]
    edge = head.place([(-a, -25), (-a, -5), (-a, 1.5), *top, (a, 1.5), (a, -5), (a, -25)])
    return curve(edge + (head.at(10)[0] - head.origin[0], 0))


def paint_front(
    rng: np.random.Generator, picture: np.ndarray, head: Head, hair: Hair, skin: np.ndarray, light: Light
) -> np.ndarray:
    """Paint the hair over the skull, round the face, and return its mask; `skin` `[side, side]` is the head's own."""
    s, side = head.scale, head.side
    if hair.style == "bald":
        return np.zeros((side, side), np.float32)
    strands = _pattern(rng, head, hair)
    opening = fill(side, _opening(rng, head, hair))
    cap = fill(side, head.outline(hair.volume), 0.05 * s)
    if hair.style in LONG:
        wide = head.half_width + hair.volume
        sides = [
            (-wide, 4),
            (-wide, -4),
            (-wide, hair.end),
            (-6, hair.end - 0.6),
            (6, hair.end - 0.6),
            (wide, hair.end),
            (wide, -4),
            (wide, 4),
        ]
        cap = np.maximum(cap, fill(side, head.place(sides), 0.2 * s))
    if hair.style == "curly":
        cap = _edged(rng, cap, head, hair, strands)
    mask = cap * (1 - _edged(rng, opening, head, hair, strands))
    if hair.style not in LONG:
        # Beside the ears it thins out.
        y = (np.arange(side, dtype=np.float32)[:, None] - head.place([(0, rng.uniform(-0.6, 1.8))])[0, 1]) / (0.8 * s)
        mask *= np.clip(0.5 - y + 0.12 * strands, 0, 1)
    # Its shadow on the skin.
    shadow = soften(mask, 0.35 * s)
    shift = np.float32([[1, 0, -0.5 * light.direction[0] * s], [0, 1, 0.35 * s]])
    shifted = cv2.warpAffine(shadow, shift, (side, side))
    shade(picture, np.array([0.6, 0.5, 0.46]), shifted * skin * (1 - mask), 0.7 if hair.style != "buzz" else 0.2)
    if hair.style == "buzz":
        mask = soften(mask, 0.15 * s) * 0.82
    lay(picture, _tones(head, hair, strands, light), mask)
    return mask


def paint_beard(rng: np.random.Generator, picture: np.ndarray, head: Head, hair: Hair, kind: str) -> None:
    """Paint "stubble", a "moustache", a "goatee" or a full "beard", the lips left free."""
    s, side = head.scale, head.side
    lips = curve(np.concatenate([head.line(mesh.UPPER_LIP[0]), head.line(mesh.LOWER_LIP[0])[::-1][1:-1]]), closed=True)
    free = np.maximum(fill(side, lips), stroke(side, lips, 0.34 * s))  # a tracker takes a dark rim for the mouth's own
    free = soften(free, 0.12 * s)
    for x in (-1, 1):  # bare skin beside the tuft below the lip
        bare = fill(side, ellipse(head.at(17) + (0.85 * x * s, 0.25 * s), (0.6 * s, 0.28 * s), -0.25 * x), 0.15 * s)
        free = np.maximum(free, 0.5 * bare)
    left, right = head.at(61), head.at(291)
    above = curve(
        np.array(
            [
                left + (-0.6 * s, 0.3 * s),
                left + (-0.3 * s, -0.35 * s),
                head.at(39) + (-0.4 * s, -0.5 * s),
                head.at(164) + (0, -0.05 * s),
                head.at(269) + (0.4 * s, -0.5 * s),
                right + (0.3 * s, -0.35 * s),
                right + (0.6 * s, 0.3 * s),
            ]
        )
    )
    under = curve(
        np.array([right + (0.3 * s, 0.3 * s), head.at(267), head.at(13), head.at(37), left + (-0.3 * s, 0.3 * s)])
    )
    moustache = 0.78 * fill(side, np.concatenate([above, under]), 0.16 * s)
    jaw = curve(
        head.line([93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323])
    ) + (0, 0.35 * s)
    cheek = curve(
        np.array(
            [
                head.at(323),
                0.5 * (head.at(323) + right) + (0.7 * s, 0.9 * s),
                right + (0.5 * s, -0.1 * s),
                head.at(17),
                left + (-0.5 * s, -0.1 * s),
                0.5 * (head.at(93) + left) + (-0.7 * s, 0.9 * s),
                head.at(93),
            ]
        )
    )
    full = fill(side, np.concatenate([jaw, cheek]), 0.4 * s)
    chin = curve(
        np.array(
            [
                left + (-0.5 * s, 0.2 * s),
                head.at(204) + (-0.6 * s, 0),
                head.at(176),
                head.at(152) + (0, 0.5 * s),
                head.at(400),
                head.at(424) + (0.6 * s, 0),
                right + (0.5 * s, 0.2 * s),
                head.at(17) + (0, 0.35 * s),
            ]
        ),
        closed=True,
    )
    goatee = fill(side, chin, 0.22 * s)
    mask = {
        "stubble": np.maximum(full, moustache),
        "beard": np.maximum(full, moustache),
        "moustache": moustache,
        "goatee": np.maximum(goatee, moustache),
    }[kind] * (1 - free)
    if kind == "stubble":
        speckle = np.clip(1 + 0.22 * noise(rng, side, 2.0), 0, 2)
        shade(picture, 0.58 + 0.2 * hair.colour, soften(mask, 0.35 * s) * np.minimum(1, 0.6 * speckle), 0.6)
        return
    nose = head.at(2)
    strands = _strands(rng, head, nose - (0, 4 * s), 1.3, 0.0)
    level = picture.mean(2, keepdims=True) / (picture[mask > 0.5].mean() + 1e-6)
    tones = hair.colour * 0.95 * np.clip(level, 0.5, 1.5) * (1 + 0.3 * strands)[..., None]
    mask = np.clip(mask * (1.05 + 0.3 * strands * (mask < 0.9)), 0, 1)
    lay(picture, np.clip(tones, 0, 1).astype(np.float32), mask, 0.75)
