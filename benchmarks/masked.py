"""A masked model's orders against its own limit, paired, and the cost of estimates of the limit.

    python benchmarks/masked.py runs/digits-absorbing --images 200

Prints a JSON object a line: for each order and number of calls the exact bits/dim and how much it
is above the limit, with a 95 % interval (sampling of images); then the limit's variance times
evaluations with and without its control variate.
"""

import argparse
import json
import math
from dataclasses import replace

import torch

import nelbo
from nelbo.categorical.orders import read_order
from nelbo.model import in_order
from nelbo.model.model import no_controls

ORDERS = ("dispersed", "raster", "random:0", "random:1", "random:2")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--data", default="digits:test")
    arguments.add_argument("--images", type=int, default=200)
    arguments.add_argument("--calls", type=int, nargs="+", default=[16, 8, 4])
    arguments.add_argument("--each", type=int, default=24, help="evaluations of an image")
    options = arguments.parse_args()
    model = nelbo.load(options.model)
    images = nelbo.data.load(options.data).first(options.images)
    limit = model.in_the_limit()
    bound = nelbo.evaluate(limit, images, budget=options.each * len(images), check=False)
    for name in ORDERS:
        for calls in options.calls:
            ordered = in_order(model, read_order(name, model.shape), calls)
            found = nelbo.evaluate(ordered, images, check=False)
            above = (found.per_image.total - bound.per_image.total) / (model.dims * math.log(2))
            half = 1.96 * float(above.std()) / len(images) ** 0.5
            row = {"order": name, "calls": calls, "bits_per_dim": found.bits_per_dim}
            print(json.dumps({**row, "above_the_limit": float(above.mean()), "half": half}))
    for label, one in (("histograms", limit), ("none", replace(limit, controls=no_controls))):
        found = nelbo.evaluate(one, images, budget=options.each * len(images), check=False)
        se = found.unit.per_dim(found.monte_carlo.se, model.dims)
        cost = se**2 * found.network_evaluations
        print(json.dumps({"control": label, "bits_per_dim": found.bits_per_dim, "cost": cost}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
