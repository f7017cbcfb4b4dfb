"""The public-domain portraits as faces that the engine can move: portraits/README.md says whose they are."""

import json
from pathlib import Path

import cv2
import numpy as np

import mesh
from closing import closed
from face import Face
from fill import filled

HERE = Path(__file__).parent
PICTURES = HERE.parents[2] / "tests" / "fixtures" / "portraits"
NAMES = ("astronaut", "grace_hopper")
SIDE = 384  # pixels of the head's square crop


def portrait(name: str) -> Face:
    """The portrait `name` of NAMES, cropped to the head, mouth closed and neutral: a picture of SIDE x SIDE."""
    picture = cv2.cvtColor(cv2.imread(str(PICTURES / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
    known = json.loads((HERE / "portraits" / f"{name}.json").read_text())
    left, top, side = known["crop"]
    crop = cv2.resize(picture[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    points = (np.array(known["points"]) - [left, top, 0]) * (SIDE / side)
    matte = cv2.imread(str(HERE / "portraits" / f"{name}_matte.png"), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    face = Face(crop, points, matte, _behind(crop, matte, points[mesh.CHIN, 1] + 10), known["has_glasses"])
    return closed(face, known["smile"], known["redden"])


def _behind(picture: np.ndarray, matte: np.ndarray, neck_y: float) -> np.ndarray:
    """`picture` without its head, [SIDE, SIDE, 3] u8: the neck stays, what the head hid is filled from around it."""
    head = cv2.dilate((matte > 0.02).astype(np.uint8), np.ones((7, 7))).astype(bool)
    head[int(neck_y) :] = False
    return np.clip(filled(picture, head) + 0.5, 0, 255).astype(np.uint8)
