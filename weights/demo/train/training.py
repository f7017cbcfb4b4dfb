"""What all stages share: the loop, its checkpoints, the average of the weights, and the files at the end."""

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WARMUP = 200
EMA = 0.998
CHECKPOINT_S = 120


def loop(
    name: str, modules: nn.Module, loss_of: Callable[[int, torch.Generator], Tensor], steps: int, rate: float, work: Path
) -> None:
    """Minimises `loss_of(step, generator)` over `steps` with AdamW under a cosine of its learning `rate`; leaves the average of the
    weights in `modules`. Goes on from WORK/NAME.pt where that is; WORK/NAME.csv gets a line of every 20 steps."""
    parameters = [p for p in modules.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, foreach=True)
    checkpoint, curve = work / f"{name}.pt", work / f"{name}.csv"
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        average, first = state["average"], state["step"]

    started, saved, sums = time.monotonic(), time.monotonic(), []
    for step in range(first, steps):
        warm = min(1.0, (step + 1) / WARMUP)
        cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item())
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * (0.02 + 0.98 * cosine)
        # The same whether the run was killed in between or not.
        generator = torch.Generator().manual_seed(step)
        loss = loss_of(step, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay = min(EMA, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        sums.append(loss.item())

        if (step + 1) % 20 == 0 or step + 1 == steps:
            mean = sum(sums) / len(sums)
            sums = []
            seconds = time.monotonic() - started
            left = seconds / (step + 1 - first) * (steps - step - 1)
            with open(curve, "a", newline="") as file:
                csv.writer(file).writerow([step + 1, f"{mean:.6f}"])
            if (step + 1) % 100 == 0:
                print(f"{name}: step {step + 1} of {steps}, loss {mean:.4f}, {seconds / 60:.1f} min, {left / 60:.1f} to go", flush=True)
        if time.monotonic() - saved > CHECKPOINT_S or step + 1 == steps:
            saved = time.monotonic()
            state = {"modules": modules.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".part"))
            os.replace(checkpoint.with_suffix(".part"), checkpoint)

    with torch.no_grad():
        for parameter, mean in zip(parameters, average):
            parameter.copy_(mean)


def write(path: Path, tensors: dict[str, Tensor], config: dict) -> None:
    """`tensors` in f16 under their published names, `config` in the metadata. Errors: a value that f16 does not hold."""
    halves = {name: value.detach().to(torch.float16).contiguous() for name, value in tensors.items()}
    wrong = [name for name, value in halves.items() if not value.isfinite().all()]
    if wrong:
        raise ValueError(f"{path}: not finite in f16: {', '.join(wrong)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(halves, part, {"config": json.dumps(config)} if config else None)
    os.replace(part, path)
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")
