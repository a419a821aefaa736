"""Flow matching and EDM beside a DDPM and `digits`, all in the limit of infinitely many steps.

    python benchmarks/paths.py RUNS -o benchmarks/results/NAME.json

RUNS has the folders digits, digits-ddpm, digits-edm and digits-flow. The first two, whose networks
receive log SNR, are wrapped along a path, the others are models of one. For each: the limit, the
evaluations that ± 0.01 bits/dim (Monte Carlo) takes with control variates and without, chains of
100, 1,000 and 10,000 steps, and 20 improved steps; and the difference from the control, paired.
Improvement sees training images alone.
"""

import argparse
from copy import copy
from pathlib import Path

import torch
from timing import write

import nelbo
from nelbo.tasks.improve import improve

BUDGET = 8000  # evaluations behind each figure
CHAINS = (100, 1000, 10_000)
FEW, CANDIDATES = 20, 100  # steps of an improved chain, and those that it may choose from
CONTROL, OTHERS = "digits-ddpm", ("digits-edm", "digits-flow", "digits")
LABELS = ("the limit", f"{FEW} steps, improved")
AS_TRAINED = {"digits": ("levels", (9.2, -9.0)), "digits-ddpm": ("eps", (6.9, -9.0))}


def limit_of(folder, images):
    """The run's model in the limit."""
    model, name = nelbo.load(folder), folder.name
    if name not in AS_TRAINED:
        return model
    predicts, ends = AS_TRAINED[name]
    return nelbo.wrap(
        model.called,
        path="cosine",
        predicts=predicts,
        time_input="log-snr",
        scale="unit",
        log_snr=ends,
        clip=None if predicts == "levels" else True,
        data=images,
        name=f"{name} in the limit",
    )


def figure(result):
    """Bits/dim with both half-widths."""
    return {
        "bits/dim": round(result.bits_per_dim, 4),
        "sampling of images": round(result.half_width(result.total), 4),
        "Monte Carlo": round(result.half_width(result.monte_carlo), 4),
        "evaluations": result.network_evaluations,
        "L_0": round(result.to_dict()["terms"]["L_0"]["bits_per_dim"], 4),
    }


def needs(result, dims):
    """Evaluations for a 95 % Monte Carlo half-width of 0.01 bits/dim, by variance x evaluations."""
    se = result.unit.per_dim(result.monte_carlo.se, dims)
    return round(se**2 * result.network_evaluations * (1.96 / 0.01) ** 2)


def study(model, better, test):
    """All that is said of one model and of its improved chain."""
    result = nelbo.evaluate(model, test, budget=BUDGET)
    alone = copy(model)
    object.__setattr__(alone, "controls", lambda levels, context: [])
    bare = nelbo.evaluate(alone, test, budget=BUDGET)
    return {
        "the limit": figure(result),
        "evaluations for 0.01, with the controls": needs(result, model.dims),
        "evaluations for 0.01, without": needs(bare, model.dims),
        "chains": {
            steps: figure(nelbo.evaluate(model.every(steps), test, budget=BUDGET))
            for steps in CHAINS
        },
        f"{FEW} steps, improved": figure(nelbo.evaluate(better, test, budget=BUDGET)),
    }


def paired(a, b, test):
    """A - B in bits/dim, and the half-width of its interval (sampling of images)."""
    tree = nelbo.compare(a, b, test, budget=2 * BUDGET).to_dict()
    low, high = tree["ci95"]
    return [round(tree["bits_per_dim"], 4), round((high - low) / 2, 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", nargs="+", default=[CONTROL, *OTHERS])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (nelbo.data.load(f"digits:{split}") for split in ("train", "test"))
    results, made = {}, {}
    for name in dict.fromkeys((CONTROL, *arguments.only)):
        limit = limit_of(arguments.runs / name, test)
        made[name] = limit, improve(limit, train, steps=FEW, candidates=CANDIDATES).model
        if name not in arguments.only:
            continue
        results[name] = study(*made[name], test)
        if name != CONTROL:
            for label, a, b in zip(LABELS, made[name], made[CONTROL], strict=True):
                results[name][f"minus {CONTROL}, {label}"] = paired(a, b, test)
        print(name, results[name], flush=True)
    write(results, arguments.output)


if __name__ == "__main__":
    main()
