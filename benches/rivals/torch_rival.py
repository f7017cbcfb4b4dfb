"""One case of run.py by PyTorch on the CPU, f32: `torch_rival.py CASE RUNS` prints the median wall and CPU
milliseconds of RUNS, after one that is not counted, as one line of JSON. `unet` needs VISEME_SHAPES, the file that scripts/demo-shapes.py GOLDEN FULL
wrote, and is the plain reference network of tests/reference/networks.py.
"""
import json
import os
import pathlib
import statistics
import sys
import time

THREADS = int(os.environ.get("RIVAL_THREADS", "2"))
# Read by the libraries below when they are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

torch.set_num_threads(THREADS)
torch.manual_seed(1)


def matmul(rows, depth, columns):
    x, w = torch.randn(rows, depth), torch.randn(columns, depth)
    return lambda: F.linear(x, w)


def conv(shape, kernel):
    """Channels-last or not, whichever is faster: the rival at its best."""
    channels = shape[1]
    x, w = torch.randn(shape), torch.randn(channels, channels, *kernel) * 0.02
    padding = [k // 2 for k in kernel]
    runs = [
        lambda x=x.contiguous(memory_format=order), w=w.contiguous(memory_format=order): F.conv2d(x, w, padding=padding)
        for order in (torch.contiguous_format, torch.channels_last)
    ]
    return min(runs, key=lambda run: min(timed(run)[0] for _ in range(2)))


def group_norm():
    x, w, b = torch.randn(14, 320, 32, 32), torch.randn(320), torch.randn(320)
    return lambda: F.silu(F.group_norm(x, 32, w, b, 1e-5))


def attention(tokens):
    q, k, v = (torch.randn(14, 5, tokens, 64) for _ in range(3))
    return lambda: F.scaled_dot_product_attention(q, k, v)


def unet(side=16, frames=14):
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "reference"))
    import networks

    shapes = json.loads(pathlib.Path(os.environ["VISEME_SHAPES"]).read_text())["keyframe"]
    # Small weights keep a deep network of random ones finite; what they are does not change the time.
    tensors = {name: torch.randn(shape) * 0.02 for name, shape in shapes.items() if name.startswith("model.")}
    audio = torch.randn(1, frames, tensors["model.diffusion_model.label_emb.0.0.weight"].shape[1])
    x, concat, c_noise = torch.randn(frames, 4, side, side), torch.randn(1, 4, side, side), torch.full((frames,), 0.5)
    image_only = torch.zeros(1, frames)
    return lambda: networks.wrapped_unet(tensors, x, c_noise, concat, audio, image_only, 64)[0]


CASES = {
    "matmul-1024": lambda: matmul(1024, 1024, 1024),
    "matmul-2048": lambda: matmul(2048, 1280, 1280),
    "conv-32": lambda: conv((14, 320, 32, 32), (3, 3)),
    "conv-64": lambda: conv((14, 320, 64, 64), (3, 3)),
    "temporal-conv": lambda: conv((1, 320, 14, 1024), (3, 1)),
    "group-norm": group_norm,
    "attention-1024": lambda: attention(1024),
    "attention-4096": lambda: attention(4096),
    "unet": unet,
}


def timed(run):
    """(CPU, wall) seconds; CPU over all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


@torch.inference_mode()
def main():
    name, runs = sys.argv[1], int(sys.argv[2])
    run = CASES[name]()
    result = run()
    assert bool(torch.isfinite(result).all()), "the rival's result is not finite: its time would not count"
    times = [timed(run) for _ in range(runs)]
    cpu, wall = (1e3 * statistics.median(part) for part in zip(*times))
    print(json.dumps({"cpu_ms": cpu, "ms": wall, "elements": result.numel()}))


main()
