"""What the top of log SNR costs a network on a path, and what `improve` makes of it.

    python benchmarks/path_ends.py FLOW EDM ... -o benchmarks/results/NAME.json

Each a run on a path. On the test images: the limit from several tops, where a decoder of variance
1/SNR takes over, and an improved chain of as many steps as help, whose top and V_1 are chosen on
training images, paired with the limit from the recipe's own top.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from paths import CANDIDATES, figure
from timing import write

import nelbo
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.gaussian.log_snr import FixedLogSNR
from nelbo.tasks.improve import improve

TOPS, BUDGET = (6.0, 8.0), 4000


def from_top(model, top):
    """The limit between another log SNR and the model's last."""
    own, last = model.fixed, float(model.fixed.log_snr.ends()[1])
    parts = {"parametrization": own.parametrization, "decoder": own.emission, "clip": own.clip}
    fixed = ContinuousGaussian(own.network, FixedLogSNR(top, last), **parts)
    return replace(model, fixed=fixed, chain=fixed.along(fixed.log_snr.schedule(model.even)))


def study(model, train, test):
    """Of one model."""

    def measured(one):
        first = one.log_snr[1]
        about = {"log SNR first": round(float(first), 3), "V_1": one.facts["V_1"]}
        return about | figure(nelbo.evaluate(one, test, budget=BUDGET))

    rows = {"the limit": measured(model)}
    rows |= {f"the limit from {top:g}": measured(from_top(model, top)) for top in TOPS}
    better = improve(model, train, candidates=CANDIDATES).model
    difference = nelbo.compare(better, model, test, budget=2 * BUDGET).to_dict()
    low, high = difference["ci95"]
    rows["improved"] = measured(better) | {
        "steps": better.T,
        "minus the limit": [round(difference["bits_per_dim"], 4), round((high - low) / 2, 4)],
    }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (nelbo.data.load(f"digits:{split}") for split in ("train", "test"))
    results = {}
    for run in arguments.runs:
        model = nelbo.load(run)
        results[model.name] = study(model, train, test)
        print(model.name, results[model.name], flush=True)
    write(results, arguments.output)


if __name__ == "__main__":
    main()
