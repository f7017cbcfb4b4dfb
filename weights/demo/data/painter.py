"""Paints neutral faces of random identities on MediaPipe's face mesh."""

import numpy as np

from drawn import features, hair, scene, skin
from drawn.shape import random_shape, to_picture

SIDE = 384


def paint(rng: np.random.Generator, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A new identity: its picture u8 `[side, side, 3]` RGB and its mesh f32 `[468, 3]`.

    The face looks ahead, eyes open and lips closed; it fills about 0.56 of the picture's height. The points are in
    pixels (x right, y down, z away from the camera), in MediaPipe's order.
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
    hair.paint_back(rng, picture, head, style, light)
    skin.paint_neck(rng, picture, head, tone, light)
    scene.paint_clothes(rng, picture, head, light)
    skin.paint_ears(picture, head, tone, light)
    mask = skin.paint_head(rng, picture, head, tone, light)
    features.paint_nostrils(picture, head, tone)
    if beard:
        hair.paint_beard(rng, picture, head, style, beard)
    features.paint_lips(rng, picture, head, tone, light, lipstick)
    for left in (True, False):
        features.paint_eye(rng, picture, head, left, iris, tone, light, lashes)
        features.paint_brow(rng, picture, head, left, brows, rng.uniform(0.7, 0.95))
    hair.paint_front(rng, picture, head, style, mask, light)
    if rng.random() < 0.10:
        scene.paint_glasses(rng, picture, head)
    return _develop(rng, picture), head.points.astype(np.float32)


def _develop(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """As a camera would: exposure, white balance, grain."""
    picture = picture * (rng.uniform(0.92, 1.06) * (1 + rng.normal(0, 0.012, 3))).astype(np.float32)
    picture = picture + rng.uniform(0.003, 0.012) * rng.standard_normal(picture.shape, np.float32)
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
