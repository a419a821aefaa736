"""Whether both intervals hold in the limit of infinitely many steps, where it is a closed form.

    python benchmarks/coverage_limit.py [--repetitions 1000] [--only NAME ...] [-o NAME.json]

Data of independent Gaussian dimensions, other images at each evaluation, and the velocity of a flow
by a denoiser of known means and deviations: those of the data, or others. With r = SNR and
y = 1 + d^2 r, the error of such a denoiser is (u + d^4 r)/y^2 for each dimension, u = (x_0 - m)^2,
so that 1/2 of its integral over r is 1/2 (log y + 1/y - u/(d^2 y)) between the ends. Every part of
the estimator is the package's. With -o every hundred evaluations are kept in NAME.jsonl, and the
same command goes on from there.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from timing import write

import nelbo
from nelbo.estimation import Evaluator, Sampling, measuring

DIMS, FIRST, LAST, BLOCK = 8, 6.0, -8.0, 100
MEAN = torch.linspace(-0.3, 0.3, DIMS, dtype=torch.float64)
DEVIATION = torch.logspace(-1, -0.3, DIMS, dtype=torch.float64)
NETWORKS = {  # the deviations and means that its denoiser believes in
    "exact": (DEVIATION, MEAN),
    "wrong": (DEVIATION.flip(0).sqrt() * DEVIATION.sqrt(), MEAN + 0.1),
}
ROWS = {  # network, images, evaluations of each or the precision in nats
    "exact, 20 images, 12 of each": ("exact", 20, 12),
    "wrong, 20 images, 12 of each": ("wrong", 20, 12),
    "wrong, 20 images, to a precision": ("wrong", 20, 0.5),
}


class Velocity(torch.nn.Module):
    """dz/dt = eps - x_0 of a flow whose data are at t = 0, by an affine denoiser."""

    def __init__(self, deviation, mean):
        super().__init__()
        self.d, self.m = deviation, mean

    def forward(self, z, t):
        s = t.double()[:, None]
        a, flat = 1 - s, z.flatten(1).double()
        x_0 = self.m + a * self.d**2 / (a * a * self.d**2 + s * s) * (flat - a * self.m)
        return ((flat - a * x_0) / s - x_0).reshape(z.shape).to(z.dtype)


def model_of(deviation, mean):
    return nelbo.wrap(
        Velocity(deviation, mean),
        path="flow",
        predicts="flow-velocity",
        time_input="t",
        decoder="density",
        shape=(DIMS, 1, 1),
        log_snr=(FIRST, LAST),
    )


def bound(u, square, d):
    """L of each image in the limit, of u = (x_0 - m)^2 and square = x_0^2, or of their means."""
    r = torch.tensor([LAST, FIRST], dtype=torch.float64).exp()[:, None, None]
    y = 1 + d**2 * r
    integral = (0.5 * (y.log() + 1 / y - u / (d**2 * y))).diff(dim=0)[0]
    error, V = (u + d**4 * r[1]) / y[1] ** 2, 1 / r[1]
    first = 0.5 * ((2 * math.pi * V).log() + error / V)
    alpha_bar, rest = (1 / (1 + math.exp(-x)) for x in (LAST, -LAST))
    last = 0.5 * (alpha_bar * square + rest - 1 - math.log(rest))
    return (integral + first + last).sum(1)


def evaluation(model, network, count, mode, seed):
    """(Error, half-width, whether the interval of the population holds, evaluations)."""
    d, m = NETWORKS[network]
    noise = torch.randn(count, DIMS, generator=torch.Generator().manual_seed(seed)).double()
    x_0 = MEAN + DEVIATION * noise
    images = nelbo.data.as_points(x_0.reshape(count, DIMS, 1, 1))
    x_0 = images.values.double().flatten(1)  # as it is stored
    with measuring([model]):
        sampling = Sampling(Evaluator([model], images, seed))
        if isinstance(mode, int):
            sampling.spend(mode * count)
        else:
            sampling.until(mode)
    data, carlo = sampling.total().means()
    exact = float(bound((x_0 - m) ** 2, x_0**2, d).mean())
    spread = DEVIATION**2
    population = float(bound((spread + (MEAN - m) ** 2)[None], (spread + MEAN**2)[None], d))
    like = abs(data.mean - population) <= data.half_width()
    return carlo.mean - exact, carlo.half_width(), float(like), sampling.evaluator.done


def block(name, first):
    """The evaluations of one block."""
    network, count, mode = ROWS[name]
    model, base = model_of(*NETWORKS[network]), 1_000_000 * (1 + list(ROWS).index(name))
    return [evaluation(model, network, count, mode, base + first + each) for each in range(BLOCK)]


def summary(rows, name):
    error, half, like, done = torch.tensor(rows, dtype=torch.float64).T
    held = (error.abs() <= half).double()
    rmse = float(error.square().mean().sqrt())
    return {
        "evaluations": len(rows),
        "images": ROWS[name][1],
        "coverage %, Monte Carlo": round(100 * float(held.mean()), 1),
        "standard error of it": round(100 * float(held.std()) / len(rows) ** 0.5, 2),
        "coverage %, sampling of images": round(100 * float(like.mean()), 1),
        "bias z": round(float(error.mean() / error.std()) * len(rows) ** 0.5, 2),
        "median half-width / (1.96 rmse)": round(float(half.median()) / 1.96 / rmse, 3),
        "network evaluations of each": round(float(done.mean()), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000, help="of each row")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME", default=list(ROWS))
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept, done = arguments.output and arguments.output.with_suffix(".jsonl"), {}
    if kept and kept.exists():
        for line in kept.read_text().splitlines():
            name, first, rows = json.loads(line)
            done[name, first] = rows
    results = {}
    for name in arguments.only:
        every = []
        for first in range(0, arguments.repetitions, BLOCK):
            if (name, first) not in done:
                done[name, first] = block(name, first)
                if kept:
                    with kept.open("a") as file:
                        file.write(json.dumps([name, first, done[name, first]]) + "\n")
            every += done[name, first]
        results[name] = summary(every, name)
        print(name, json.dumps(results[name]), flush=True)
    write({"rows": results}, arguments.output)


if __name__ == "__main__":
    main()
