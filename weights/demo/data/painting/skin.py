"""The head's form and skin: normals of the mesh and of a skull above it, light, blushes, shadows."""

from dataclasses import dataclass

import cv2
import numpy as np

from . import mesh
from .brush import blob, curve, fill, lay, noise, shade, soften, stroke, taper
from .shape import to_picture

# sRGB of skin from fair to deep, and how much redder its blushes are.
TONES = (
    np.array(
        [
            (246, 214, 196),
            (236, 194, 168),
            (222, 176, 142),
            (200, 148, 112),
            (166, 114, 80),
            (122, 80, 56),
            (88, 58, 44),
        ]
    )
    / 255
)


@dataclass
class Light:
    """A key light from `direction` `[3]` (x right, y up, z to the camera), its strength, the ambient's, the colour."""

    direction: np.ndarray
    key: float
    ambient: float
    colour: np.ndarray  # [3], about 1


@dataclass
class Head:
    """A head in the picture: the mesh's `points` `[468, 3]`, and what lies round them, all in pixels."""

    side: int
    points: np.ndarray
    origin: tuple[float, float]
    scale: float  # pixels in a centimetre

    def at(self, *indices: int) -> np.ndarray:
        """The mean `[2]` of some of the mesh's points."""
        return self.points[list(indices), :2].mean(0)

    def line(self, indices: list[int]) -> np.ndarray:
        """Some of the mesh's points `[n, 2]`."""
        return self.points[indices, :2]

    def place(self, points: list[tuple[float, float]] | np.ndarray) -> np.ndarray:
        """Pixels of points `[.., 2]` in centimetres."""
        return to_picture(np.asarray(points, np.float64), self.origin, self.scale)

    @property
    def half_width(self) -> float:
        """Half the face's width at the ears, centimetres."""
        return (self.at(454)[0] - self.at(234)[0]) / 2 / self.scale

    def outline(self, volume: float = 0.0) -> np.ndarray:
        """The head's outline `[n, 2]`: the mesh's jaw and a skull, grown by `volume` centimetres above the ears."""
        jaw = curve(self.line(mesh.JAW))
        left, right = jaw[0], jaw[-1]
        centre, half = (left + right) / 2, (right[0] - left[0]) / 2 + volume * self.scale
        top = self.at(10)[1] - (2.9 + volume) * self.scale
        t = np.linspace(0, np.pi, 48)[1:-1]
        power = 2 / 2.5  # a little squarer than an ellipse
        x = centre[0] + half * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power
        y = centre[1] - (centre[1] - top) * np.sin(t) ** power
        return np.concatenate([jaw, np.stack([x, y], 1)])


def random_light(rng: np.random.Generator) -> Light:
    """Light from in front and mostly above, of any side, warm or cool."""
    direction = np.array([rng.uniform(-0.75, 0.75), rng.uniform(0.1, 0.7), 1.0])
    warmth = rng.normal(0, 0.035)
    key = rng.uniform(0.55, 0.8)
    return Light(
        direction / np.linalg.norm(direction), key, rng.uniform(0.95, 1.1) - key, 1 + np.array([warmth, 0, -warmth])
    )


def mesh_normals(points: np.ndarray) -> np.ndarray:
    """Normals `[468, 3]` (x right, y up, z to the camera) of points in pixels."""
    p = points * (1, -1, -1)
    a, b, c = (p[mesh.TRIANGLES[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(p)
    for i in range(3):
        np.add.at(normals, mesh.TRIANGLES[:, i], faces)
    normals *= np.sign(normals[:, 2].sum())
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)


def over_mesh(head: Head, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`values` `[468, n]` interpolated over the triangles, `[side, side, n]`, and where those are, `[side, side]`."""
    which = np.full((head.side, head.side), -1, np.int32)
    corners = np.round(head.points[mesh.TRIANGLES][..., :2] * 16).astype(np.int32)
    # The nearest triangles last: they cover the others.
    for index in np.argsort(-head.points[mesh.TRIANGLES][..., 2].mean(1)):
        cv2.fillConvexPoly(which, corners[index], int(index), shift=4)
    inside = which >= 0
    rows, columns = np.nonzero(inside)
    a, b, c = np.moveaxis(head.points[mesh.TRIANGLES][..., :2][which[inside]], 1, 0)
    ab, ac, ap = b - a, c - a, np.stack([columns, rows], 1) - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    v = (ap[:, 0] * ac[:, 1] - ap[:, 1] * ac[:, 0]) / area
    w = (ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]) / area
    weights = np.clip(np.stack([1 - v - w, v, w], 1), 0, 1)[..., None]
    out = np.zeros((head.side, head.side, values.shape[1]), np.float32)
    out[inside] = (weights * values[mesh.TRIANGLES[which[inside]]]).sum(1)
    return out, inside


def normal_map(head: Head) -> np.ndarray:
    """Normals `[side, side, 3]` of the head: the mesh's on the face, an ellipsoid's round it."""
    face, inside = over_mesh(head, mesh_normals(head.points))
    outline = head.outline()
    centre, radii = (outline.max(0) + outline.min(0)) / 2, (outline.max(0) - outline.min(0)) / 2 * 1.03
    x = (np.arange(head.side, dtype=np.float32)[None, :] - centre[0]) / radii[0]
    y = (np.arange(head.side, dtype=np.float32)[:, None] - centre[1]) / radii[1]
    u, v = np.broadcast_arrays(x, -y)
    far = np.maximum(np.sqrt(u * u + v * v), 1e-6)
    u, v = u * np.minimum(1, 0.97 / far), v * np.minimum(1, 0.97 / far)
    skull = np.stack([u, v, np.sqrt(1 - u * u - v * v)], -1).astype(np.float32)
    reach = 0.9 * head.scale
    eroded = cv2.erode(inside.astype(np.float32), np.ones((3, 3)), iterations=int(2 * reach))
    weight = soften(eroded, reach)[..., None]
    face = cv2.GaussianBlur(face, (0, 0), 0.16 * head.scale)
    normals = cv2.GaussianBlur(weight * face + (1 - weight) * skull, (0, 0), 0.08 * head.scale)
    return normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-6)


def lit(normals: np.ndarray, albedo: np.ndarray, light: Light, gloss: float) -> np.ndarray:
    """Colours `[.., 3]` in sRGB of a skin-like surface: wrapped diffuse light, wider in red, and a soft highlight."""
    facing = normals @ light.direction.astype(np.float32)
    wrap = np.array([0.5, 0.36, 0.3], np.float32)
    diffuse = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None)
    sky = (0.9 + 0.1 * normals[..., 1:2]) * (0.75 + 0.25 * normals[..., 2:])
    energy = (light.key * diffuse + light.ambient * sky) * light.colour.astype(np.float32)
    half = light.direction + (0, 0, 1)
    shine = np.clip(normals @ (half / np.linalg.norm(half)).astype(np.float32), 0, 1) ** 22
    linear = albedo**2.2 * energy + (gloss * light.key * shine)[..., None]
    return np.clip(linear, 0, 1) ** np.float32(1 / 2.2)


def paint_head(rng: np.random.Generator, picture: np.ndarray, head: Head, tone: np.ndarray, light: Light) -> np.ndarray:
    """Paint the head's skin, without features; the mask `[side, side]` of it."""
    s, side = head.scale, head.side
    albedo = np.broadcast_to(tone.astype(np.float32), (side, side, 3)).copy()
    deep = 1 - tone.mean()
    blush = rng.uniform(0.3, 1.0)
    for left in (50, 205):
        for index in (left, int(mesh.MIRROR[left])):
            shade(albedo, (1.02, 0.89 + 0.06 * deep, 0.90), blob(side, head.at(index), (1.3 * s, 1.0 * s)), 0.7 * blush)
    shade(albedo, (1.02, 0.88, 0.88), blob(side, head.at(1, 4), (0.9 * s, 0.7 * s)), 0.8 * blush)
    shade(albedo, (1.01, 0.93, 0.93), blob(side, head.at(152, 175), (1.3 * s, 0.8 * s)), blush)
    shade(albedo, (1.03, 1.02, 0.96), blob(side, head.at(151), (3.5 * s, 1.5 * s)), 0.6)
    for inner, outer in ((133, 33), (362, 263)):
        below = head.at(inner, outer) + (0, 0.75 * s)
        shade(albedo, (0.86, 0.82, 0.86), blob(side, below, (1.2 * s, 0.35 * s)), rng.uniform(0.2, 0.7))
    mottle = 0.012 * noise(rng, side, 1.6 * s) + 0.008 * noise(rng, side, 0.5 * s)
    albedo *= (1 + mottle)[..., None]
    if deep < 0.35 and rng.random() < 0.25:
        _freckles(rng, albedo, head)

    mask = fill(side, head.outline(), 0.06 * s)
    lay(picture, lit(normal_map(head), albedo, light, gloss=rng.uniform(0.03, 0.11)), mask)
    _shadows(rng, picture, head, light)
    return mask


def _freckles(rng: np.random.Generator, albedo: np.ndarray, head: Head) -> None:
    spots = np.zeros((head.side, head.side), np.float32)
    for x, y in rng.normal((0, 0.0), (3.4, 1.1), (70, 2)):
        spots = np.maximum(
            spots,
            fill(
                head.side,
                np.asarray(head.place([(x, y)])) + 0.07 * head.scale * np.array([[-1, 0], [0, -1], [1, 0], [0, 1]]),
            ),
        )
    shade(albedo, (0.84, 0.74, 0.66), soften(spots, 0.05 * head.scale), 0.7)


def _shadows(rng: np.random.Generator, picture: np.ndarray, head: Head, light: Light) -> None:
    """What the mesh is too coarse for: the sockets, the folds by the mouth, below nose and lip, the nose's shadow."""
    s, side = head.scale, head.side
    away = -light.direction[0]
    dark = np.array([0.66, 0.52, 0.48])
    for x, pick in ((-1, head.at), (1, lambda *indices: head.at(*mesh.mirrored(list(indices))))):
        shade(picture, dark, blob(side, pick(55, 133) + (0, 0.1 * s), (0.55 * s, 0.55 * s)), 0.42)
        shade(picture, dark, blob(side, pick(27, 52), (1.3 * s, 0.35 * s)), 0.30)
        shade(picture, dark, blob(side, pick(33, 46), (0.8 * s, 0.5 * s)), 0.16)
        fold = curve(np.array([pick(129), pick(203) + (0.25 * x * s, -0.1 * s), pick(206), pick(216)]))
        shade(picture, dark, stroke(side, fold, 0.42 * s * taper(len(fold), 0.2), 0.22 * s), rng.uniform(0.1, 0.42))
        # The wing of the nose.
        wing = curve(np.array([pick(198), pick(129, 49), pick(102, 64), pick(98)])) - (0.14 * x * s, 0)
        shade(picture, dark, stroke(side, wing, 0.26 * s * taper(len(wing), 0.1, 0.5), 0.12 * s), 0.55)
        # The side of the nose away from the light.
        ridge = curve(np.array([pick(55, 193), pick(122, 196), pick(3, 51), pick(131)]))
        shade(picture, dark, stroke(side, ridge + (0.3 * x * s, 0), 0.8 * s, 0.4 * s), 0.08 + 0.34 * max(0.0, x * away))
        shade(picture, dark, blob(side, pick(61) + (0.25 * x * s, 0), (0.3 * s, 0.35 * s)), 0.28)
    shade(picture, dark, blob(side, head.at(2) + (0.5 * away * s, 0.3 * s), (1.0 * s, 0.35 * s)), 0.42)
    shade(picture, dark, blob(side, head.at(0, 164) + (0, -0.1 * s), (0.22 * s, 0.3 * s)), 0.18)
    shade(picture, dark, blob(side, head.at(17) + (0.2 * away * s, 0.42 * s), (1.3 * s, 0.28 * s)), 0.42)
    shine = min(1.0, 0.25 + light.key * 0.3)
    bridge = curve(head.line([168, 6, 197, 195, 5])) - (0.12 * away * s, 0)
    lay(picture, np.array([1.0, 0.96, 0.9]), stroke(side, bridge, 0.32 * s, 0.2 * s), 0.22 * shine)
    lay(
        picture,
        np.array([1.0, 0.97, 0.94]),
        blob(side, head.at(4) - (0.2 * away * s, 0.12 * s), (0.26 * s, 0.2 * s)),
        0.34 * shine,
    )


def paint_ears(picture: np.ndarray, head: Head, tone: np.ndarray, light: Light) -> np.ndarray:
    """Paint both ears, to lie behind the head's edge; their mask `[side, side]`."""
    s = head.scale
    both = np.zeros((head.side, head.side), np.float32)
    for x, top, low in ((-1, 127, 132), (1, 356, 361)):
        upper, lower = head.at(top) + (-x * 0.2 * s, -0.2 * s), head.at(low) + (-x * 0.1 * s, 0.4 * s)
        height = lower[1] - upper[1]
        rim = curve(
            np.array(
                [
                    upper,
                    upper + (x * 0.9 * s, -0.10 * height),
                    upper + (x * 1.35 * s, 0.18 * height),
                    lower + (x * 0.95 * s, -0.3 * height),
                    lower + (x * 0.35 * s, 0),
                    lower,
                ]
            ),
            closed=True,
        )
        amount = 0.62 + 0.22 * float(x * light.direction[0])
        colour = (tone**2.2 * np.array([1.08, 0.92, 0.9]) * amount) ** (1 / 2.2)
        mask = fill(head.side, rim, 0.05 * s)
        both = np.maximum(both, mask)
        lay(picture, colour, mask)
        inner = rim.mean(0) + (rim - rim.mean(0)) * (0.5, 0.6)
        shade(picture, np.array([0.62, 0.5, 0.46]), fill(head.side, inner, 0.14 * s), 0.6)
    return both


def paint_neck(rng: np.random.Generator, picture: np.ndarray, head: Head, tone: np.ndarray, light: Light) -> np.ndarray:
    """Paint the neck down to the shoulders, with the chin's shadow on it; its mask `[side, side]`."""
    s, side = head.scale, head.side
    half = rng.uniform(0.52, 0.66) * head.half_width
    left = curve(
        head.place([(-half - 0.1, -4), (-half, -9), (-half - 0.1, -12), (-half - 2.0, -14.5), (-half - 8, -17)])
    )
    right = curve(head.place([(half + 8, -17), (half + 2.0, -14.5), (half + 0.1, -12), (half, -9), (half + 0.1, -4)]))
    mask = fill(side, np.concatenate([left, right]), 0.06 * s)
    u = np.clip((np.arange(side, dtype=np.float32) - head.origin[0]) / (half * s * 1.05), -0.97, 0.97)
    normals = np.broadcast_to(np.stack([u, np.full_like(u, -0.1), np.sqrt(1 - u * u)], -1), (side, side, 3))
    lay(picture, lit(normals, tone.astype(np.float32) * np.array([0.96, 0.92, 0.9], np.float32), light, 0.0), mask)
    jaw = head.outline() + (-0.8 * light.direction[0] * s, 1.3 * s)
    dark = np.array([0.58, 0.46, 0.42])
    shade(picture, dark, fill(side, jaw, 0.5 * s) * mask, 0.95)
    for x in (-1, 1):
        tendon = curve(head.place([(x * half * 0.75, -10.0), (x * half * 0.5, -12.0), (x * 0.9, -14.6)]))
        shade(picture, dark, stroke(side, tendon, 0.5 * s, 0.3 * s), 0.16)
    return mask
