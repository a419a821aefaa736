"""A masked model's orders against its own limit, paired, and the cost of estimates of the limit.

    python benchmarks/masked.py runs/digits-absorbing --images 200

For each order and number of calls the exact bits/dim, and for any order the bound, and how much it
is above the limit, with a 95 % interval over images; dispersed less raster, and less the mean of
the random orders, paired too; then the limit's variance times evaluations with and without its
control variate.
"""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from timing import write

import nelbo
from nelbo.categorical.orders import read_order
from nelbo.model import in_order

ORDERS = ("dispersed", "raster", "random:0", "random:1", "random:2")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--data", default="digits:test")
    arguments.add_argument("--images", type=int, default=200)
    arguments.add_argument("--calls", type=int, nargs="+", default=[64, 16, 8, 4])
    arguments.add_argument("--each", type=int, default=24, help="evaluations of an image")
    arguments.add_argument("--output", type=Path)
    options = arguments.parse_args()
    model = nelbo.load(options.model)
    images = nelbo.data.load(options.data).first(options.images)
    limit, budget = model.in_the_limit(), options.each * len(images)
    bound = nelbo.evaluate(limit, images, budget=budget, check=False)
    limit_bits = bound.per_image.total / (model.dims * math.log(2))
    rows, beside, costs = [], [], {}
    for calls in options.calls:
        orders = [in_order(model, read_order(name, model.shape), calls) for name in ORDERS]
        results = [nelbo.evaluate(one, images, check=False) for one in orders]
        results.append(nelbo.evaluate(limit.every(calls), images, budget=budget, check=False))
        bits = [result.per_image.total / (model.dims * math.log(2)) for result in results]
        for name, result, own in zip((*ORDERS, "any"), results, bits, strict=True):
            row = {"order": name, "calls": calls, "bits_per_dim": result.bits_per_dim}
            rows.append(row | paired("above_the_limit", own - limit_bits))
            print(rows[-1], file=sys.stderr, flush=True)
        dispersed, raster, *drawn, _ = bits
        drawn = torch.stack(drawn).mean(0)
        beside.append(
            {"calls": calls}
            | paired("dispersed_minus_raster", dispersed - raster, "half_raster")
            | paired("dispersed_minus_random", dispersed - drawn, "half_random")
        )
    plain = replace(limit)
    object.__setattr__(plain, "controls", lambda levels, context: [])
    without = nelbo.evaluate(plain, images, budget=budget, check=False)
    for label, result in (("histograms", bound), ("none", without)):
        se = result.unit.per_dim(result.monte_carlo.se, model.dims)
        cost = se**2 * result.network_evaluations
        costs[label] = {"bits_per_dim": result.bits_per_dim, "cost": cost}
    about = {"model": model.name, "images": len(images), "evaluations of an image": options.each}
    results = {"orders": rows, "dispersed beside others": beside}
    write({**about, **results, "the limit, by its control": costs}, options.output)


def paired(name: str, differences: torch.Tensor, half: str = "half") -> dict[str, float]:
    """The mean of differences of the same images, and half of its 95 % interval."""
    width = 1.96 * float(differences.std()) / len(differences) ** 0.5
    return {name: float(differences.mean()), half: width}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
