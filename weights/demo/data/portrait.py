"""The public-domain portraits as faces that the engine can move: portraits/README.md says whose they are."""

import json
from pathlib import Path

import cv2
import numpy as np

from closing import closed
from face import Face

HERE = Path(__file__).parent
PICTURES = HERE.parents[2] / "tests" / "fixtures" / "portraits"
SIDE = 384  # pixels of the face's square crop
FACE_HEIGHT = 0.56  # from hairline to chin, of the crop's side
CENTRE_DOWN = 0.53  # of the face's height in the crop
SMILES = {"astronaut": 1.1, "grace_hopper": 0.0}  # in the photograph, as a pose counts it
NAMES = tuple(SMILES)


def portrait(name: str) -> Face:
    """The portrait `name` of NAMES, cropped to the head, mouth closed and neutral: a picture of SIDE x SIDE."""
    picture = cv2.cvtColor(cv2.imread(str(PICTURES / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
    points = np.array(json.loads((HERE / "portraits" / f"{name}.json").read_text()))
    top, chin = points[10], points[152]
    scale = SIDE * FACE_HEIGHT / (chin[1] - top[1])
    corner = np.append((top + chin)[:2] / 2 - np.array([0.5, CENTRE_DOWN]) * SIDE / scale, 0)
    to_crop = np.array([[scale, 0, 0.0], [0, scale, 0.0]])
    to_crop[:, 2] = -scale * corner[:2] + 0.5 * scale - 0.5
    crop = cv2.warpAffine(picture, to_crop, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return closed(Face(crop, (points - corner) * scale), SMILES[name])
