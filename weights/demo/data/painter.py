"""Paints neutral faces of random identities on MediaPipe's face mesh."""

import numpy as np

from face import Face
from painting import features, hair, scene, skin
from painting.shape import random_shape, to_picture

SIDE = 384


def drawn(seed: int) -> Face:
    """The drawn identity of a seed."""
    return portray(np.random.default_rng(seed))


def paint(rng: np.random.Generator, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A new identity's picture u8 `[side, side, 3]` RGB and mesh f32 `[468, 3]`, as `portray` has them."""
    face = portray(rng, side)
    return face.picture, face.points


def portray(rng: np.random.Generator, side: int = SIDE) -> Face:
    """A new identity, with the person's matte and the background behind.

    The face looks ahead, eyes open and lips closed; it fills about 0.56 of the picture's height. The points are in
    pixels (x right, y down, 0 at the edge, z away from the camera), in MediaPipe's order.
    """
    scale = rng.uniform(0.53, 0.60) * side / 17.7  # of pixels in a centimetre; 17.7 cm from chin to hairline
    origin = (side * (0.5 + np.clip(rng.normal(0, 0.012), -0.03, 0.03)), side * rng.uniform(0.45, 0.48))
    head = skin.Head(side, to_picture(random_shape(rng), origin, scale), origin, scale)
    light = skin.random_light(rng)
    depth = rng.beta(1.1, 1.3) * (len(skin.TONES) - 1)
    tone = np.array([np.interp(depth, np.arange(len(skin.TONES)), skin.TONES[:, channel]) for channel in range(3)])
    deep = depth > 3.6
    style = hair.random_hair(rng, deep)
    masculine = style.style not in (*hair.LONG, "bun", "long fringe") and rng.random() < 0.72
    odds = (0.45, 0.25, 0.07, 0.08, 0.15) if masculine else (1, 0, 0, 0, 0)
    beard = ("", "stubble", "moustache", "goatee", "beard")[rng.choice(5, p=odds)]
    painted = not masculine and rng.random() < 0.45
    lipstick = np.array([rng.uniform(0.55, 0.8), rng.uniform(0.1, 0.3), rng.uniform(0.18, 0.36)]) if painted else None
    lashes = rng.uniform(0.1, 0.45) if masculine else rng.uniform(0.4, 1.0)
    iris = features.IRISES[rng.integers(3 if deep else len(features.IRISES))] * rng.uniform(0.85, 1.15)
    brows = np.clip(style.colour * rng.uniform(0.5, 0.9), 0.05, 0.5)

    picture = scene.paint_background(rng, side)
    background = picture.copy()
    layers = [
        hair.paint_back(rng, picture, head, style, light),
        skin.paint_neck(rng, picture, head, tone, light),
        scene.paint_clothes(rng, picture, head, light),
    ]
    if style.style not in hair.LONG:
        layers.append(skin.paint_ears(picture, head, tone, light))
    mask = skin.paint_head(rng, picture, head, tone, light)
    features.paint_nostrils(picture, head, tone)
    if beard:
        hair.paint_beard(rng, picture, head, style, beard)
    features.paint_lips(rng, picture, head, tone, light, lipstick)
    for left in (True, False):
        features.paint_eye(rng, picture, head, left, iris, tone, light, lashes)
        features.paint_brow(rng, picture, head, left, brows, rng.uniform(0.7, 0.95))
    layers += [mask, hair.paint_front(rng, picture, head, style, mask, light)]
    has_glasses = bool(rng.random() < 0.10)
    if has_glasses:
        scene.paint_glasses(rng, picture, head)

    # As a camera would: exposure, white balance, grain.
    exposure = (rng.uniform(0.92, 1.06) * (1 + rng.normal(0, 0.012, 3))).astype(np.float32)
    grain = rng.uniform(0.003, 0.012) * rng.standard_normal(picture.shape, np.float32)
    picture, background = (
        np.round(255 * np.clip(p * exposure + grain, 0, 1)).astype(np.uint8) for p in (picture, background)
    )
    matte = 1 - np.prod([1 - layer for layer in layers], axis=0)
    points = (head.points + (0.5, 0.5, 0)).astype(np.float32)  # from pixels' centres at whole numbers
    return Face(picture, points, matte.astype(np.float32), background, has_glasses)
