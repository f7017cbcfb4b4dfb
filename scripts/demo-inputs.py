"""Makes examples/demo: a short video of a portrait that moves a little, speech, and landmarks.

The landmarks are the portrait's, placed by hand and moved as it moves. Tests take them as a face at hand; the demo itself finds its face.
Needs scikit-image, pillow, ffmpeg and espeak-ng; run once, its output is committed.
The portrait is NASA's picture of Eileen Collins, public domain, from scikit-image's data.
"""
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

OUT = pathlib.Path(__file__).parent.parent / "examples" / "demo"
SIZE, FPS, SECONDS = 320, 25, 3
TEXT = "Hello! This runs on any graphics card, and on none."

# 68 landmarks (iBUG order), placed and checked by eye on the region (150, 20) to (310, 240) of the portrait, enlarged 937/160 times.
ENLARGED, CORNER = 937 / 160, (150, 20)
POINTS = [
    (190, 500), (188, 570), (190, 640), (200, 705), (222, 770), (258, 830), (305, 880), (358, 915), (425, 928),
    (495, 912), (552, 878), (602, 832), (640, 780), (668, 720), (686, 655), (695, 585), (698, 515),
    (230, 418), (262, 402), (300, 398), (338, 405), (372, 422),
    (520, 430), (560, 420), (600, 420), (640, 430), (668, 448),
    (432, 470), (430, 520), (428, 570), (430, 615), (380, 640), (405, 652), (432, 658), (462, 655), (490, 645),
    (262, 472), (290, 456), (328, 456), (356, 480), (326, 492), (288, 488),
    (518, 490), (546, 470), (584, 470), (618, 488), (588, 504), (548, 502),
    (314, 703), (355, 702), (402, 702), (430, 708), (458, 706), (505, 708), (550, 712), (515, 755), (470, 782),
    (430, 788), (390, 780), (350, 752),
    (325, 710), (385, 715), (430, 722), (475, 718), (542, 716), (478, 752), (430, 757), (385, 750),
]


def motion(t):
    """Portrait pixels to video pixels at time t (s), as a 2x3 affine map: a slow nod and sway."""
    angle = math.radians(2.5 * math.sin(2 * math.pi * t / 2.6))
    scale = 1.25 + 0.02 * math.sin(2 * math.pi * t / 1.9)
    shift = (SIZE / 2 + 6 * math.sin(2 * math.pi * t / 2.2), SIZE / 2 + 4 * math.sin(2 * math.pi * t / 1.5))
    centre = np.array([225.0, 128.0])
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([linear, np.array(shift) - linear @ centre])


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    portrait = Image.fromarray(data.astronaut())
    points = np.array(POINTS) / ENLARGED + CORNER
    encoder = subprocess.Popen(
        ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE}x{SIZE}", "-r", str(FPS),
         "-i", "-", "-vf", "scale=out_color_matrix=bt709:out_range=limited", "-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p",
         "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv", "-bitexact", str(OUT / "face.mp4")],
        stdin=subprocess.PIPE)
    frames = []
    for index in range(FPS * SECONDS):
        forward = motion(index / FPS)
        inverse = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
        # PIL maps output to input, with pixel centres at halves.
        picture = portrait.transform((SIZE, SIZE), Image.AFFINE, inverse.ravel(), Image.BICUBIC)
        frames.append(np.round(points @ forward[:, :2].T + forward[:, 2], 2).tolist())
        encoder.stdin.write(picture.tobytes())
        if "--check" in sys.argv and index % 18 == 0:
            draw = ImageDraw.Draw(picture)
            for x, y in frames[-1]:
                draw.ellipse([x - 1, y - 1, x + 1, y + 1], fill=(0, 255, 0))
            picture.resize((SIZE * 2, SIZE * 2)).save(f"/tmp/check{index}.png")
    encoder.stdin.close()
    if encoder.wait():
        sys.exit("ffmpeg failed")
    (OUT / "landmarks.json").write_text(json.dumps({"width": SIZE, "height": SIZE, "frames": frames}, separators=(",", ":")) + "\n")
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "165", "-w", str(OUT / "speech.wav"), TEXT], check=True)


main()
