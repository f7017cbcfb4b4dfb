"""What scripts/gpu-check.sh holds viseme to: the same operations by PyTorch on the GPU, f16, one line of JSON each: median
milliseconds of RUNS by CUDA events, after five that are not counted. With SHAPES, the file that scripts/demo-shapes.py GOLDEN FULL
wrote, the full-size keyframe UNet too, 14 frames of latents of SIDE: one forward and the guided step's three branches, eager and
under torch.compile. usage: torch_gpu.py [RUNS [SHAPES [SIDE]]]
"""
import json
import statistics
import sys

import torch
import torch.nn.functional as F

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
SHAPES = sys.argv[2] if len(sys.argv) > 2 else None
SIDE = int(sys.argv[3]) if len(sys.argv) > 3 else 64
# TFLOP of one branch of 14 frames with latents of 64x64; other sizes are given no rate.
FORWARD = 18.4e12 if SIDE == 64 else 0
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


def unet():
    import torch_unet

    torch.set_default_device("cuda")
    torch.set_default_dtype(torch.float16)
    network = torch_unet.Unet(SHAPES, SIDE)
    for name, branches in (("unet", 1), ("guided step", 3)):
        run, shape = network.forward(branches), f"{branches}x{torch_unet.FRAMES}x{SIDE}x{SIDE}x4"
        assert bool(torch.isfinite(run()).all()), "the rival's result is not finite: its time would not count"
        say(f"torch {name}, eager", shape, branches * FORWARD, run)
        say(f"torch {name}, compiled", shape, branches * FORWARD, torch.compile(run))


with torch.inference_mode():
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()}), flush=True)
    matmul(4096, 4096, 4096)
    conv(14, 64, 320)
    conv(14, 32, 640)
    attention(14, 5, 4096, 64)
    attention(14, 10, 1024, 64)
    attention(1, 1, 4096, 512)
    if SHAPES:
        unet()
