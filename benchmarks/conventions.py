"""What each convention changes of the figure of a plain eps DDPM, with paired intervals.

    python benchmarks/conventions.py RUN [--budget 30000] [--output benchmarks/results/NAME.json]

RUN is a run of digits-ddpm. One convention at a time is another than in the run; everything else,
the weights, images, times and noise, is the same. Data that are other images, and a range that is
not the one of the training, have figures of their own and no difference.
"""

import argparse
from pathlib import Path

import torch
from overhead import write

import nelbo
from nelbo.data import Images
from nelbo.formats import recipe_of
from nelbo.gaussian.decoder import Discretized
from nelbo.gaussian.variance import large, small
from nelbo.model import Settings, gaussian_model
from nelbo.types import Grid


def altered(model, **changes):
    """The model with other parts."""
    p = model.chain.p
    parts = {
        "parametrization": p.parametrization,
        "variance": lambda schedule: large(schedule, "beta_tilde_2"),
        "decoder": p.emission,
        "time_input": p.time_input,
        "clip": p.clip,
        "grid": model.support,
    }
    about = {
        "shape": model.shape,
        "name": "altered",
        "settings": Settings(schedule=model.facts["schedule"]),
    }
    return gaussian_model(model.network, p.q.schedule, **parts | changes, **about)


def models(run, model):
    """(the convention, the model that has it)."""
    yield "V_t = beta-tilde_t", altered(model, variance=lambda s: small(s, "beta_tilde_2"))
    yield "V_1 = beta_1", altered(model, variance=lambda s: large(s, "beta_1"))
    yield "V_1 = 0.001", altered(model, variance=lambda s: large(s, 1e-3))
    yield "x0-hat not clipped", altered(model, clip=None)
    yield (
        "the network told the step before",
        altered(model, time_input=lambda s, t: s.log_snr[(t - 1).clamp(min=1)]),
    )
    yield "raw weights", nelbo.load(run, weights="raw")
    yield "100 steps, even", model.every(100)
    yield "50 steps, even", model.every(50)
    yield "50 steps, even in log SNR", model.every(50, "log-snr")
    yield "50 steps, quadratic", model.every(50, "quadratic")
    rounded = nelbo.load(run)
    rounded.network.to(torch.bfloat16)
    yield "the network in bfloat16", rounded


def others(model, run):
    """(what is measured, the model, the images)."""
    data = recipe_of(run).data
    train, test = (nelbo.data.load(spec, levels=model.grid.n) for spec in (data.train, data.test))
    narrow = Grid(model.grid.n, 0.0, 1.0)
    yield "the run", model, test
    yield "the images it was trained on", model, train
    yield "images mirrored", model, Images("mirrored", None, test.levels.flip(3), test.n)
    yield "data on [0, 1]", altered(model, grid=narrow, decoder=Discretized(narrow)), test


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--budget", type=int, default=30_000)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    model, results = nelbo.load(arguments.run), {}
    test = nelbo.data.load(recipe_of(arguments.run).data.test, levels=model.grid.n)
    for name, other in models(arguments.run, model):
        tree = nelbo.compare(other, model, test, budget=arguments.budget).to_dict()
        results[name] = {
            "minus the run": [tree["bits_per_dim"], *tree["ci95"]],
            "monte carlo": tree["ci95_monte_carlo"],
            "network evaluations": tree["network_evaluations"],
        }
        print(f"{name:40} {_shown(results[name]['minus the run'], sign='+')}", flush=True)
    for name, other, images in others(model, arguments.run):
        tree = nelbo.evaluate(other, images, budget=arguments.budget).to_dict()
        results[name] = {
            "bits/dim": [tree["bits_per_dim"], *tree["ci95"]],
            "monte carlo": tree["ci95_monte_carlo"],
            "images": tree["images"],
            "network evaluations": tree["network_evaluations"],
        }
        print(f"{name:40} {_shown(results[name]['bits/dim'])}", flush=True)
    write(results, arguments.output)


def _shown(interval: list[float], sign: str = "") -> str:
    return f"{interval[0]:{sign}.4f} ± {(interval[2] - interval[1]) / 2:.4f}"


if __name__ == "__main__":
    main()
