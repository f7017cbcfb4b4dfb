"""What scripts/gpu-check.sh holds viseme to: the same operations by PyTorch on the GPU, f16, one line of JSON each: median
milliseconds of RUNS by CUDA events, after five that are not counted. usage: torch_gpu.py [RUNS]
"""
import json
import statistics
import sys

import torch
import torch.nn.functional as F

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
torch.manual_seed(1)
# cuDNN picks its fastest algorithm, as it would in use.
torch.backends.cudnn.benchmark = True


def half(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.float16)


def milliseconds(run):
    for _ in range(5):
        run()
    times = []
    for _ in range(RUNS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def say(kernel, shape, flops, run):
    ms = milliseconds(run)
    print(json.dumps({"gflops": flops / ms / 1e6, "kernel": kernel, "ms": ms, "shape": shape}, separators=(",", ":")), flush=True)


def matmul(rows, depth, columns):
    x, w = half(rows, depth), half(columns, depth)
    say("torch linear", f"{rows}x{depth}x{columns}", 2 * rows * depth * columns, lambda: F.linear(x, w))


def conv(images, side, channels):
    x = half(images, channels, side, side).contiguous(memory_format=torch.channels_last)
    w = (half(channels, channels, 3, 3) * 0.02).contiguous(memory_format=torch.channels_last)
    flops = 2 * 9 * images * side * side * channels * channels
    say("torch conv 3x3", f"{images}x{side}x{side}x{channels}", flops, lambda: F.conv2d(x, w, padding=1))


def attention(batches, heads, tokens, head_dim):
    q, k, v = (half(batches, heads, tokens, head_dim) for _ in range(3))
    flops = 4 * batches * heads * tokens * tokens * head_dim
    say("torch sdpa", f"{batches}x{heads}x{tokens}x{head_dim}", flops, lambda: F.scaled_dot_product_attention(q, k, v))


with torch.inference_mode():
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()}), flush=True)
    matmul(4096, 4096, 4096)
    conv(14, 64, 320)
    conv(14, 32, 640)
    attention(14, 5, 4096, 64)
    attention(14, 10, 1024, 64)
    attention(1, 1, 4096, 512)
