"""What the library adds to the network: CPU time over that of the bare network, on one thread.

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
from torch import nn

import nelbo
from nelbo import data, recipe
from nelbo.bound.estimators import Stratified
from nelbo.tasks.evaluate import evaluate

ROWS = 4096


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


def models():
    """The two recipes of the package, and the plain one with a small perceptron in its place."""
    yield "digits resnet, levels", recipe.build(recipe.read("digits"), (1, 8, 8), 17)
    plain = recipe.build(recipe.read("digits-ddpm"), (1, 8, 8), 17)
    yield "digits resnet, eps", plain
    layers = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(),
        nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 64), nn.Unflatten(1, (1, 8, 8)),
    )  # fmt: skip
    plain = recipe.build(recipe.read("digits-ddpm"), (1, 8, 8), 17)
    plain.network.forward = lambda x_t, told: layers(x_t)
    yield "perceptron 0.2M, eps", plain


def evaluation(model, repeats: int) -> dict[str, float]:
    images = data.load("digits:test").first(16)
    strata = ROWS // (2 * len(images)) - 1
    rows = 2 * len(images) * Stratified(strata).evaluations(model.T)
    batches = [torch.randn(256, 1, 8, 8) for _ in range(rows // 256)]
    told = torch.randn(256)

    def bare():
        model.network.eval()
        with torch.inference_mode():
            for batch in batches:
                model.network(batch, told)

    return ratio(lambda: evaluate(model, images, budget=rows, batch_size=256), bare, repeats)


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
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "nelbo": nelbo.__version__,
        "help_seconds": help_seconds(options.repeats),
        "evaluation_over_bare": {},
        "training_over_bare": {},
    }
    for name, model in models():
        results["evaluation_over_bare"][name] = evaluation(model, options.repeats)
        if "resnet" in name:
            results["training_over_bare"][name] = training(model, options.repeats)
    text = json.dumps(results, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
