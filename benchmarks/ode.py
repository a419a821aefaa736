"""The ODE's likelihood where all is known, and on models: steps x dequantisation x probes.

    python benchmarks/ode.py --coverage 1000 [-o benchmarks/results/NAME.json]
    python benchmarks/ode.py runs/digits runs/digits-ddpm [--images 500] [--rows 100]
        [--log LOG.jsonl] [-o FILE]

Coverage: Gaussian data, the exact network, 8 dimensions, 20 other images each time; the mean of
-log p over z_1 is a closed form, which 95 % intervals should hold in 95 % of the evaluations.
Models: bound, limit and ODE of each, on --images test images; and of the first model, on the first
--rows of them, the figure by each number of steps, dequantisation and number of probes, and by the
published convention, all from the same start points. With --log a second start goes on where the
first ended.
"""

import argparse
import json
import math
from functools import partial
from pathlib import Path

import torch
from paths import AS_TRAINED, limit_of
from timing import write

import nelbo
from nelbo.bound.statistics import Mean
from nelbo.data import as_points
from nelbo.estimation import Evaluator, measuring
from nelbo.estimation.ode import OdeSampling
from nelbo.estimation.ode_convention import Convention
from nelbo.gaussian.decoder import Density
from nelbo.gaussian.parametrization import EPS
from nelbo.gaussian.reverse import TIME_INPUTS
from nelbo.gaussian.schedule import from_log_snr
from nelbo.gaussian.variance import small
from nelbo.model.gaussian import gaussian_model
from nelbo.model.settings import Settings
from nelbo.types import Reals

MEAN, DEVIATION, SHAPE, FIRST, LAST = 0.1, 0.5, (1, 2, 4), 3.0, -5.0
IMAGES = 20
STEPS, FINEST = (10, 20, 40), (80, 160)
GAIN = torch.linspace(0.3, 1.2, 8).double().reshape(1, *SHAPE)
MODES = {"2 draws": 0.5, "as many as it takes": 0.025}
"""The precision: one that the fewest draws reach, and one that plans more."""


class Exact(torch.nn.Module):
    """E[eps | z] of dimensions that are coupled in a rotated basis, so that signs leave an error.

    Data x_0 = MEAN + Q diag(GAIN) n for a fixed rotation Q and n ~ N(0, 1).
    """

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        noise = torch.randn(8, 8, generator=generator, dtype=torch.float64)
        self.Q, _ = torch.linalg.qr(noise)

    def forward(self, z, log_snr):
        level = log_snr.double()[:, None]
        a, s = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
        gain = DEVIATION * GAIN.flatten()
        inside = (z.flatten(1).double() - a * MEAN) @ self.Q
        return ((s / (a * a * gain**2 + s * s) * inside) @ self.Q.T).reshape(z.shape).to(z.dtype)


def toy():
    """A chain whose network receives log SNR; its steps do not matter here."""
    log_snr = torch.linspace(FIRST, LAST, 12).tolist()
    return gaussian_model(
        Exact(),
        from_log_snr(log_snr, "even"),
        parametrization=EPS,
        variance=partial(small, V_1="inverse_snr_1"),
        decoder=Density(),
        time_input=TIME_INPUTS["log-snr"],
        clip=None,
        grid=Reals(),
        shape=SHAPE,
        name="toy",
        settings=Settings(schedule={"name": "even", "T": 12}),
    )


def truth(x_0, Q):
    """The mean over z_1 ~ q of -log p(z_1) p(x_0 | z_1) / q(z_1 | x_0), of each image."""
    a, s = (math.sqrt(1 / (1 + math.exp(-x))) for x in (FIRST, -FIRST))
    a_T, s_T = (math.sqrt(1 / (1 + math.exp(-x))) for x in (LAST, -LAST))
    d = DEVIATION * GAIN.flatten()
    there, last = (a * a * d * d + s * s).sqrt(), (a_T * a_T * d * d + s_T * s_T).sqrt()
    ratio, centre = last / there, (torch.full((8,), MEAN).double() @ Q)
    x, V_1 = x_0.flatten(1) @ Q, math.exp(-FIRST)
    mean, deviation = a * centre - a_T * centre / ratio, 1 / ratio
    gain = a * d * d / there**2
    of_z = ((a * x - mean) ** 2 + s * s) / (2 * deviation**2) + (deviation**2).log() / 2
    left = x - centre - gain * (a * x - a * centre)
    of_x = (left**2 + (gain * s) ** 2) / (2 * V_1) + math.log(V_1) / 2
    return (of_z + of_x + math.log(2 * math.pi) / 2 - math.log(s) - 0.5).sum(1)


def sampling_of(model, images, seed, convention):
    evaluator = Evaluator([model], images, seed)
    return OdeSampling(evaluator, convention)


def stored(model, images, seed, steps, draws):
    """(steps, fresh, other probes, draw) -> nats of every image of all the evaluations."""
    with measuring([model]):
        every = sampling_of(model, images, seed, Convention())
        image = torch.arange(len(images))
        results = {}
        for draw in (-1, -2):
            for n in (steps, 2 * steps):
                of_draw = torch.full_like(image, draw)
                results[n, False, False, draw] = every.nats(image, of_draw, n, fresh=False)
        for draw in range(draws):
            of_draw = torch.full_like(image, draw)
            results[steps, True, False, draw] = every.nats(image, of_draw, steps)
            if draw < 2:
                others = every.nats(image, of_draw, steps, probes=-1 - of_draw)
                results[steps, True, True, draw] = others
    return results


def coverage(evaluations, steps=10, most=16):
    """Evaluations that share no image, draw or probe; the rows of all are computed together."""
    model, results = toy(), {}
    Q = model.network.Q
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(evaluations * IMAGES, 8, generator=generator, dtype=torch.float64)
    x_0 = MEAN + (DEVIATION * GAIN.flatten() * noise) @ Q.T
    images = as_points(x_0.reshape(-1, *SHAPE))
    table, exact = stored(model, images, 1, steps, most), truth(x_0, Q)
    for name, precision in MODES.items():
        rows = []
        for number in range(evaluations):
            first = number * IMAGES
            own = as_points(images.values[first : first + IMAGES])
            sampling = sampling_of(model, own, 1, Convention())

            def nats(image, draw, n, *, probes=None, fresh=True, first=first):
                parts = zip(draw.tolist(), image.tolist(), strict=True)
                key = (n, fresh, probes is not None)
                values = [table[(*key, d)][first + i] for d, i in parts]
                return torch.stack(values)

            sampling.nats = nats
            sampling.look(precision * 8, steps)
            sampling.until(precision * 8)
            _, mean = sampling.means()
            error = mean.mean - float(exact[first : first + IMAGES].mean())
            rows.append((abs(error) <= mean.half_width(), error / mean.se, len(sampling.values)))
        held, z, draws = (torch.tensor(column).double() for column in zip(*rows, strict=True))
        results[name] = {
            "evaluations": evaluations,
            "images of each": IMAGES,
            "coverage %, Monte Carlo": round(100 * float(held.mean()), 2),
            "mean of z": round(float(z.mean()), 3),
            "sd of z": round(float(z.std()), 3),
            "draws": round(float(draws.mean()), 2),
        }
        print(name, json.dumps(results[name]), flush=True)
    return results


class Log:
    """What was computed so far, a line of JSON for each key, which is not computed again."""

    def __init__(self, path):
        self.path, self.kept = path, {}
        if path is not None and path.exists():
            lines = [line for line in path.read_text().split("\n")[:-1] if line]
            self.kept = {key: value for key, value in map(json.loads, lines)}

    def of(self, key, compute):
        if key not in self.kept:
            self.kept[key] = compute()
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([key, self.kept[key]]) + "\n")
        return self.kept[key]


def settings():
    """(dequantise, solver, probes, fresh, steps) of the table's rows."""
    for dequantise in ("model", "uniform"):
        yield from ((dequantise, "rk4", 1, False, steps) for steps in (*STEPS, *FINEST))
        for probes in (1, 2):
            yield from ((dequantise, "rk4", probes, True, steps) for steps in STEPS)
        yield dequantise, "rk45", 1, False, None


def nats_of(model, images, dequantise, solver, probes, fresh, steps):
    """-log p of each image by draw 0 of its points, and network evaluations an image."""
    image = torch.arange(len(images))
    with measuring([model]):
        sampling = sampling_of(model, images, 0, Convention(dequantise, 1, probes, solver))
        nats = sampling.nats(image, torch.zeros_like(image), steps, fresh=fresh)
    return [nats.tolist(), sampling.evaluator.done / len(images)]


def paired(values, scale):
    """[mean, half of its 95 % interval for new images] in bits/dim."""
    mean = Mean(float(values.mean()), float(values.std()) / len(values) ** 0.5, len(values) - 1)
    return [round(mean.mean * scale, 4), round((mean.half_width() or 0.0) * scale, 4)]


def table(model, images, log):
    """Bits/dim by steps, dequantisation and probes: all by the same one point of each image."""
    scale, rows = 1 / (model.dims * math.log(2)), []
    computed = {
        row: log.of(f"{model.name} {len(images)} {row}", partial(nats_of, model, images, *row))
        for row in settings()
    }
    for (dequantise, solver, probes, fresh, steps), (nats, evaluations) in computed.items():
        values = torch.tensor(nats, dtype=torch.float64)
        finest = torch.tensor(computed[dequantise, "rk4", 1, False, FINEST[-1]][0]).double()
        rows.append(
            {
                "dequantise": dequantise,
                "solver": "RK45 at 1e-5" if solver == "rk45" else f"{steps} steps",
                "probes": f"{probes} fresh" if fresh else f"{probes} kept",
                "bits_per_dim, half": paired(values, scale),
                f"minus {FINEST[-1]} steps, half": paired(values - finest, scale),
                "network evaluations an image": round(evaluations, 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def beside(path, images):
    """The ODE, the limit and, of a run that has steps, its own bound."""
    model, limit = nelbo.load(path), limit_of(path, images)
    result = nelbo.ode_likelihood(limit, images)
    print(result, flush=True)
    kept = ("bits_per_dim", "ci95", "ci95_monte_carlo", "half_widths", "by_steps")
    tree = result.to_dict()
    made = {
        "ODE": {name: tree[name] for name in (*kept, "estimator")},
        "the limit": tree["bound"],
        "ODE minus the limit": tree["ode_minus_bound"],
        "images": result.images,
        "network evaluations an image": round(result.network_evaluations / result.images, 1),
        "seconds": round(result.seconds, 1),
    }
    if path.name in AS_TRAINED:  # by steps
        own = nelbo.evaluate(model, images, precision=0.01).to_dict()
        made["the bound"] = {name: own[name] for name in kept[:3]} | {"T": model.T}
    return made


def of_models(paths, data, count, rows_of, log):
    results, images = {}, nelbo.data.load(data)
    images = images.first(min(count, len(images)))
    few = images.first(min(rows_of, len(images)))
    for path in paths:
        results[path.name] = log.of(f"{path.name} {len(images)}", partial(beside, path, images))
    if rows_of and paths:
        results["table"] = {
            "of": paths[0].name,
            "images": f"the first {len(few)}",
            "rows": table(limit_of(paths[0], images), few, log),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--data", default="digits:test")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rows", type=int, default=100, help="images of the table; 0 for none")
    parser.add_argument("--log", type=Path, help="what is computed is kept here, line by line")
    parser.add_argument("--coverage", type=int, default=0, help="simulated evaluations")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    if arguments.coverage:
        results["coverage"] = coverage(arguments.coverage)
    if arguments.models:
        given = (arguments.models, arguments.data, arguments.images, arguments.rows)
        results["models"] = of_models(*given, Log(arguments.log))
    write(results, arguments.output)


if __name__ == "__main__":
    main()
