"""How well a tracker reads the engine's faces (needs mediapipe 0.10.14).

Prints for each face how many of 100 random poses were found, the tracker's distance from the landmarks by construction
in parts of the distance between the eyes, and the tracker's mouth opening beside the pose's.
"""

import argparse
from collections.abc import Callable

import cv2
import mediapipe
import numpy as np

import mesh
from face import Face
from portrait import NAMES, portrait
from pose import COLUMN, POSE

UPSCALE = 4
OPENINGS = (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)


def pose(**values: float) -> np.ndarray:
    """A neutral pose [len(POSE)] f32 but for `values`."""
    row = np.zeros(len(POSE), np.float32)
    row[COLUMN["scale"]] = 1
    for name, value in values.items():
        row[COLUMN[name]] = value
    return row


SHEET = [
    [pose(open=x) for x in (0, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.2)],
    [pose(tuck=1), pose(open=0.4, round=0.8), pose(open=0.12, round=1), pose(open=0.15, wide=1),
     pose(open=0.5, wide=0.6), pose(open=0.25, tongue=1), pose(round=1), pose(wide=1)],
    [pose(smile=1), pose(smile=0.5, open=0.2), pose(smile=1, open=0.5), pose(smile=-1), pose(smile=-1, open=0.3),
     pose(brow_raise=1), pose(brow_raise=-1), pose(brow_furrow=1)],
    [pose(lids=x) for x in (-0.3, 0.25, 0.5, 0.75, 1)] + [pose(gaze_x=1), pose(gaze_x=-1), pose(gaze_y=1)],
    [pose(yaw=0.25), pose(yaw=-0.25), pose(pitch=0.15), pose(pitch=-0.15), pose(roll=0.1, open=0.4),
     pose(roll=-0.1, shift_x=0.03), pose(scale=1.05, shift_y=0.02, open=0.5), pose(yaw=0.2, pitch=-0.1, open=0.7)],
]  # fmt: skip


def random_pose(rng: np.random.Generator) -> np.ndarray:
    """A pose of speech with some emotion and head motion, mouth shut in a quarter of all."""
    return pose(
        open=max(0, rng.uniform(-0.3, 1)),
        wide=rng.uniform(-0.5, 0.6),
        round=max(0, rng.uniform(-1, 1)),
        tongue=max(0, rng.uniform(-1, 1)),
        smile=rng.uniform(-0.7, 0.9),
        brow_raise=rng.uniform(-0.7, 0.8),
        brow_furrow=max(0, rng.uniform(-1, 0.8)),
        lids=max(-0.2, rng.uniform(-2, 1)),
        gaze_x=rng.uniform(-0.7, 0.7),
        gaze_y=rng.uniform(-0.5, 0.5),
        shift_x=rng.uniform(-0.03, 0.03),
        shift_y=rng.uniform(-0.03, 0.03),
        roll=rng.uniform(-0.08, 0.08),
        scale=rng.uniform(0.95, 1.05),
        yaw=rng.uniform(-0.2, 0.2),
        pitch=rng.uniform(-0.12, 0.12),
    )


def tracker() -> Callable[[np.ndarray], np.ndarray | None]:
    """MediaPipe's mesh: a picture [size, size, 3] u8 to iBUG's 68 points [68, 2] in pixels, or None."""
    net = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True)

    def track(picture: np.ndarray) -> np.ndarray | None:
        larger = cv2.resize(picture, None, fx=UPSCALE, fy=UPSCALE, interpolation=cv2.INTER_CUBIC)
        found = net.process(larger).multi_face_landmarks
        if not found:
            return None
        # MediaPipe counts from the first pixel's centre.
        points = np.array([[point.x, point.y] for point in found[0].landmark])[:468] * len(picture) + 0.5 / UPSCALE
        return mesh.to_ibug(points)

    return track


def opening(points: np.ndarray) -> float:
    """The mouth's: mean distance of the inner lips over the distance of the eyes' outer corners."""
    lips = np.linalg.norm(points[[61, 62, 63]] - points[[67, 66, 65]], axis=1).mean()
    return float(lips / np.linalg.norm(points[36] - points[45]))


def check(name: str, face: Face, track: Callable[[np.ndarray], np.ndarray | None], count: int = 100) -> None:
    rng = np.random.default_rng(0)
    errors, openings = [], []
    for _ in range(count):
        row = random_pose(rng)
        seen, true = track(face.render(row)), face.landmarks(row)
        if seen is not None:
            errors.append(np.linalg.norm(seen - true, axis=1) / np.linalg.norm(true[36] - true[45]))
            openings.append((row[COLUMN["open"]], opening(seen)))
    parts = {"jaw": (0, 17), "brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "mouth": (48, 68)}
    distances = ", ".join(f"{part} {np.mean(np.array(errors)[:, a:b]):.3f}" for part, (a, b) in parts.items())
    correlation = np.corrcoef(np.array(openings).T)[0, 1]
    print(f"{name}: found {len(errors)} of {count}; off by {np.mean(errors):.3f} ({distances})")
    print(f"  opening correlates {correlation:.3f}")
    for amount in OPENINGS:
        seen = track(face.render(pose(open=amount)))
        print(f"  open {amount:g}: {'none' if seen is None else f'{opening(seen):.3f}'}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--drawn", type=int, default=0, help="also so many drawn faces")
    arguments.add_argument("--sheet", help="PNG of many poses of every face")
    arguments.add_argument("--size", type=int, default=128)
    given = arguments.parse_args()
    faces = {name: portrait(name) for name in NAMES}
    if given.drawn:
        from painter import drawn

        faces |= {f"drawn {seed}": drawn(seed) for seed in range(given.drawn)}
    track = tracker()
    for name, face in faces.items():
        check(name, face, track)
    if given.sheet:
        rows = [np.hstack([face.render(row, given.size) for row in line]) for face in faces.values() for line in SHEET]
        cv2.imwrite(given.sheet, cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
