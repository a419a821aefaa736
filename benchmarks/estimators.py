"""Which estimator needs how many network evaluations: simulated on tables of real evaluations.

    python benchmarks/estimators.py runs/digits runs/digits-ddpm [-o benchmarks/results/NAME.json]

For each model a table of every t of every test image at several noises is made once and kept
beside the model; its mean is the truth that simulated evaluations must cover. In the tables'
world a cell's noise takes one of the table's values.
"""

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from timing import write

from nelbo import formats
from nelbo.bound.control import Control
from nelbo.bound.estimators import every_time
from nelbo.bound.noise import KeyedNoise
from nelbo.data import Images, load
from nelbo.estimation import Evaluator, Sampling, measuring
from nelbo.estimation.prior import prior_terms

CHUNK = 100  # t of a table that are asked for at once


def table(path, draws):
    """Terms, controls and the controls' totals of every (draw, t, image), made once."""
    model, images = formats.load(path), load("digits:test")
    kept = Path(path) / f"table-{model.sha256()[:12]}-{draws}.npz"
    if not kept.exists():
        evaluator = Evaluator([model], images, seed=987)
        with measuring([model]):
            first, contexts = evaluator.first(range(1))
            controls = model.controls(images.levels, contexts[0])
            firsts = torch.cat([first, evaluator.first(range(1, draws))[0]])[:, :, 0]
            x_0, single = model.x_0(images.levels), torch.arange(model.T - 1)
            totals = torch.stack([c.totals(x_0, single, model.T - 1) for c in controls], dim=3)
            later = [one_draw(evaluator, k, controls) for k in range(draws)]
        arrays = {
            "first": firsts.numpy(),
            "terms": np.stack([values for values, _ in later]),
            "controls": np.stack([predictors for _, predictors in later]),
            "totals": totals.numpy(),
            "L_T": prior_terms(evaluator).numpy(),
        }
        np.savez(kept, names=[c.name for c in controls], **arrays)
    return model, images, dict(np.load(kept))


def one_draw(evaluator, k, controls):
    """(terms (T - 1, N), controls (T - 1, N, k)) at one noise."""
    T, count = evaluator.models[0].T, len(evaluator.images)
    rows, values, predictors = every_time(T, count), [], []
    for part in torch.arange(len(rows)).split(CHUNK * count):
        some = type(rows)(rows.image[part], rows.t[part], rows.draw[part], rows.weight[part])
        outputs = evaluator.later(100 + k, some, [controls])
        values.append(outputs[0][:, 0].float().numpy())
        predictors.append(outputs[1].float().numpy())
        print(f"  table, draw {k}: t = {int(some.t[-1])}", flush=True)
    shape = (T - 1, count)
    return np.concatenate(values).reshape(shape), np.concatenate(predictors).reshape(*shape, -1)


@dataclass
class Known(Control):
    """A control whose totals are those of the tables' world, with the error that real ones have."""

    name: str
    exact: torch.Tensor  # (N, T - 1)
    error: torch.Tensor  # (N, T - 1): half the difference of two estimates, of either sign

    def value(self, x_0, x_t, t, image):
        raise AssertionError("values come from the table")

    def totals(self, x_0, group, groups):
        both = torch.stack([self.exact, self.exact + 2 * self.error])
        return torch.zeros(*both.shape[:2], groups, dtype=torch.float64).index_add_(2, group, both)


class World(Evaluator):
    """Answers from a table instead of a network, for all its images or a sample of them."""

    @classmethod
    def of(cls, model, images, arrays, use=None):
        world = cls([model], images)
        world.all = {k: torch.from_numpy(v).double() for k, v in arrays.items() if k != "names"}
        for key in ("first", "terms", "controls"):
            # the few noises of a cell, spread as far as the many of which they are a sample
            cells, mean = world.all[key], world.all[key].mean(0)
            world.all[key] = mean + math.sqrt(len(cells) / (len(cells) - 1)) * (cells - mean)
        world.names = [str(name) for name in arrays["names"]]
        world.use = list(range(len(world.names)) if use is None else use)
        answering = replace(model)
        object.__setattr__(answering, "controls", world.controls)
        world.models = [answering]
        return world

    def restart(self, seed, pick=None):
        """A new evaluation; pick: which of the table's images, in which order, some twice."""
        self.done, self.looks = 0, []
        self.generator = torch.Generator().manual_seed(seed)
        count = self.all["terms"].shape[2]
        self.pick = torch.arange(count) if pick is None else pick
        self.images = self.whole
        if pick is not None:
            self.images = Images("table", None, self.whole.levels[self.pick], self.whole.n)
        self.key = KeyedNoise.of(seed, self.images.ids)
        self.seed = seed
        return self

    def __post_init__(self):
        super().__post_init__()
        self.whole = self.images

    def controls(self, levels, context):
        sign = 2.0 * torch.randint(0, 2, (len(self.pick), 1), generator=self.generator) - 1
        totals = self.all["totals"]
        exact = self.all["controls"].mean(0)
        return [
            Known(
                self.names[j],
                exact[:, self.pick, j].T,
                sign * (totals[0, self.pick, :, j] - totals[1, self.pick, :, j]) / 2,
            )
            for j in self.use
        ]

    def first(self, draws, some=None):
        image = torch.arange(len(self.images)) if some is None else some
        table, size = self.all["first"], (len(draws), len(image))
        choice = torch.randint(len(table), size, generator=self.generator)
        self.done += choice.numel()
        return table[choice, self.pick[image]][..., None], [None]

    def later(self, stage, rows, controls, distortion=False):
        terms = self.all["terms"]
        choice = torch.randint(len(terms), (len(rows),), generator=self.generator)
        self.done += len(rows)
        place = (choice, rows.t - 2, self.pick[rows.image])
        return [terms[place][:, None], self.all["controls"][place][:, self.use]]


def truth(world):
    """Each image's exact bound in the table's world, and the variance of one exhaustive pass."""
    table = world.all
    noise = table["terms"].var(0, correction=0).sum(0) + table["first"].var(0, correction=0)
    total = table["L_T"][:, 0] + table["first"].mean(0) + table["terms"].mean(0).sum(0)
    return total, noise


def simulate(world, run, seeds, pick=None):
    """(estimates, Monte Carlo half-widths, data half-widths, evaluations) of many evaluations."""
    rows = []
    for seed in range(seeds):
        chosen = None if pick is None else pick(seed)
        sampling = Sampling(world.restart(seed, chosen))
        run(sampling)
        data, noise = sampling.total().means()
        rows.append((data.mean, noise.half_width(), data.half_width(), world.done))
    return np.array(rows).T


def covered(estimates, half, exact):
    """The share of intervals that hold the truth, in per cent."""
    return round(100 * float((np.abs(estimates - exact) <= half).mean()), 1)


def plain(world, seeds, even):
    """One t per image and draw, uniform and independent (even = False) or evenly spread."""
    terms, first = world.all["terms"], world.all["first"].mean(0)
    T, count = terms.shape[1] + 1, terms.shape[2]
    later, image = T - 1, torch.arange(count).repeat(10)
    results = []
    for seed in range(seeds):
        g = torch.Generator().manual_seed(seed)
        u = torch.rand(len(image), generator=g)
        if even:
            u = (torch.randperm(len(image), generator=g) + u) / len(image)
        t = (u * later).long().clamp(max=later - 1)
        k = torch.randint(len(terms), (len(image),), generator=g)
        results.append(float((terms[k, t, image] * later).mean() + first.mean()))
    return np.array(results), len(image) + count


def z_of(errors):
    return round(float(errors.mean() / errors.std(ddof=1) * len(errors) ** 0.5), 2)


def needs(variance_times_evaluations, nats):
    """Evaluations for a 95 % Monte Carlo half-width of so many nats."""
    return round(variance_times_evaluations * (1.96 / nats) ** 2)


def subset_needs(total, noise, T, nats):
    """The same for an exhaustive loop over a random subset of the images."""
    count, spread = len(total), float(total.var())
    wanted = (nats / 1.96) ** 2
    images = (spread + float(noise.mean())) / (wanted + spread / count)
    return round(min(images, count) * T)


def study(path, draws, seeds):
    model, images, arrays = table(path, draws)
    bit = model.dims * math.log(2)
    everything = World.of(model, images, arrays)
    total, noise = truth(everything)
    exact, nats = float(total.mean()), 0.01 * bit
    peers = subset_needs(total, noise, model.T, nats)
    between = 1.96 * math.sqrt(float((total.var() + noise.mean()) / len(total))) / bit
    print(f"{path}: {exact / bit:.4f} bits/dim; an exhaustive loop over a subset needs {peers:,}")
    results = {}

    def note(name, estimates, evaluations, coverage=None):
        cost = float(estimates.var(ddof=1)) * evaluations
        results[name] = {
            "variance x evaluations, (bits/dim)^2": round(cost / bit**2, 4),
            "evaluations for 0.01": needs(cost, nats),
            "gain over the exhaustive subset": round(peers / needs(cost, nats), 1),
            "bias z": z_of(estimates - exact),
            "coverage %": coverage,
        }
        print(f"  {name}: {results[name]}", flush=True)

    for name, even in (("uniform t, independent", False), ("uniform t, evenly spread", True)):
        estimates, evaluations = plain(everything, seeds, even)
        note(name, estimates + float(arrays["L_T"].mean()), evaluations)
    names = everything.names
    for use in ([], [0], [1], [0, 1]):
        world = World.of(model, images, arrays, use)
        label = "survey, " + (" and ".join(names[j] for j in use) or "no control")
        estimates, half, data, spent = simulate(world, lambda s: s.spend(5000), seeds)
        note(label, estimates, spent.mean(), covered(estimates, half, exact))
    estimates, half, data, spent = simulate(everything, lambda s: s.until(nats), seeds)
    note("the default, stopped at 0.01", estimates, spent.mean(), covered(estimates, half, exact))
    results["the default"] = {
        "evaluations": round(float(spent.mean())),
        "fewer than the exhaustive subset": round(peers / float(spent.mean()), 1),
        "half-width": round(float(half.mean()) / bit, 5),
    }
    size = 200
    sample = lambda seed: torch.randint(  # noqa: E731
        len(images), (size,), generator=torch.Generator().manual_seed(10_000 + seed)
    )
    estimates, half, data, spent = simulate(everything, lambda s: s.spend(10 * size), seeds, sample)
    wide = 1.972 * math.sqrt(float((total.var() + noise.mean()) / size)) / bit
    results["sampling of images, 10 evaluations each"] = {
        "coverage %": covered(estimates, data, exact),
        "half-width over the exhaustive": round(float(data.mean()) / bit / wide, 3),
    }
    results["one exhaustive pass"] = {
        "evaluations": model.T * len(images),
        "half-width": round(1.96 * math.sqrt(float(noise.mean()) / len(images)) / bit, 5),
        "(sampling of images)": round(between, 5),
    }
    print(json.dumps(results, indent=1))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument("--draws", type=int, default=3, help="noises of each (t, image)")
    parser.add_argument("--seeds", type=int, default=1000, help="simulated evaluations")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write(
        {Path(p).name: study(p, arguments.draws, arguments.seeds) for p in arguments.runs},
        arguments.output,
    )


if __name__ == "__main__":
    main()
