#!/usr/bin/env python3
"""Ours beside PyTorch, candle and burn on this machine's CPU, from the same run: benches/rivals/run.py

Each case is timed in alternating pairs (ours, rival, ours, rival ..), each in a process of its own, so that a busy minute of
the machine falls on both. What counts is CPU time, user and system over all threads; wall time is stated as well. Ours runs
on whatever device `viseme bench` picks: a comparison only where that is a software device on the same cores.

  benches/rivals/run.py                                all cases against all rivals that are installed
  benches/rivals/run.py --rivals torch --cases conv    only some
  benches/rivals/run.py --setup                        installs PyTorch (a venv), builds candle's and burn's side first

PyTorch and candle compute on the CPU itself; burn on Vulkan as ours does, on the device that it picks.

Results go to out/rivals/results.json after each case, so that a run that was stopped goes on where it was (--fresh starts
over), and as a table to out/rivals/results.md and standard output.
"""
import argparse
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "out" / "rivals"

# Name, what `viseme bench --filter` knows it by, runs in each process. A class or storage (-f23, -int8) is ours alone: rivals do
# the same work in their own way.
CASES = [
    ("matmul-1024", "matmul 1024 x 1024 x 1024", 10),
    ("matmul-2048", "matmul 2048 x 1280 x 1280", 5),
    ("matmul-2048-int8", "matmul, int8 2048 x 1280 x 1280", 5),
    ("conv-32", "conv 3x3, F(4,3) 14x32x32x320", 3),
    ("conv-32-f23", "conv 3x3, F(2,3) 14x32x32x320", 3),
    ("conv-64", "conv 3x3, F(4,3) 14x64x64x320", 2),
    ("temporal-conv", "conv 3x1, F(4,3) 1x14x1024x320", 5),
    ("group-norm", "group_norm 14336 x 320", 10),
    ("attention-1024", "attention 14 x 1024, 5 heads of 64", 3),
    ("attention-4096", "attention 14 x 4096, 5 heads of 64", 1),
    ("unet", "unet 14x16x16x4", 1),
]
# Rivals that are Rust crates in folders of their own.
RUST = ["candle", "burn"]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="pairs of each case")
    parser.add_argument("--cases", default="", help="only cases with this in their name")
    parser.add_argument("--rivals", default="torch,candle,burn", help="comma-separated")
    parser.add_argument("--viseme", default=str(ROOT / "target" / "release" / "viseme"))
    parser.add_argument("--python", default=os.environ.get("RIVAL_PYTHON", str(OUT / "venv" / "bin" / "python")),
                        help="a Python with PyTorch")
    for crate in RUST:
        parser.add_argument(f"--{crate}", default=str(HERE / crate / "target" / "release" / f"{crate}-rival"))
    parser.add_argument("--golden", default=os.environ.get("VISEME_GOLDEN"),
                        help="the folder of golden files, for the shapes of the full-size UNet [default: VISEME_GOLDEN]")
    parser.add_argument("--shapes", default=os.environ.get("VISEME_SHAPES"), help="those shapes, already written")
    parser.add_argument("--threads", type=int, default=2, help="of the rivals [default: 2]")
    parser.add_argument("--setup", action="store_true", help="install and build the rivals first")
    parser.add_argument("--fresh", action="store_true", help="measure again what is already there")
    return parser.parse_args()


def setup(opts):
    for crate in RUST:
        subprocess.run(["cargo", "build", "--release"], cwd=HERE / crate, check=True)
    if not pathlib.Path(opts.python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(OUT / "venv")], check=True)
        subprocess.run([opts.python, "-m", "pip", "install", "--quiet", "torch", "numpy"], check=True)


def measure(command, env):
    """The last line of JSON that `command` prints."""
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode < 0:
        raise RuntimeError(f"it crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        raise RuntimeError(f"exit code {done.returncode}: {last}" if done.returncode else "it measured nothing")
    row = json.loads(lines[-1])
    if row.get("cpu_ms") is None:
        raise RuntimeError("this system does not tell the CPU time of a process")
    return row


def ours(opts, name, title, runs):
    network = ["--networks", "--latent", "16", "--shapes", opts.shapes or ""] if name == "unet" else []
    return [opts.viseme, "bench", "--json", "--runs", str(runs), "--filter", title, *network]


def theirs(opts, rival, name, runs):
    start = {"torch": [opts.python, str(HERE / "torch_rival.py")], **{crate: [getattr(opts, crate)] for crate in RUST}}[rival]
    return [*start, name.removesuffix("-f23").removesuffix("-int8"), str(runs)]


def quartiles(values):
    """First quartile, median, third."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3


def table(results):
    lines = [
        "| case | rival | pairs | ours, CPU ms | rival, CPU ms | rival / ours, CPU (quartiles) | ours, wall ms | rival, wall ms "
        "| rival / ours, wall | ours, GFLOP per CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, title, _ in CASES:
        for key, entry in results.items():
            case, rival = key.split("/")
            if case != name:
                continue
            if "failed" in entry:
                lines.append(f"| {title} | {rival} | - | {entry['failed']} |" + " |" * 6)
                continue
            pairs = entry["pairs"]

            def three(pick, form):
                low, middle, high = quartiles([pick(pair) for pair in pairs])
                return form.format(middle) + " (" + form.format(low) + " to " + form.format(high) + ")"

            wall = [quartiles([pair[side]["ms"] for pair in pairs])[1] for side in ("ours", "theirs")]
            rate = quartiles([pair["ours"]["flops"] / pair["ours"]["cpu_ms"] / 1e6 for pair in pairs])[1]
            lines.append(
                f"| {title} | {rival} | {len(pairs)} | {three(lambda p: p['ours']['cpu_ms'], '{:.1f}')} "
                f"| {three(lambda p: p['theirs']['cpu_ms'], '{:.1f}')} "
                f"| {three(lambda p: p['theirs']['cpu_ms'] / p['ours']['cpu_ms'], '{:.2f}')} "
                f"| {wall[0]:.1f} | {wall[1]:.1f} | {wall[1] / wall[0]:.2f} | {rate:.1f} |"
            )
    return "\n".join(lines) + "\n"


def machine(opts):
    """What the figures belong to."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    device = subprocess.run([opts.viseme, "bench", "--filter", "no such case"], capture_output=True, text=True)
    name = (device.stdout.splitlines() or ["no device"])[0]
    return f"{cpu}, {os.cpu_count()} cores, {platform.platform()}; ours on {name}; commit {commit}; rivals with {opts.threads} threads, f32"


def main():
    opts = options()
    OUT.mkdir(parents=True, exist_ok=True)
    if opts.setup:
        setup(opts)
    store = OUT / "results.json"
    results = json.loads(store.read_text()) if store.exists() and not opts.fresh else {}
    if not opts.shapes and opts.golden:
        opts.shapes = str(OUT / "full.json")
        subprocess.run([sys.executable, ROOT / "scripts" / "demo-shapes.py", opts.golden, opts.shapes], check=True)
    env = os.environ | {"OMP_NUM_THREADS": str(opts.threads), "RAYON_NUM_THREADS": str(opts.threads),
                        "RIVAL_THREADS": str(opts.threads), "VISEME_SHAPES": opts.shapes or ""}
    print(machine(opts), flush=True)
    for name, title, runs in CASES:
        for rival in opts.rivals.split(","):
            key = f"{name}/{rival}"
            done = len(results.get(key, {}).get("pairs", []))
            if opts.cases not in name or done >= opts.pairs or (name == "unet" and rival in RUST):
                continue
            if name == "unet" and not opts.shapes:
                print(f"{key}: skipped, --golden or --shapes is not given", flush=True)
                continue
            entry = results[key] = {"pairs": results.get(key, {}).get("pairs", [])}
            try:
                for number in range(done, opts.pairs):
                    pair = {"ours": measure(ours(opts, name, title, runs), env),
                            "theirs": measure(theirs(opts, rival, name, runs), env), "at": time.time()}
                    entry["pairs"].append(pair)
                    cpu = [pair[side]["cpu_ms"] for side in ("ours", "theirs")]
                    print(f"{key} {number + 1}/{opts.pairs}: ours {cpu[0]:.1f}, {rival} {cpu[1]:.1f} CPU ms, "
                          f"ratio {cpu[1] / cpu[0]:.2f}", flush=True)
                    store.write_text(json.dumps(results, indent=1))
            except (OSError, RuntimeError) as error:
                print(f"{key}: failed: {error}", flush=True)
                if not entry["pairs"]:
                    results[key] = {"failed": str(error).replace("|", "/")}
            store.write_text(json.dumps(results, indent=1))
    text = machine(opts) + "\n\n" + table(results)
    (OUT / "results.md").write_text(text)
    print("\n" + text)


main()
