"""Whether both intervals hold, from one image on, where the bound is known in closed form.

    python benchmarks/coverage.py [--quick] [--repetitions 1000] [--jobs 1] [-o NAME.json]

Gaussian data of independent dimensions and their exact denoiser: the bound of every x_0 is a sum
of squares. Rows are numbers of images x (D, T) x modes, each evaluated at other images, or at the
same ones for the rows that ask for a bias. With -o every finished row is kept in NAME.jsonl, and
the same command goes on from there.
"""

import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from timing import write

from nelbo.data import Points
from nelbo.estimation import Evaluator, Sampling, measuring
from nelbo.gaussian.decoder import Density
from nelbo.gaussian.parametrization import EPS
from nelbo.gaussian.reverse import TIME_INPUTS
from nelbo.gaussian.schedule import linear
from nelbo.gaussian.variance import Tabulated
from nelbo.model import Settings, gaussian_model
from nelbo.types import Reals

COUNTS = (1, 2, 5, 10, 37, 200)
BETAS = {4: (0.1, 0.5), 40: (0.005, 0.3), 1000: (1e-4, 0.02)}
CHAINS = ((1, 4), (1, 40), (64, 1000), (192, 40))
MODES = (4, 12, 40, "precision")
QUICK = [
    (n, chain, mode)
    for n in (1, 5, 37)
    for chain, mode in (((1, 4), 12), ((64, 1000), 12), ((1, 40), 40), ((1, 4), "precision"))
]
BIAS = ((10, (1, 4), 0.15), (2, (1, 4), 0.15))  # of the issue that this table answers
PROBES = 40  # evaluations of 40 an image, whose median half-width is the precision of a row


class World:
    """A chain of D dimensions and T steps, and the closed form of its bound."""

    def __init__(self, D, T):
        self.D, self.T = D, T
        self.mean = np.linspace(-0.3, 0.3, D) if D > 1 else np.array([-0.2])
        self.sd = np.geomspace(0.5, 0.05, D) if D > 1 else np.array([0.3])
        beta = np.linspace(*BETAS[T], T)
        bar = np.cumprod(1 - beta)
        before, om = np.concatenate([[1.0], bar[:-1]]), 1 - bar
        var = self.sd[:, None] ** 2  # (D, T) from here on
        seen, c_1 = bar * var + om, np.sqrt(before) * beta / om
        tilde = beta * (1 - before) / om
        tilde[0] = tilde[1]  # as Ho has it
        optimal = tilde + c_1**2 * (var * om / seen).mean(0)
        optimal[0] -= tilde[0]
        V = optimal if D == 1 else tilde
        self.A, self.B = c_1 * om / seen, -c_1 * np.sqrt(bar * om) * var / seen
        ratio = tilde[1:] / V[1:]
        first = np.log(2 * np.pi * V[0])
        self.constant = 0.5 * D * np.concatenate([[first], ratio - 1 - np.log(ratio)])
        self.V, self.end = V, (bar[-1], om[-1])
        gain = np.sqrt(om) / seen
        network = Denoiser(gain.T, (-gain * np.sqrt(bar) * self.mean[:, None]).T)
        self.model = gaussian_model(
            network,
            linear(T, *BETAS[T]),
            parametrization=EPS,
            variance=lambda schedule: Tabulated("known", torch.from_numpy(np.r_[0.0, V])),
            decoder=Density(),
            time_input=TIME_INPUTS["t"],
            clip=None,
            grid=Reals(),
            shape=(D, 1, 1),
            name="gaussian",
            settings=Settings(schedule={"name": "linear", "T": T}),
        )

    def sample(self, count, seed):
        draw = np.random.default_rng(seed).standard_normal((count, self.D))
        return self.mean + self.sd * draw

    def terms(self, x_0):
        """(N, T + 1): the expectations of L_0, ..., L_(T-1), L_T over the noise."""
        u = (x_0 - self.mean) ** 2
        square = u @ self.A**2 + (self.B**2).sum(0)
        bar, om = self.end
        last = 0.5 * (bar * (x_0**2).sum(1) + self.D * (om - 1 - math.log(om)))
        return np.column_stack([self.constant + square / (2 * self.V), last])

    def population(self):
        """The mean bound of all images."""
        square = (self.sd**2) @ self.A**2 + (self.B**2).sum(0)
        bar, om = self.end
        whole = (bar * (self.mean**2 + self.sd**2)).sum() + self.D * (om - 1 - math.log(om))
        return float((self.constant + square / (2 * self.V)).sum() + 0.5 * whole)

    def evaluated(self, x_0, seed, run):
        images = Points("gaussian", None, torch.from_numpy(x_0)[..., None, None])
        closed = Closed([self.model], images, seed)
        closed.world, closed.noise = self, torch.Generator().manual_seed(seed)
        closed.tables = [
            torch.from_numpy(table) for table in (self.A, self.B, self.constant, self.V)
        ]
        closed.u = torch.from_numpy(x_0 - self.mean)
        with measuring([self.model]):
            sampling = Sampling(closed)
            run(sampling)
        return sampling


class Closed(Evaluator):
    """Terms from their closed form in x_0 and eps, in place of batches for a network."""

    def term(self, image, t, eps):
        A, B, constant, V = self.tables
        error = A[:, t - 1].T * self.u[image] + B[:, t - 1].T * eps
        return constant[t - 1] + error.square().sum(1) / (2 * V[t - 1])

    def eps(self, count):
        return torch.randn(count, self.world.D, generator=self.noise, dtype=torch.float64)

    def first(self, draws, some=None):
        images = torch.arange(len(self.images)) if some is None else some
        image = images.repeat(len(draws))
        self.done += len(image)
        values = self.term(image, torch.ones_like(image), self.eps(len(image)))
        return values.reshape(len(draws), len(images), 1), [None]

    def later(self, stage, rows, controls, distortion=False):
        image, eps = rows.image, self.eps(len(rows))
        self.done += len(rows)
        predictors = torch.empty(len(rows), 0, dtype=torch.float64)
        if controls[0]:
            x_0, schedule = self.images.values[image], self.world.model.chain.q.schedule
            bar = schedule.alpha_bar[rows.t][:, None]
            x_t = bar.sqrt() * x_0.flatten(1) + (1 - bar).sqrt() * eps
            values = [c.value(x_0, x_t.reshape(x_0.shape), rows.t, image) for c in controls[0]]
            predictors = torch.stack(values, dim=1).double()
        return [self.term(image, rows.t, eps)[:, None], predictors]


class Denoiser(torch.nn.Module):
    """E[eps | x_t], affine in each dimension; tables have a row for each t."""

    def __init__(self, gain, offset):
        super().__init__()
        self.gain, self.offset = (
            torch.from_numpy(np.ascontiguousarray(table)).float() for table in (gain, offset)
        )

    def forward(self, x, t):
        gain, offset = (table[t - 1][..., None, None].to(x) for table in (self.gain, self.offset))
        return gain * x + offset


def mode_of(mode, count):
    """What an evaluation of so many images does: a budget of each, or nats."""
    if isinstance(mode, int):
        return lambda sampling: sampling.spend(mode * count)
    return lambda sampling: sampling.until(mode)


def simulated(world, count, mode, repetitions, base):
    """A dict of arrays, an entry for each evaluation."""
    rows, exact, population = [], None, world.population()
    for seed in range(base, base + repetitions):
        x_0 = world.sample(count, seed)
        exact = world.terms(x_0).sum(1)
        sampling = world.evaluated(x_0, seed, mode_of(mode, count))
        data, noise = sampling.total().means()
        half, like = noise.half_width(), data.half_width()
        rows.append((
            noise.mean - exact.mean(),
            math.inf if half is None else half,
            math.nan if like is None else float(abs(data.mean - population) <= like),
            t_interval_holds(exact, population),
            sampling.evaluator.done / count,
        ))  # fmt: skip
    names = ("error", "half", "like", "exact like", "evaluations")
    return dict(zip(names, np.array(rows).T, strict=True))


def t_interval_holds(values, truth):
    """Whether Student's interval on the exact bounds of the images holds the population's."""
    if len(values) < 2:
        return math.nan
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values))
    return float(abs(values.mean() - truth) <= half)


def row(task):
    """One row of the table."""
    number, count, (D, T), mode, repetitions = task
    torch.set_num_threads(1)
    world, base, precision = World(D, T), 10_000_000 * (number + 1), mode
    if mode == "precision":
        probe = simulated(world, count, 40, PROBES, base + 5_000_000)
        precision = float(f"{np.median(probe['half']):.2g}")
    rows = simulated(world, count, precision, repetitions, base)
    error = rows["error"]
    rmse, held = float(np.sqrt(np.mean(error**2))), np.abs(error) <= rows["half"]
    share = lambda values: None if np.isnan(values).any() else round(100 * float(values.mean()), 1)  # noqa: E731
    return {
        "images": count,
        "D, T": [D, T],
        "mode": f"{mode} an image" if isinstance(mode, int) else f"precision {precision:g} nats",
        "repetitions": repetitions,
        "coverage %, Monte Carlo": share(held),
        "standard error of it": round(100 * float(held.std() / math.sqrt(len(held))), 2),
        "median half-width / (1.96 rmse)": round(float(np.median(rows["half"])) / 1.96 / rmse, 2),
        "bias z": round(float(error.mean() / error.std(ddof=1) * math.sqrt(len(error))), 2),
        "bias / rmse": round(float(error.mean()) / rmse, 3),
        "coverage %, sampling of images": share(rows["like"]),
        "coverage %, t interval on exact values": share(rows["exact like"]),
        "evaluations an image": round(float(rows["evaluations"].mean()), 1),
    }


def misses(row):
    """What of the goal the row does not reach by more than three standard errors, in words."""
    held, count = row["coverage %, Monte Carlo"], row["repetitions"]
    few, least = row["images"] <= 10, row["images"] <= 5 and row["mode"].startswith("4 ")
    low, high = (90 if least else 93), (100 if least else 99.5 if few else 97.5)
    wide = row["median half-width / (1.96 rmse)"]
    slack = lambda goal: 3 * math.sqrt(goal * (100 - goal) / count)  # noqa: E731
    lines = []
    if held < low - slack(low):
        lines.append("too narrow")
    if held > high + slack(high) or (few and not least and wide > 2):
        lines.append("too wide")
    if abs(row["bias z"]) >= 4:
        lines.append("biased")
    return ", ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000, help="of each row")
    parser.add_argument("--bias", type=int, default=4000, help="of the rows about bias")
    parser.add_argument("--quick", action="store_true", help="12 rows, 300 repetitions of each")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    repetitions = 300 if arguments.quick else arguments.repetitions
    wanted = (
        QUICK if arguments.quick else [(n, c, m) for c in CHAINS for m in MODES for n in COUNTS]
    )
    tasks = [(k, *what, repetitions) for k, what in enumerate(wanted)]
    if not arguments.quick:
        more = [(100 + k, *what, arguments.bias) for k, what in enumerate(BIAS)]
        tasks = more + tasks
    kept = arguments.output and arguments.output.with_suffix(".jsonl")
    done = {}
    if kept and kept.exists():
        lines = [json.loads(line) for line in kept.read_text().splitlines()]
        done = {json.dumps(task): figures for task, figures in lines}
    todo = [task for task in tasks if json.dumps(task) not in done]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for task, figures in zip(todo, pool.map(row, todo), strict=True):
            figures["misses"] = misses(figures)
            done[json.dumps(task)] = figures
            print(json.dumps(figures), flush=True)
            if kept:
                with kept.open("a") as file:
                    file.write(json.dumps([task, figures]) + "\n")
    rows = [done[json.dumps(task)] for task in tasks]
    write({"rows": rows, "rows that miss": sum(bool(r["misses"]) for r in rows)}, arguments.output)


if __name__ == "__main__":
    main()
