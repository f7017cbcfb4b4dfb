"""MediaPipe's face mesh: the canonical face's points, its triangles, and the names of lines on it.

Source of `canonical.npz`: mediapipe's canonical_face_model.obj (Apache 2.0; licence in weights/faces).
Points are in centimetres: x to the right in the picture, y up, z towards the camera.
"""

from pathlib import Path

import numpy as np

with np.load(Path(__file__).with_name("canonical.npz")) as stored:
    POINTS = stored["points"].astype(np.float64)  # [468, 3]
    TRIANGLES = stored["triangles"].astype(np.int64)  # [898, 3]

# The mesh is symmetric to the last digit: MIRROR[i] is the point across the nose from i.
MIRROR = np.array([int(np.abs(POINTS - point * (-1, 1, 1)).sum(1).argmin()) for point in POINTS])

# Lines run from left to right in the picture; an eye's and a brow's are the left one's, MIRROR gives the right one's.
OVAL = [
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
]
JAW = OVAL[8:29][::-1]  # 234 by the chin to 454
LID_UPPER = [33, 246, 161, 160, 159, 158, 157, 173, 133]
LID_LOWER = [33, 7, 163, 144, 145, 153, 154, 155, 133]
CREASE = [130, 247, 30, 29, 27, 28, 56, 190, 243]  # of the upper lid
BROW_UPPER = [70, 63, 105, 66, 107]
BROW_LOWER = [46, 53, 52, 65, 55]

# The lips as rings of 11 columns, from the outer edge to the line between them.
UPPER_LIP = [
    [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291],
    [76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306],
    [62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292],
    [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308],
]
LOWER_LIP = [
    [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291],
    [76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306],
    [62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292],
    [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308],
]


def mirrored(line: list[int]) -> list[int]:
    """The same line on the other side of the face, still from the outer end to the inner one."""
    return [int(MIRROR[index]) for index in line]
