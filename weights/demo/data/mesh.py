"""MediaPipe's mesh of a face: which of its 468 points are what, and iBUG's 68 among them."""

import numpy as np

# The inner lips from the face's right corner to its left (in the picture: from left to right), corners included.
UPPER_INNER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LIPS_OUTLINE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
UPPER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291) + UPPER_INNER_LIP
LOWER_LIP = (146, 91, 181, 84, 17, 314, 405, 321, 375) + LOWER_INNER_LIP[1:-1]
# The four rows of points within the red of each lip, between its outer and inner edge.
UPPER_LIP_RED = (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292)
LOWER_LIP_RED = (77, 90, 180, 85, 16, 315, 404, 320, 307, 96, 89, 179, 86, 15, 316, 403, 319, 325)

# Each eye from left to right in the picture, corners included: the edge of the upper lid, then of the lower.
EYES = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
OUTER_CORNERS = (33, 263)
BROWS = ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (336, 296, 334, 293, 300, 285, 295, 282, 283, 276))
INNER_BROWS = ((107, 55), (336, 285))
NOSE_BASE, CHIN, FOREHEAD = 2, 152, 10
MOUTH_CORNERS = (61, 291)
CHEEKS = ((50, 205), (280, 425))
EARS = (127, 234, 356, 454)

# The points whose mean is each of iBUG's 68 (src/face/mesh.rs says how near they come to dlib's).
# fmt: off
_OF_IBUG = (
    (127,), (234,), (132,), (58,), (172,), (136,), (149,), (148,), (152,), (377,), (378,), (365,), (397,), (288,),
    (361,), (454,), (356,), (70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,), (168,),
    (197,), (195, 5), (4,), (75,), (97,), (2,), (326,), (305,), (33,), (160,), (158,), (133,), (153,), (144,), (362,),
    (385,), (387,), (263,), (373,), (380,), (61,), (39,), (37,), (0,), (267,), (269,), (291,), (321, 405), (314,),
    (17,), (84,), (91, 181), (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)
# Where dlib's points 0 to 8 lie from these, x towards the face's left ear and y towards the mouth, in parts of the
# distance between the eyes' centres; 9 to 16 mirror 7 to 0 (src/face/mesh.rs, JAW_OFFSETS).
_JAW_OFFSETS = np.array([
    [-0.014, 0.003], [-0.010, 0.059], [-0.026, -0.142], [-0.046, -0.115], [-0.045, -0.052], [0.011, 0.028],
    [-0.043, -0.012], [-0.088, 0.000], [0.000, 0.026],
])
# fmt: on


def to_ibug(points: np.ndarray) -> np.ndarray:
    """iBUG's 68 points [68, 2] of the mesh's `points` [468, 2 or more], in its unit, the jaw where dlib's would lie."""
    face = np.array([points[list(group), :2].mean(axis=0) for group in _OF_IBUG])
    right, left = face[36:42].mean(axis=0), face[42:48].mean(axis=0)
    along = left - right
    across = np.array([-along[1], along[0]])
    offsets = np.vstack([_JAW_OFFSETS, _JAW_OFFSETS[-2::-1] * [-1, 1]])
    face[:17] += offsets[:, :1] * along + offsets[:, 1:] * across
    return face


def in_lower_layer(below_mouth: np.ndarray) -> np.ndarray:
    """Which of the 468 points move with the lower lip: those `below_mouth` [468], and each lip's own on its side."""
    lower = below_mouth.copy()
    lower[list(UPPER_LIP + UPPER_LIP_RED)] = False
    lower[list(LOWER_LIP + LOWER_LIP_RED)] = True
    return lower
