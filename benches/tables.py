#!/usr/bin/env python3
"""Measures what RESULTS.md says of kernels, limits, host overhead and growth, and prints its tables: benches/tables.py

The drawings are written beside this file, the raw rows to out/bench/*.jsonl. A machine that is otherwise idle, please; then
benches/rivals/run.py for the comparison with other software.
"""
import argparse
import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = ROOT / "out" / "bench"


def measure(viseme, name, *options):
    """The rows that `viseme bench` prints, kept in a file as well."""
    done = subprocess.run([viseme, "bench", "--json", *options], stdout=subprocess.PIPE, text=True, check=True)
    (OUT / f"{name}.jsonl").write_text(done.stdout)
    return [json.loads(line) for line in done.stdout.splitlines()]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    print("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")


def number(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viseme", default=str(ROOT / "target" / "release" / "viseme"))
    parser.add_argument("--runs", default="5", help="of each case; the median counts")
    parser.add_argument("--filter", default="", help="only cases with this in their name and shape; no growth")
    opts = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    drawing = OUT / "roofline.svg" if opts.filter else HERE / "roofline.svg"
    rows = measure(opts.viseme, "kernels", "--ceiling", "--plot", str(drawing), "--runs", opts.runs, "--filter", opts.filter)

    limits = [row for row in rows if "ceiling" in row]
    table(["limit", "rate"], [
        [row["ceiling"], f"{row['rate']:.1f} {row['unit']}" if "rate" in row else f"none: {row['missing']}"] for row in limits
    ])
    cases = [row for row in rows if "kernel" in row and row["us_per_dispatch"] is None]
    table(["kernel", "shape", "ms", "CPU ms", "GFLOP/s", "GB/s", "peak MiB", "share of the limit"], [
        [row["kernel"], row["shape"], number(row["ms"], 2), number(row["cpu_ms"], 2), number(row["gflops"]),
         number(row["gbytes"], 2), number(row["peak_bytes"] / 2**20),
         f"{100 * row['share']:.1f} % ({row['bound_by']})" if row["share"] else "-"] for row in cases
    ])
    table(["host overhead", "us each"], [
        [row["shape"], number(row["us_per_dispatch"], 2)] for row in rows if row.get("us_per_dispatch") is not None
    ])
    if opts.filter:
        return
    rows = measure(opts.viseme, "growth", "--growth", "--plot", str(HERE / "growth.svg"), "--runs", opts.runs)
    table(["demo UNet, frames x latents", "ms", "CPU ms", "peak MiB"], [
        [row["shape"], number(row["ms"]), number(row["cpu_ms"]), number(row["peak_bytes"] / 2**20)]
        for row in rows if "kernel" in row
    ])
    table(["growth with", "time", "operations"], [
        [row["growth"], f"size^{row['power']:.2f}", f"size^{row['power_of_flops']:.2f}"] for row in rows if "growth" in row
    ])


main()
