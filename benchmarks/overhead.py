"""What the library adds to a training step: CPU time over the bare network's, on one thread.

    python benchmarks/overhead.py [--repeats 9] [--output benchmarks/results/NAME.json]

Ratios are taken within one run, library and bare network by turns, median of the repeats: other
work on the machine slows both.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

import nelbo
from nelbo import data, recipe


def cpu_seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def ratio(work, bare, repeats: int) -> dict[str, float]:
    work()
    bare()
    pairs = [(cpu_seconds(work), cpu_seconds(bare)) for _ in range(repeats)]
    return {
        "ratio": round(statistics.median(mine / floor for mine, floor in pairs), 3),
        "bare_seconds": round(statistics.median(floor for _, floor in pairs), 4),
    }


def write(results: dict, path: Path | None) -> None:
    """The results with what else decides them, on stdout and, where asked for, in a file."""
    made = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "nelbo": nelbo.__version__,
        **results,
    }
    text = json.dumps(made, indent=1)
    print(text)
    if path is not None:
        path.write_text(text + "\n")


def models():
    """The two recipes of the package."""
    yield "digits resnet, levels", recipe.build(recipe.read("digits"), (1, 8, 8), 17)
    yield "digits resnet, eps", recipe.build(recipe.read("digits-ddpm"), (1, 8, 8), 17)


def training(model, repeats: int) -> dict[str, float]:
    levels = data.load("digits:train").levels[:128]
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=0.0, fused=True)
    x, told = torch.randn(128, 1, 8, 8), torch.randn(128)

    def update(loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.network.train()
    return ratio(
        lambda: update(nelbo.loss(model, levels).mean()),
        lambda: update(model.network(x, told).square().mean()),
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {"help_seconds": help_seconds(options.repeats)}
    results["training_over_bare"] = {
        name: training(model, options.repeats) for name, model in models()
    }
    write(results, options.output)


if __name__ == "__main__":
    main()
