"""`text-ar`, the control of `text`, trained for as much CPU time as a run of `text`: bits/byte.

    python benchmarks/text_control.py runs/text --folder runs/control [-o NAME.json]

What a step of each costs is measured in turns, on one thread; the control gets as many steps as
take the time of all steps of the run. The figure of `text` is an upper bound, in any order, that
of `text-ar` is the likelihood itself.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from timing import cpu_seconds, medians, write

import nelbo
from nelbo import formats
from nelbo.recipe import Recipe
from nelbo.tasks.train import train

FEW, MORE = 4, 24  # steps of two trainings, whose difference is the time of steps alone
BUDGET = 6000  # network evaluations of the bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of the recipe `text`")
    parser.add_argument("--folder", type=Path, default=Path("runs/control"))
    parser.add_argument("--repeats", type=int, default=4, help="of the time of a step")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    write(measured(options.run, options.folder, options.repeats), options.output)


def measured(
    run: Path, folder: Path, repeats: int, changes: Sequence[str] = (), budget: int = BUDGET
) -> dict[str, object]:
    """Both figures and their difference on the same windows, text minus text-ar."""
    recipe = formats.recipe_of(run)
    cost = medians([(_step("text-ar", changes), _step("text", changes)) for _ in range(repeats)])
    steps = max(1, round(recipe.training.steps / cost["ratio"]))
    print(f"a step of text-ar takes {cost['ratio']} of one of text: {steps} steps", flush=True)
    seconds = cpu_seconds(lambda: train(_of("text-ar", steps, changes), folder))
    models = [nelbo.load(run), nelbo.load(folder)]
    result = nelbo.compare(*models, recipe.data.test, budget=2 * budget).to_dict()
    names = ("text", "text-ar")
    weights = [sum(x.numel() for x in model.network.parameters()) for model in models]
    return {
        "CPU time of a step, text-ar over text": cost,
        "steps": dict(zip(names, (recipe.training.steps, steps), strict=True)),
        "CPU seconds of text-ar": round(seconds),
        "weights": dict(zip(names, weights, strict=True)),
        "comparison": result,
    }


def _step(name: str, changes: Sequence[str]) -> float:
    """CPU seconds of a step."""
    few, more = (_seconds(_of(name, steps, changes)) for steps in (FEW, MORE))
    return (more - few) / (MORE - FEW)


def _seconds(recipe: Recipe) -> float:
    with tempfile.TemporaryDirectory() as place:
        return cpu_seconds(lambda: train(recipe, Path(place) / "run"))


def _of(name: str, steps: int, changes: Sequence[str]) -> Recipe:
    return nelbo.recipe.read(name, [*changes, f"training.steps={steps}"])


if __name__ == "__main__":
    main()
