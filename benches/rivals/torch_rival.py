"""One case of run.py by PyTorch on the CPU, f32: `torch_rival.py CASE RUNS` prints the median wall and CPU
milliseconds of RUNS, after one that is not counted, as one line of JSON. `unet` needs VISEME_SHAPES, the file that scripts/demo-shapes.py GOLDEN FULL
wrote, and is the network of torch_unet.py.
"""
import json
import os
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


def unet(side=16):
    import torch_unet

    return torch_unet.Unet(os.environ["VISEME_SHAPES"], side).forward()


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
