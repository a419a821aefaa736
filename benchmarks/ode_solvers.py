"""The ODE's solvers beside torchdiffeq's, at the same points and the same kept probes.

    pip install torchdiffeq==0.2.5   # which the project itself does not need
    python benchmarks/ode_solvers.py runs/digits [--images 8] [-o FILE]

Each figure is that of one point of each image, minus that of 160 of our steps, in bits/dim: its
mean over the images, and the largest of one image. torchdiffeq solves x and the integral of the
divergence as one state, which takes a backward pass at each evaluation, and chooses the steps of
dopri5 for the whole batch. A backward pass is counted as two evaluations.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from paths import limit_of
from timing import write
from torchdiffeq import odeint

import nelbo
from nelbo.bound.chain import constant_time
from nelbo.bound.noise import KeyedNoise
from nelbo.estimation import measuring
from nelbo.gaussian.ode import Hutchinson, ProbabilityFlow

STEPS, FINEST = (10, 20, 40), 160
TOLERANCE = 1e-5


class State:
    """The right side of torchdiffeq's ODE, and how often it was evaluated."""

    def __init__(self, flow, trace, shape):
        self.flow, self.trace, self.shape, self.calls = flow, trace, shape, 0

    def __call__(self, log_snr, y):
        self.calls += 1
        x = y[:, :-1].reshape(-1, *self.shape)
        drift, divergence = self.flow.with_divergence(
            x, float(log_snr), self.trace.directions(0, x)
        )
        return torch.cat([drift.flatten(1), divergence[:, None]], 1)


def by_torchdiffeq(flow, x, trace, method, **settings):
    """(log p, evaluations of the network for a point)."""
    state = State(flow, trace, x.shape[1:])
    y = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)
    ends = torch.tensor([flow.first, flow.last], dtype=torch.float64)
    end = odeint(state, y, ends, method=method, **settings)[-1]
    x = end[:, :-1]
    at_the_end = -0.5 * (x.square() + math.log(2 * math.pi)).sum(1)
    return end[:, -1] + at_the_end, 3 * state.calls


def solvers(flow, x, trace):
    """name -> what makes (log p, evaluations of the network for a point)."""
    length = flow.last - flow.first
    made = {}
    for steps in (*STEPS, FINEST):
        made[f"nelbo, {steps} steps"] = lambda n=steps: (
            flow.log_density(x, n, trace),
            4 * n + 1 + 2 * (n + 1),
        )
    for steps in STEPS:
        made[f"torchdiffeq rk4, {steps} steps"] = lambda n=steps: by_torchdiffeq(
            flow, x, trace, "rk4", options={"step_size": abs(length) / n}
        )

    def own():
        log_p, evaluations = flow.adaptive_log_density(x, trace, TOLERANCE)
        return log_p, 3 * float(evaluations.double().mean())

    made[f"nelbo, RK45 at {TOLERANCE:g}"] = own
    made[f"torchdiffeq dopri5 at {TOLERANCE:g}"] = lambda: by_torchdiffeq(
        flow, x, trace, "dopri5", rtol=TOLERANCE, atol=TOLERANCE
    )
    return made


def alone(flow, x, noise):
    """What company changes in the first image's log p by dopri5 at 1e-5, in nats: it, and ours."""
    settings = {"rtol": TOLERANCE, "atol": TOLERANCE}
    pairs = []
    for rows in (slice(0, 1), slice(None)):
        trace = Hutchinson(noise.rows(torch.arange(len(x))[rows]), fresh=False)
        theirs, _ = by_torchdiffeq(flow, x[rows], trace, "dopri5", **settings)
        ours, _ = flow.adaptive_log_density(x[rows], trace, TOLERANCE)
        pairs.append((float(theirs[0]), float(ours[0])))
    (theirs, ours), (theirs_in_company, ours_in_company) = pairs
    return {
        "torchdiffeq": abs(theirs_in_company - theirs),
        "nelbo": abs(ours_in_company - ours),
    }


def study(path, count):
    images = nelbo.data.load("digits:test").first(count)
    model = limit_of(path, images)
    flow = ProbabilityFlow.of(model.chain.p, model.name)
    noise = KeyedNoise.of(0, torch.arange(count))
    scale, rows = 1 / (model.dims * math.log(2)), {}
    with measuring([model]), torch.no_grad():
        x_0 = model.x_0(images.values, torch.float64)
        t = constant_time(1, x_0)
        x = model.arithmetic.state(model.chain, x_0, t, noise.at(t)).double()
        trace = Hutchinson(noise.draws(1), fresh=False)
        for name, solved in solvers(flow, x, trace).items():
            started = time.perf_counter()
            log_p, evaluations = solved()
            seconds = time.perf_counter() - started
            rows[name] = (-scale * log_p, evaluations, seconds)
        company = alone(flow, x, noise)
    finest = rows.pop(f"nelbo, {FINEST} steps")[0]
    table = [
        {
            "solver": name,
            "minus the finest, bits/dim": round(float((values - finest).mean()), 5),
            "the largest of an image": round(float((values - finest).abs().max()), 5),
            "network evaluations a point": round(evaluations, 1),
            "seconds": round(seconds, 2),
        }
        for name, (values, evaluations, seconds) in rows.items()
    ]
    return {"images": count, "rows": table, "what company changes, nats": company}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write({arguments.run.name: study(arguments.run, arguments.images)}, arguments.output)


if __name__ == "__main__":
    main()
