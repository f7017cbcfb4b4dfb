"""The whole pose track of an utterance: mouth, feeling, blinks, gaze and a head that is never quite still."""

import numpy as np
from scipy import ndimage

from articulation import articulate, frame_times, mouth_columns
from pose import COLUMN, FPS, POSE
from speech import RATE, Utterance
from visemes import segments

_REACH = {
    "shift_x": 0.03,
    "shift_y": 0.02,
    "roll": 0.08,
    "scale": 0.05,
    "yaw": 0.2,
    "pitch": 0.1,
}  # of the head, at most
_NOD = 0.03  # radians, on a stressed syllable
_BLINK = (0.55, 1.0, 0.9, 0.45, 0.15)  # lids frame by frame: 200 ms, quicker down than up
_VOWELS = ("ee", "ih", "eh", "aa", "uh", "oh", "oo", "ue")


def smooth_noise(frames: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random curve `[frames]` in (-1, 1) that changes over about `seconds`."""
    sigma = seconds * FPS / 2
    margin = int(4 * sigma) + 1
    curve = ndimage.gaussian_filter1d(rng.standard_normal(frames + 2 * margin), sigma)[margin : margin + frames]
    unit = np.sqrt(2 * np.sqrt(np.pi) * sigma)  # a filtered white curve has variance 1 / (2 sqrt(pi) sigma)
    return np.tanh(0.7 * unit * curve)


def emotion_curve(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Valence and arousal `[frames, 2]` in [-1, 1]: constant in one clip of three, else wandering over some seconds."""
    if rng.random() < 1 / 3:
        return np.repeat(rng.uniform(-1, 1, (1, 2)), frames, 0)
    ends = rng.uniform(-1, 1, 2)
    return np.stack([np.clip(end + 0.9 * smooth_noise(frames, 3.0, rng), -1, 1) for end in ends], 1)


def _neutral(frames: int, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.uniform(-0.12, 0.12, (1, 2)), frames, 0)


def _blinks(frames: int, rng: np.random.Generator) -> np.ndarray:
    lids = np.zeros(frames)
    at = rng.uniform(0, 3) * FPS
    while at < frames:
        for step, value in enumerate(_BLINK):
            if int(at) + step < frames:
                lids[int(at) + step] = value
        at += (0.8 + rng.exponential(2.6)) * FPS
    return lids


def _gaze(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Fixations of 0.6 to 2.5 s, mostly near the camera, with jumps between, `[frames, 2]`."""
    gaze = np.zeros((frames, 2))
    at = 0
    while at < frames:
        target = rng.normal(0, (0.12, 0.08)) if rng.random() < 0.7 else rng.uniform((-0.7, -0.35), (0.7, 0.35))
        length = int(rng.uniform(0.6, 2.5) * FPS)
        gaze[at : at + length] = target
        at += length
    return np.clip(ndimage.uniform_filter1d(gaze, 2, axis=0, mode="nearest"), -1, 1)


def _nods(utterance: Utterance, frames: int) -> np.ndarray:
    """Bumps of about 0.4 s `[frames]`, 1 high, on vowels longer and louder than the utterance's usual."""
    vowels = [part for part in segments(utterance.phones, utterance.duration) if part.label in _VOWELS]
    if not vowels:
        return np.zeros(frames)
    energy = []
    for part in vowels:
        samples = utterance.samples[int(part.start * RATE) : int(part.end * RATE) + 1]
        energy.append(np.sqrt(np.mean(samples**2)) * (part.end - part.start))
    least = np.quantile(energy, 0.8)
    times, bumps = frame_times(frames), np.zeros(frames)
    for part, weight in zip(vowels, energy):
        if weight >= least:
            bumps = np.maximum(bumps, np.exp(-(((times - (part.start + part.end) / 2) / 0.12) ** 2)))
    return bumps


def _feel(track: np.ndarray, emotion: np.ndarray) -> None:
    """Valence to the mouth's corners, arousal to brows and lids (Russell's circumplex), each monotone in its cause."""
    valence, arousal = emotion.T
    track[:, COLUMN["smile"]] += 0.9 * valence
    track[:, COLUMN["brow_raise"]] += 0.65 * arousal + 0.15 * valence
    track[:, COLUMN["brow_furrow"]] += np.maximum(0, -valence) * (0.55 + 0.35 * arousal)
    track[:, COLUMN["lids"]] += np.where(arousal > 0, -0.22, -0.28) * arousal + 0.1 * np.maximum(0, valence)
    track[:, COLUMN["open"]] *= 1 + 0.1 * arousal


def _react(track: np.ndarray, utterance: Utterance) -> None:
    """What laughter, sighs and coughs do beside the mouth."""
    times = frame_times(len(track))
    for phone in utterance.phones:
        if phone.label not in ("laugh", "sigh", "cough"):
            continue
        reach = {"laugh": 0.25, "sigh": 0.3, "cough": 0.06}[phone.label]
        away = np.maximum(0, np.maximum(phone.start - times, times - phone.end))
        near = np.exp(-((away / reach) ** 2))
        if phone.label == "laugh":
            _at_least(track, "smile", 0.95, near)
            _at_least(track, "lids", 0.4, near)
            _at_least(track, "brow_raise", 0.3, near)
        elif phone.label == "sigh":
            _at_least(track, "lids", 0.35, near)
            track[:, COLUMN["shift_y"]] += 0.012 * near
        else:
            _at_least(track, "lids", 0.8, near)
            _at_least(track, "brow_furrow", 0.7, near)
            track[:, COLUMN["pitch"]] += 0.06 * near


def _at_least(track: np.ndarray, name: str, target: float, near: np.ndarray) -> None:
    """Bring a column up to `target` by as much as `near` (0 to 1 per frame) says; leave it where it is higher."""
    column = track[:, COLUMN[name]]
    column += near * np.maximum(0, target - column)


def _move_head(track: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> None:
    liveliness = rng.uniform(0.2, 1.0)
    for name, reach in _REACH.items():
        slow, quick = smooth_noise(len(track), 2.2, rng), smooth_noise(len(track), 0.7, rng)
        track[:, COLUMN[name]] += reach * liveliness * (0.8 * slow + 0.2 * quick)
    track[:, COLUMN["pitch"]] += _NOD * liveliness * _nods(utterance, len(track))


_LIMITS = {
    "open": (0, 1.2), "wide": (-1, 1), "round": (0, 1), "tuck": (0, 1), "tongue": (0, 1), "smile": (-1, 1),
    "brow_raise": (-1, 1), "brow_furrow": (0, 1), "lids": (-0.3, 1), "gaze_x": (-1, 1), "gaze_y": (-1, 1),
    "shift_x": (-0.03, 0.03), "shift_y": (-0.03, 0.03), "roll": (-0.08, 0.08), "scale": (0.95, 1.05),
    "yaw": (-0.2, 0.2), "pitch": (-0.12, 0.12),
}  # fmt: skip


def pose_track(
    utterance: Utterance, rng: np.random.Generator, emotion: np.ndarray | None = None, still: bool = False
) -> np.ndarray:
    """A pose track `[frames, len(POSE)]` f32 of a face that says `utterance`, as many frames as `utterance` has.

    `emotion` is valence and arousal, `[frames, 2]` or `[2]`, near neutral if not given. A `still` face speaks and
    feels, but neither blinks nor looks about nor moves its head."""
    frames = utterance.frames
    emotion = _neutral(frames, rng) if emotion is None else np.broadcast_to(emotion, (frames, 2))
    track = np.zeros((frames, len(POSE)))
    track[:, COLUMN["scale"]] = 1
    track[:, mouth_columns()] = articulate(utterance)
    _feel(track, emotion)
    _react(track, utterance)
    if not still:
        track[:, COLUMN["lids"]] = np.maximum(track[:, COLUMN["lids"]], _blinks(frames, rng))
        track[:, [COLUMN["gaze_x"], COLUMN["gaze_y"]]] = _gaze(frames, rng)
        _move_head(track, utterance, rng)
    for name, (low, high) in _LIMITS.items():
        track[:, COLUMN[name]] = np.clip(track[:, COLUMN[name]], low, high)
    return track.astype(np.float32)
