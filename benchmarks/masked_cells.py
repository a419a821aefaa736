"""What estimates of a masked model's bounds cost, simulated on tables of real evaluations.

    python benchmarks/masked_cells.py runs/digits-absorbing runs/text=48 [-o NAME.json]
    python benchmarks/masked_cells.py runs/mnist=100 --calls 49 --halves 10 --no-limit -o NAME.json

RUN=N takes the first N examples. Every cell (number of masked positions, example) is evaluated at
several masks and every example in several whole orders, once; they are kept beside the run, a file
for each draw, and the same command goes on from these, and with -o from every row of the table that
is finished (NAME.jsonl). Their mean is the truth that 1,000 simulated evaluations of each estimator
have to cover: no network is called again. All figures are in the unit of the data; evaluations are
of all examples together. A model that NAME.json has beside these stays in it.
"""

import argparse
import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from estimators import World, covered, needs, one_draw, simulate, z_of
from timing import write

import nelbo
from nelbo import formats
from nelbo.estimation import Evaluator, measuring
from nelbo.estimation.orders import nats_of_orders
from nelbo.estimation.prior import prior_terms
from nelbo.model import examples_of, in_any_order

FIRST = 1e-3  # of t, MDLM's


def stored(path, name, make):
    """What `make` makes, once: arrays kept in a file beside the run."""
    kept = Path(path) / f"cells-{name}.npz"
    if not kept.exists():
        np.savez(kept, **make())
        print(f"  {kept.name} is there", flush=True)
    return dict(np.load(kept))


def cells(path, model, examples, draws):
    """Terms and controls of every (draw, t, example), as `estimators.World` has them."""
    evaluator = Evaluator([model], examples, seed=987)
    controls = model.controls(examples.levels, None)
    label = f"{model.sha256()[:8]}-{len(examples)}-{model.T}"

    def draw(k):
        with measuring([model]):
            first = evaluator.first(range(k, k + 1))[0][0, :, 0]
            terms, predictors = one_draw(evaluator, k, controls)
        return {"first": first.numpy(), "terms": terms, "controls": predictors}

    parts = [stored(path, f"{label}-{k}", lambda k=k: draw(k)) for k in range(draws)]
    x_0, single = model.x_0(examples.values), torch.arange(model.T - 1)
    totals = [control.totals(x_0, single, model.T - 1) for control in controls]
    return {
        **{key: np.stack([part[key] for part in parts]) for key in ("first", "terms", "controls")},
        "names": [control.name for control in controls],
        "totals": torch.stack(totals, 3).numpy(),
        "L_T": prior_terms(evaluator).numpy(),
    }


def whole_orders(path, model, examples, halves):
    """-log p of every example in 2 * halves orders of its own: (orders, N)."""
    evaluator = Evaluator([model], examples, seed=985)

    def draw():
        with measuring([model]):
            return {"nats": nats_of_orders(evaluator, halves).numpy()}

    label = f"{model.sha256()[:8]}-{len(examples)}-{model.T}-orders-{2 * halves}"
    return torch.from_numpy(stored(path, label, draw)["nats"]).flatten(0, 1)


def spread(values):
    """The few values of a cell, spread as far as the many of which they are a sample."""
    mean, count = values.mean(0), len(values)
    return mean + math.sqrt(count / (count - 1)) * (values - mean)


class Plain:
    """Estimators that share nothing between examples: R evaluations of each, by a law of k."""

    def __init__(self, world, each):
        self.cells = torch.cat([world.all["first"][:, None], world.all["terms"]], 1)  # draw, k, N
        self.draws, self.D, self.count = self.cells.shape
        self.each = each

    def picked(self, k, generator):
        """The term of each k = 1..D, (N, R), at one of its draws; 0 where k is 0."""
        draw = torch.randint(self.draws, k.shape, generator=generator)
        image = torch.arange(self.count)[:, None].expand_as(k)
        return self.cells[draw, (k - 1).clamp(min=0), image].masked_fill(k == 0, 0)

    def bernoulli(self, generator):
        """MDLM: one t for each evaluation, every position masked with chance t, weight 1 / t."""
        t = FIRST + (1 - FIRST) * torch.rand(self.count, self.each, generator=generator).double()
        k = torch.binomial(torch.full_like(t, self.D), t, generator=generator).long()
        return (1 - FIRST) * k / t * self.picked(k, generator)

    def uniform(self, generator):
        """LLaDA: exactly k positions masked, k uniform, weight D / k."""
        k = torch.randint(1, self.D + 1, (self.count, self.each), generator=generator)
        return self.D * self.picked(k, generator)

    def even(self, generator):
        """The same with the k of an example spread evenly."""
        return self._by(torch.full((self.D,), 1 / self.D, dtype=torch.float64), generator)

    def by_spread(self, generator):
        """k by the spread over masks, and a tenth of the size of its terms; spread evenly."""
        size = self.cells.var(0, correction=0).mean(1).sqrt()
        size += 0.1 * self.cells.square().mean((0, 2)).sqrt()
        return self._by(size / size.sum(), generator)

    def _by(self, chance, generator):
        offset = torch.rand(self.count, self.each, generator=generator, dtype=torch.float64)
        place = (torch.arange(self.each) + offset) / self.each
        k = torch.searchsorted(chance.cumsum(0), place).clamp(max=self.D - 1)
        return self.picked(k + 1, generator) / chance[k]


def by_rows(rows, seeds):
    """(estimates, half-widths) of so many evaluations whose examples have independent rows."""
    pairs = []
    for seed in range(seeds):
        values = rows(torch.Generator().manual_seed(seed))
        error = (values.var(1) / values.shape[1]).sum().sqrt() / len(values)
        pairs.append((float(values.mean()), 1.96 * float(error)))
    return np.array(pairs).T


class Kept:
    """Rows that are finished, of which each is kept in a line of a file, if there is one."""

    def __init__(self, output):
        self.path = output and output.with_suffix(".jsonl")
        lines = self.path.read_text().splitlines() if self.path and self.path.exists() else []
        self.rows = {json.dumps(key): row for key, row in map(json.loads, lines)}

    def __call__(self, key, make):
        """What `make` makes, once."""
        name = json.dumps(key)
        if name not in self.rows:
            self.rows[name] = make()
            print(f"  {key[-1]}: {self.rows[name]}", flush=True)
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps([key, self.rows[name]]) + "\n")
        return self.rows[name]


def whole(orders, generator):
    """Two whole orders of each example: (N, 2)."""
    draws, count = orders.shape
    place = torch.randint(draws, (count, 2), generator=generator)
    return orders[place, torch.arange(count)[:, None]]


@dataclass
class Table:
    """Figures of the estimators of one quantity, simulated on its cells and whole orders.

    orders: None where none were stored; each: evaluations of an example, of which a table may have
    several.
    """

    world: World
    orders: torch.Tensor | None
    seeds: int

    def __post_init__(self):
        self.cells, self.count = self.world.all, len(self.world.whole)
        first, terms = self.cells["first"].mean(0), self.cells["terms"].mean(0)
        self.exact = float((first + terms.sum(0)).mean())
        self.bit = self.world.models[0].dims * self.world.unit.nats

    def rules(self, each):
        """What makes the figures of each estimator, by its name."""
        plain, spent = Plain(self.world, each), each * self.count
        of_cells = OF_COUNTS if self.orders is None else OF_CALLS
        rules = {
            name: lambda rule=rule: self.figures(*by_rows(partial(rule, plain), self.seeds), spent)
            for name, rule in of_cells.items()
        }
        if self.orders is not None:
            rules["two whole orders of each example"] = self.of_orders
        rules["nelbo without control"] = lambda: self.simulated([], each)
        rules["nelbo, the default"] = lambda: self.simulated([0], each)
        return rules

    def of_orders(self):
        draw, truth = partial(whole, spread(self.orders)), float(self.orders.mean())
        spent = 2 * self.count * self.world.models[0].T
        return self.figures(*by_rows(draw, self.seeds), spent, truth)

    def simulated(self, use, each):
        self.world.use = use
        run = lambda sampling: sampling.spend(each * self.count)  # noqa: E731
        estimates, half, _, spent = simulate(self.world, run, self.seeds)
        return self.figures(estimates, half, float(spent.mean()))

    def figures(self, estimates, half, evaluations, truth=None):
        truth = self.exact if truth is None else truth
        cost = float(estimates.var(ddof=1)) * evaluations
        return {
            "variance x evaluations": round(cost / self.bit**2, 4),
            "evaluations for 0.01": needs(cost, 0.01 * self.bit),
            "bias z": z_of(estimates - truth),
            "coverage %": covered(estimates, half, truth),
        }


OF_COUNTS = {
    "one t, Bernoulli masks (MDLM)": Plain.bernoulli,
    "exactly k, k uniform (LLaDA)": Plain.uniform,
    "exactly k, k spread evenly": Plain.even,
    "exactly k, k by the spread of its terms": Plain.by_spread,
}
OF_CALLS = {  # a cell is a call, which may reveal several positions
    "one call, uniform": Plain.uniform,
    "one call, spread evenly": Plain.even,
    "one call, by the spread of its terms": Plain.by_spread,
}


def study(path, some, options, kept):
    model = in_any_order(nelbo.load(path))
    examples = examples_of(model, formats.recipe_of(path).data.test)
    examples = examples.first(some or len(examples))
    quantities = [] if options.no_limit else [model.dims]
    results = {}
    for calls in dict.fromkeys([*quantities, *filter(None, [options.calls])]):
        limit = calls == model.dims
        shorter = model if limit else model.every(calls)
        orders = None if limit else whole_orders(path, shorter, examples, options.halves)
        arrays = cells(path, shorter, examples, options.draws)
        name = "the limit" if limit else f"{calls} calls in any order"
        print(f"{path}, {name}", flush=True)
        table = Table(World.of(shorter, examples, arrays), orders, options.seeds)
        of = [Path(path).name, model.sha256()[:8], len(examples), options.seeds, name]
        results[name] = {
            "figure": round(table.exact / table.bit, 4),
            "evaluations of an example": {
                each: {row: kept([*of, each, row], make) for row, make in table.rules(each).items()}
                for each in options.each
            },
        }
    return {
        "unit": table.world.unit.name,
        "examples": len(examples),
        "stored": {"masks of each cell": options.draws, "orders": 2 * options.halves},
        **{name: result | {"fewer": fewer(result)} for name, result in results.items()},
    }


def fewer(result):
    """How many times fewer evaluations than the first estimator the default takes."""
    ratios = {}
    for each, rows in result["evaluations of an example"].items():
        peer, *_, ours = [row["variance x evaluations"] for row in rows.values()]
        ratios[each] = round(peer / ours, 1)
    return ratios


def beside(output):
    """The models that the file has already."""
    if output is None or not output.exists():
        return {}
    return json.loads(output.read_text())["models"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run folders, RUN or RUN=N of examples")
    parser.add_argument("--draws", type=int, default=4, help="masks of each cell")
    parser.add_argument("--halves", type=int, default=2, help="half of the orders of an example")
    parser.add_argument("--calls", type=int, default=16, help="0 for the limit alone")
    parser.add_argument("--no-limit", action="store_true", help="these calls alone")
    parser.add_argument(
        "--each", type=int, nargs="+", default=[8, 24], help="evaluations of an example"
    )
    parser.add_argument("--seeds", type=int, default=1000, help="simulated evaluations")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    models, kept = beside(options.output), Kept(options.output)
    for run in options.runs:
        path, _, some = run.partition("=")
        models[Path(path).name] = study(path, int(some or 0), options, kept)
    write({"simulated evaluations": options.seeds, "models": models}, options.output)


if __name__ == "__main__":
    main()
