"""MediaPipe's FaceMesh with refined landmarks following the largest face through raw frames, on the CPU: `mediapipe_rival.py FRAMES WIDTH
HEIGHT [POINTS]`, as examples/follow_faces.rs. Prints the median wall and CPU milliseconds of a frame as one line of JSON; POINTS receives
f32 [frames, 478, 2], NaN where there is no face.
"""
import json
import statistics
import sys
import time

import mediapipe
import numpy

path, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
frames = numpy.fromfile(path, numpy.uint8).reshape(-1, height, width, 3)
tracker = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True)
tracker.process(frames[0])

cpu_ms, wall_ms, points = [], [], numpy.full((len(frames), 478, 2), numpy.nan, numpy.float32)
for index, frame in enumerate(frames):
    cpu, wall = time.process_time(), time.perf_counter()
    faces = tracker.process(frame).multi_face_landmarks
    cpu_ms.append(1e3 * (time.process_time() - cpu))
    wall_ms.append(1e3 * (time.perf_counter() - wall))
    if faces:
        points[index] = [[point.x * width, point.y * height] for point in faces[0].landmark]
if len(sys.argv) > 4:
    points.tofile(sys.argv[4])
found = int(numpy.isfinite(points[:, 0, 0]).sum())
print(json.dumps({"cpu_ms": statistics.median(cpu_ms), "ms": statistics.median(wall_ms), "frames": len(frames), "found": found}))
