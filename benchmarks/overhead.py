"""What the library adds to a training step: CPU time over the bare network's, on one thread.

    python benchmarks/overhead.py [--repeats 9] [--output benchmarks/results/NAME.json]

Ratios are taken within one run, library and bare network by turns, median of the repeats: other
work on the machine slows both.
"""

import statistics
import subprocess
import sys
import time

import torch
from timing import options, ratio, write

import nelbo
from nelbo import data, recipe


def models():
    """The two recipes of the package."""
    yield "digits resnet, levels", recipe.build(recipe.read("digits"), (1, 8, 8), 17)
    yield "digits resnet, eps", recipe.build(recipe.read("digits-ddpm"), (1, 8, 8), 17)


def training(model, repeats: int) -> dict[str, float]:
    levels = data.load("digits:train").levels[:128]
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=0.0, fused=True)
    x, time_input = torch.randn(128, 1, 8, 8), torch.randn(128)

    def update(loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.network.train()
    return ratio(
        lambda: update(nelbo.loss(model, levels).mean()),
        lambda: update(model.network(x, time_input).square().mean()),
        3 * repeats,
    )


def help_seconds(repeats: int) -> float:
    command = [sys.executable, "-m", "nelbo", "--help"]

    def once() -> float:
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    return round(statistics.median(once() for _ in range(repeats)), 3)


def main() -> None:
    chosen = options(__doc__, repeats=9)
    results = {"help_seconds": help_seconds(chosen.repeats)}
    results["training_over_bare"] = {
        name: training(model, chosen.repeats) for name, model in models()
    }
    write(results, chosen.output)


if __name__ == "__main__":
    main()
