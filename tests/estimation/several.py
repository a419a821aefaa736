"""What ranks do in the tests of processes: small evaluations, observed and disturbed."""

import json
import os
from collections import Counter
from pathlib import Path

import ranks
import torch
from torch import nn

import nelbo
from nelbo import formats
from nelbo.bound.noise import KeyedNoise
from nelbo.data import load
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
