"""`text` and its control `text-ar`, of as many weights, trained for as long: bits/byte of one text.

    python benchmarks/text_control.py --seconds 1500 --folder runs/control

How many steps fit into the seconds follows from the time of a few. Prints a JSON object for each:
of `text` an upper bound in any order, of `text-ar` the likelihood itself.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nelbo
from nelbo.tasks.train import train

FEW, MORE = 4, 20  # steps of two trainings, whose difference is the time of steps alone
BUDGET = 6000  # network evaluations of the bound


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=1500.0)
    arguments.add_argument("--folder", type=Path, default=Path("runs/control"))
    options = arguments.parse_args()
    for name in ("text", "text-ar"):
        print(json.dumps(measured(name, options.seconds, options.folder)), flush=True)


def measured(
    name: str, seconds: float, folder: Path, changes: Sequence[str] = (), budget: int = BUDGET
) -> dict[str, object]:
    """What a recipe reaches in so many seconds of training."""
    with tempfile.TemporaryDirectory() as place:
        plan = enumerate((FEW, FEW, MORE))  # the first pays for what is loaded once
        _, few, more = (_seconds(name, n, Path(place) / str(i), changes) for i, n in plan)
    steps = max(1, round(seconds * (MORE - FEW) / (more - few)))
    took = _seconds(name, steps, folder / name, changes)
    model, recipe = nelbo.load(folder / name), nelbo.recipe.read(name, changes)
    result = nelbo.evaluate(model, recipe.data.test, budget=budget).to_dict()
    return {
        "recipe": name,
        "weights": sum(x.numel() for x in model.network.parameters()),
        "steps": steps,
        "seconds": took,
        **{key: result[key] for key in ("kind", "bits_per_byte", "ci95", "ci95_monte_carlo")},
    }


def _seconds(name: str, steps: int, folder: Path, changes: Sequence[str]) -> float:
    started = time.perf_counter()
    train(nelbo.recipe.read(name, [*changes, f"training.steps={steps}"]), folder)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
