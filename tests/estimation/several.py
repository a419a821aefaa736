"""What ranks do in the tests of processes: small evaluations, observed and disturbed."""

import json
import os
from collections import Counter
from pathlib import Path
from unittest import mock

import ranks
import torch
from torch import nn

import nelbo
from nelbo import formats
from nelbo.bound.noise import KeyedNoise
from nelbo.data import as_points, load
from nelbo.errors import NonFinite
from nelbo.estimation import Processes, Record
from nelbo.tasks.evaluate import evaluate

T, BATCH, LONG = 6, 4, 11
COLUMNS = ("total", "L_T", "L_mid", "L_0", "se")


class Small(nn.Module):
    """A perceptron of 8x8 images and log SNR; gives NaN in the `broken` batch of a t, if any."""

    def __init__(self):
        super().__init__()
        layers = (nn.Linear(65, 32), nn.SiLU(), nn.Linear(32, 64))
        self.layers = nn.Sequential(*layers)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        self.broken = None  # (t, which of this process's batches with that t)
        self.seen = 0

    def forward(self, x_t, t):
        time = t.to(x_t.dtype)[:, None]
        output = self.layers(torch.cat([x_t.flatten(1), time], dim=1)).reshape(x_t.shape)
        if self.broken is not None:
            wrong = t == self.broken[0] - 1  # the network receives t - 1
            self.seen += int(wrong.any())
            if wrong.any() and self.seen == self.broken[1] + 1:
                output = output.where(~wrong[:, None, None, None], torch.nan)
        return output


def small_model(network, steps=T):
    return nelbo.wrap(
        network,
        schedule={"name": "linear", "T": steps, "beta_T": 0.3},
        predicts="eps",
        variance="small",
        time_input="index",
        shape=(1, 8, 8),
        levels=17,
    )


def images(count):
    """So many digits, whose ids are not their places."""
    return load("digits:test").subset([(7 * i + 3) % 499 for i in range(count)])


def counted_keys():
    """A counter of the noise keys asked for from now on: one for each (image, t, draw)."""
    keys, inner = Counter(), KeyedNoise.normal

    def normal(self, like):
        keys.update(self.key.tolist())
        return inner(self, like)

    KeyedNoise.normal = normal
    return keys


def tables(processes, count, modes, batch_sizes):
    """{(mode, batch size): (columns, mean, what this process asked for)}."""
    model, results = small_model(Small(), LONG), {}
    keys = counted_keys()
    for mode, options in modes.items():
        for size in batch_sizes:
            keys.clear()
            shared = {"batch_size": size, "processes": processes, "check": False}
            result = evaluate(model, images(count), **shared, **options)
            columns = {name: getattr(result.per_image, name) for name in COLUMNS}
            columns["ids"] = result.per_image.ids
            results[mode, size] = (columns, result.total.mean, dict(keys))
    return results


def broken(processes, folder, count):
    """{(t, rank, which batch): what came of a NaN there, and of going on without it}."""
    network, results = Small(), {}
    model = small_model(network)

    def run(record=None):
        options = {"exhaustive": True, "batch_size": BATCH, "processes": processes, "check": False}
        return evaluate(model, images(count), record=record, **options).per_image

    whole = run()
    for t in (1, 2, T // 2, T):
        for rank in range(processes.size):
            for which in range(3):
                record = Path(folder) / f"record-{t}-{rank}-{which}"
                network.seen = 0
                network.broken = (t, which) if processes.rank == rank else None
                try:
                    message = f"none: {run(record)}"
                except NonFinite as error:
                    message = str(error)
                network.broken = None
                kept = kept_in(record, 2 * count) if processes.first else None
                resumed = run(record)
                same = [
                    torch.equal(getattr(resumed, name), getattr(whole, name)) for name in COLUMNS
                ]
                results[t, rank, which] = (message, kept, all(same))
    return results


def kept_in(folder, batches, stages=4):
    """The (stage, batch) that the record holds."""
    plan = json.loads((folder / "plan.json").read_text())
    record = Record.open(folder, plan, Processes())
    record.close()
    keys = [(stage, batch) for stage in range(stages) for batch in range(batches)]
    return [key for key in keys if record.get(*key) is not None]


def nelbo_within(seconds, *arguments):
    """The command line, whose ranks wait so long for one another."""
    os.environ["NELBO_RANK_TIMEOUT"] = str(seconds)
    ranks.nelbo(*arguments)


def nelbo_with_nan(t, rank, *arguments):
    """The command line, with a network that gives NaN at t in one rank."""
    inner = formats.load

    def load(*options, **more):
        model = inner(*options, **more)
        forward, wanted = model.network.forward, float(model.chain.q.schedule.log_snr[t].float())

        def broken(x_t, time):
            right = (time != wanted)[:, None, None, None]
            return forward(x_t, time).where(right, torch.nan)

        if int(os.environ["RANK"]) == rank:
            model.network.forward = broken
        return model

    formats.load = load
    ranks.nelbo(*arguments)


ODE_SETTINGS = {
    "rk4": {"solver": "rk4", "steps": 5},
    "rk45": {"solver": "rk45"},
}


class Stopped(BaseException):
    """What a kill leaves of a process: nothing is done after it."""


class OdeNetwork(nn.Module):
    """E[eps | z] of N(0, 1/4) on a chain that keeps variance; stops after `left` more calls."""

    def __init__(self):
        super().__init__()
        self.calls, self.left = 0, None

    def forward(self, z, log_snr):
        self.calls += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Stopped
        level = log_snr.double().reshape(-1, 1, 1, 1)
        a, s = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
        return s / (0.25 * a * a + s * s) * z


def ode_of(network, **settings):
    """The likelihood by the ODE of three points, in batches of two; few rows compare its steps."""
    model = nelbo.wrap(
        network,
        path="cosine",
        predicts="eps",
        time_input="log-snr",
        log_snr=(1.0, -5.0),
        shape=(1, 1, 2),
        clip=False,
        decoder="density",
    )
    generator = torch.Generator().manual_seed(3)
    data = as_points(0.5 * torch.randn(3, 1, 1, 2, generator=generator, dtype=torch.float64))
    rough = {"draws": 2, "precision": 9.0, "check": False, "batch_size": 2}
    few = {"FEW": 2, "PILOT": 3}
    with mock.patch.multiple("nelbo.estimation.ode", **few):
        return nelbo.ode_likelihood(model, data, **rough | settings)


def ode_figures(processes, **settings):
    """By solver: (means, shares, network evaluations, those of rk45's slopes)."""
    figures = {}
    for name, own in ODE_SETTINGS.items():
        result = ode_of(OdeNetwork(), processes=processes, **own | settings)
        means = [(m.mean, m.se, m.dof) for m in (result.total, result.monte_carlo)]
        shares = {key: half for key, half in result.shares.items() if half is not None}
        slopes = result.estimator.get("ode_evaluations")
        figures[name] = means, shares, result.network_evaluations, slopes
    return figures
