#!/usr/bin/env python3
"""Our face tracker beside MediaPipe's on this machine's CPU, from the same run: benches/rivals/faces.py VIDEO

Both follow the face of the same frames, decoded before the clock starts, in alternating pairs (ours, MediaPipe, ours ..), each in a
process of its own on the same two cores. What counts is CPU time, user and system over all threads; wall time is stated as well. Ours
uploads what it looks at of every frame. A comparison only where our device is a software device on the same cores.

  benches/rivals/faces.py VIDEO --setup    installs MediaPipe (a venv) and builds examples/follow_faces first
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VENV = ROOT / "out" / "rivals" / "mediapipe"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--python", default=os.environ.get("MEDIAPIPE_PYTHON", str(VENV / "bin" / "python")),
                        help="a Python with mediapipe 0.10.14")
    parser.add_argument("--follow", default=str(ROOT / "target" / "release" / "examples" / "follow_faces"))
    parser.add_argument("--setup", action="store_true")
    return parser.parse_args()


def setup(opts):
    subprocess.run(["cargo", "build", "--release", "--example", "follow_faces"], cwd=ROOT, check=True)
    if not pathlib.Path(opts.python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([opts.python, "-m", "pip", "install", "--quiet", "mediapipe==0.10.14"], check=True)


def size(video):
    probe = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height", "-of", "csv=p=0", video]
    return subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip().split(",")[:2]


def measure(command):
    """The last line of JSON that `command` prints, on two cores."""
    done = subprocess.run(["taskset", "-c", "0,1", *command], capture_output=True, text=True, check=True)
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def main():
    opts = options()
    if opts.setup:
        setup(opts)
    width, height = size(opts.video)
    with tempfile.TemporaryDirectory() as folder:
        frames = str(pathlib.Path(folder) / "frames.rgb")
        decode = ["-frames:v", str(opts.frames), "-pix_fmt", "rgb24", "-f", "rawvideo", frames]
        subprocess.run(["ffmpeg", "-v", "error", "-i", opts.video, *decode], check=True)
        sides = {"ours": [opts.follow], "MediaPipe": [opts.python, str(HERE / "mediapipe_rival.py")]}
        rows = {side: [] for side in sides}
        for number in range(opts.pairs):
            for side, command in sides.items():
                rows[side].append(measure([*command, frames, width, height]))
            last = {side: rows[side][-1]["cpu_ms"] for side in sides}
            print(f"pair {number + 1}/{opts.pairs}: " + ", ".join(f"{side} {ms:.1f} CPU ms" for side, ms in last.items()), flush=True)
    median = {side: {key: statistics.median(row[key] for row in rows[side]) for key in ("cpu_ms", "ms", "found")} for side in sides}
    print(f"\n| {width}x{height} | CPU ms a frame | wall ms a frame | found of {opts.frames} |\n|---|---|---|---|")
    for side, row in median.items():
        print(f"| {side} | {row['cpu_ms']:.1f} | {row['ms']:.1f} | {row['found']:.0f} |")
    ratios = [median["MediaPipe"][key] / median["ours"][key] for key in ("cpu_ms", "ms")]
    print(f"| rate of ours over MediaPipe's | {ratios[0]:.2f} | {ratios[1]:.2f} | |")


main()
