"""What optimal steps, variances and decoder are worth on trained runs, with paired intervals.

    python benchmarks/improve.py RUN... [--steps 20 50 100] [--output benchmarks/results/NAME.json]

For each number of steps the bound of the improved model is set beside that of the run; on the same
steps with the same V_1, beside those of the small and the large variance; and beside that of one
optimal variance for each t, and for each t and dimension. All of it on the run's test data, the
fitting on its training data alone.
"""

import argparse
from pathlib import Path

from timing import write

import nelbo
from nelbo.formats import recipe_of
from nelbo.gaussian.variance import large, small
from nelbo.model import improved
from nelbo.tasks.compare import compare
from nelbo.tasks.improve import improve


def variances(model, better, train, seed):
    """The model on the same steps with other variances, by name."""
    plan = better.plan
    schedule = better.model.chain.q.schedule
    V_1 = better.variance.V_1
    others = {"small": small(schedule, V_1), "large": large(schedule, V_1)}
    models = {name: improved(model, {**plan, "variance": name}, V) for name, V in others.items()}
    for per in ("time", "dimension"):
        models[f"{per}, at the best steps for it"] = improve(
            model, train, steps=len(plan["steps"]), per=per, seed=seed
        ).model
    return models


def row(a, b, images, precision, seed):
    """A, B and A - B in bits/dim, each with its interval (sampling of images)."""
    tree = compare(a, b, images, precision=precision, seed=seed).to_dict()
    return {
        "A": [tree["a"]["bits_per_dim"], *tree["a"]["ci95"]],
        "B": [tree["b"]["bits_per_dim"], *tree["b"]["ci95"]],
        "A - B": [tree["bits_per_dim"], *tree["ci95"]],
        "network evaluations": tree["network_evaluations"],
    }


def rows(run, steps, precision, seed):
    """(what is compared, the figures) for each number of steps."""
    model, data = nelbo.load(run), recipe_of(run).data
    train, test = (nelbo.data.load(spec, levels=model.grid.n) for spec in (data.train, data.test))
    for count in steps:
        better = improve(model, train, steps=count, seed=seed)
        yield (
            f"{count} steps, against all {model.T}",
            row(better.model, model, test, precision, seed),
        )
        for name, other in variances(model, better, train, seed).items():
            first = row(better.model, other, test, precision, seed)
            yield f"{count} steps, optimal, against {name}", first


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--precision", type=float, default=0.004)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = {}
    for run in arguments.runs:
        for name, figures in rows(run, arguments.steps, arguments.precision, arguments.seed):
            a, b, difference = (figures[key] for key in ("A", "B", "A - B"))
            half = (difference[2] - difference[1]) / 2
            label = f"{run.name}: {name}"
            print(
                f"{label:70} {a[0]:.4f} - {b[0]:.4f} = {difference[0]:+.4f} ± {half:.4f}",
                flush=True,
            )
            results[label] = figures
    write(results, arguments.output)


if __name__ == "__main__":
    main()
