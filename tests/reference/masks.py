"""Landmark masks on a square crop, the nearest-downsampled latent mask and the u8 bilinear resize, in numpy and PIL.

Landmarks [68, 2] are x, y in pixels, x right, y down. A mask is 1 where the picture is to be generated. Integers
truncate toward zero; filled rectangles include both ends and are cut at the border.
"""
import numpy as np
from PIL import Image, ImageDraw


def rectangle(side, top, bottom, left, right):
    m = np.zeros((side, side), np.uint8)
    m[max(int(top), 0):max(int(bottom) + 1, 0), max(int(left), 0):max(int(right) + 1, 0)] = 1
    return m


def box(points, side, nose):
    return rectangle(side, points[nose, 1], side, points[:, 0].min(), points[:, 0].max())


def full(points, side, nose):
    start = np.clip(points[nose, 1], 0, side - 1)
    return np.repeat((np.arange(side) >= start)[:, None], side, 1).astype(np.uint8)


def mouth(points, side, nose):
    margin = int(0.01 * side)
    bottom = min(side, points[:, 1].max() + margin)
    return rectangle(side, points[nose, 1] - margin, bottom, points[:, 0].min(), points[:, 0].max())


def heart(points, side, nose):
    """The lower face without the nose; landmarks 29 to 35 whatever `nose` is."""
    d = 0.1 * abs(points[2, 0] - points[29, 0])
    nose_only = rectangle(side, points[29, 1], points[33, 1], points[31, 0] - d, points[35, 0] + d)
    return rectangle(side, points[29, 1], side, points[:, 0].min(), points[:, 0].max()) * (1 - nose_only)


def face(points, side, nose):
    """The jaw's polygon. Points are truncated to integers first, then moved away from their mean and truncated again."""
    jaw = points[2:15].astype(np.int64).astype(np.float64)
    away = jaw - jaw.mean(0)
    jaw = (jaw + int(0.05 * side) * away / np.linalg.norm(away, axis=1, keepdims=True)).astype(np.int64)
    image = Image.new("L", (side, side), 0)
    ImageDraw.Draw(image).polygon([tuple(p) for p in jaw.tolist()], outline=1, fill=1)
    return np.array(image)


SHAPES = {"box": box, "full": full, "heart": heart, "mouth": mouth, "face": face}


def masks(name, landmarks, side, nose):
    return np.stack([SHAPES[name](p, side, nose) for p in landmarks])


def downsample(m, size):
    """Nearest: every (side / size)-th row and column, from 0."""
    step = m.shape[1] // size
    return m[:, ::step, ::step]


def resize_axis(x, size, axis):
    """One pass along `axis`, half-pixel centres, no antialias, in the fixed point of torch on the CPU: weights rounded to
    14 bits, or to 15 where none of them comes near 1, the sum rounded half up to u8. Trap: sums in floats give the same
    for power-of-two sizes, where the weights are exact, and one level more or less in up to 1 % of the values elsewhere."""
    old = x.shape[axis]
    centre = np.maximum((np.arange(size) + 0.5) * (old / size) - 0.5, 0)
    low = np.minimum(centre.astype(np.int64), old - 1)
    high = np.minimum(low + 1, old - 1)
    weight = np.where(high == low, 0, centre - low)
    largest = max(weight.max(), 1 - weight.min())
    bits = 15 if int(largest * 2**15 + 0.5) < 2**15 else 14
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    first, second = ((w * 2**bits + 0.5).astype(np.int64).reshape(shape) for w in (1 - weight, weight))
    total = x.take(low, axis) * first + x.take(high, axis) * second
    return np.minimum((total + 2 ** (bits - 1)) >> bits, 255).astype(np.uint8)


def resize(frames, height, width):
    """u8 [frames, h, w, 3]: along x first, then along y."""
    return resize_axis(resize_axis(frames, width, 2), height, 1)
