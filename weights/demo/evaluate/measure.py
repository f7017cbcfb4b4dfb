"""How well produced videos say what they should, measured from the files alone by MediaPipe's face mesh.

usage: measure.py FOLDER [--made out.mp4]
Each FOLDER/NNN holds input.mp4, truth.mp4, phones.txt (see films.py) and what was made, out.mp4. Opening: mean distance of the three
inner-lip pairs over that between the outer eye corners; frames without a face count as wrong. For each film, then the mean and the
worst: correlation with the true opening and with the input's own, best lag in frames (positive: late), share of p, b, m that close
(below 0.03, a frame more or less). Beside the made video stand the truth itself and the input unchanged.
"""

import argparse
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import mediapipe
import numpy as np

import mesh
from pose import FPS
from visemes import Phone, parts, viseme, VISEMES

PAIRS = ((61, 67), (62, 66), (63, 65))
CORNERS = (36, 45)
CLOSED = 0.03
MOST_LAG = 10
UPSCALE = 2


def openings(path: Path) -> np.ndarray:
    """The mouth's opening in each frame, NaN where no face is found."""
    found = []
    video = cv2.VideoCapture(str(path))
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=1) as net:
        while True:
            is_there, frame = video.read()
            if not is_there:
                break
            large = cv2.resize(frame, None, fx=UPSCALE, fy=UPSCALE, interpolation=cv2.INTER_CUBIC)
            faces = net.process(large[..., ::-1]).multi_face_landmarks
            if not faces:
                found.append(np.nan)
                continue
            size = np.array(frame.shape[1::-1])
            points = mesh.to_ibug(np.array([[p.x, p.y] for p in faces[0].landmark[:468]]) * size)
            gaps = [np.linalg.norm(points[a] - points[b]) for a, b in PAIRS]
            found.append(np.mean(gaps) / np.linalg.norm(points[CORNERS[0]] - points[CORNERS[1]]))
    return np.array(found)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two tracks where both have a face; frames where one has none count as its mean turned around: as wrong."""
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or a[both].std() == 0 or b[both].std() == 0:
        return 0.0
    return float(np.corrcoef(a[both], b[both])[0, 1] * both.mean())


def lag(made: np.ndarray, true: np.ndarray) -> int:
    """By how many frames `made` comes after `true` where they agree best."""
    shifts = range(-MOST_LAG, MOST_LAG + 1)
    n = min(len(made), len(true))
    return max(shifts, key=lambda s: correlation(made[max(0, s) : n + min(0, s)], true[max(0, -s) : n - max(0, s)]))


def read_phones(path: Path) -> list[Phone]:
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return [Phone(label, float(start), float(end)) for start, end, label in rows]


def closure(opening: np.ndarray, phones: list[Phone]) -> float:
    """Share of p, b, m with closed lips in a frame of theirs or the one before or after."""
    closed = []
    for phone in phones:
        if not parts(phone.label) or VISEMES[viseme(phone.label)] != "pbm":
            continue
        first, last = int(phone.start * FPS) - 1, int(np.ceil(phone.end * FPS)) + 1
        frames = opening[max(first, 0) : last]
        if len(frames):
            closed.append(bool((frames < CLOSED).any()))
    return float(np.mean(closed)) if closed else 1.0


@dataclass
class Figures:
    found: float
    true: float
    old: float
    lag: int
    closure: float


def figures(made: np.ndarray, true: np.ndarray, old: np.ndarray, phones: list[Phone]) -> Figures:
    return Figures(float(np.isfinite(made).mean()), correlation(made, true), correlation(made, old), lag(made, true), closure(made, phones))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--made", default="out.mp4")
    args = parser.parse_args()
    kinds: dict[str, list[Figures]] = {"made": [], "truth (ceiling)": [], "input (floor)": []}
    print("film, what:", ", ".join(field.name for field in fields(Figures)))
    for film in sorted(path for path in args.folder.iterdir() if (path / args.made).exists()):
        phones = read_phones(film / "phones.txt")
        made, true, old = (openings(film / name) for name in (args.made, "truth.mp4", "input.mp4"))
        for (kind, rows), track in zip(kinds.items(), (made, true, old)):
            rows.append(figures(track, true, old, phones))
            print(film.name, kind, *(f"{value:.3g}" for value in astuple(rows[-1])), flush=True)
    for kind, rows in kinds.items():
        table = np.array([astuple(row) for row in rows], float)
        late = np.abs(table[:, 3]).max()
        print(f"{kind}: mean found {table[:, 0].mean():.3f}, true {table[:, 1].mean():.3f} (worst {table[:, 1].min():.3f}), "
              f"old {table[:, 2].mean():.3f} (worst {table[:, 2].max():.3f}), largest lag {late:.0f}, closure {table[:, 4].mean():.3f} (worst {table[:, 4].min():.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
