"""What `nelbo.check` says of 16 small trained networks, each of another kind of conventions.

    python benchmarks/check.py [--networks DIR] [--steps 4000] [--only NAME ...] [-o NAME.json]

The kinds are in tests/kinds_of_network.py: their formulas are not the package's. Each network
learns the training digits with its own loss and is kept in DIR. It is then examined alone; with its
true words; with each wrong word; untrained; and on other data, images of noise. With -o every
finished row is kept in NAME.jsonl, and the same command goes on from there.
"""

import argparse
import json
import math
import operator
import sys
import time
from pathlib import Path

import torch
from timing import write
from torch import nn

import nelbo
from nelbo.model.parts import TIMES, WRAPPED_TIMES

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from kinds_of_network import KINDS, LINEAR

SHAPE, LEVELS, WIDTH, BATCH = (1, 8, 8), 17, 128, 64
INSTEAD = {
    "schedule": {"linear": ("cosine", "scaled-linear"), "cosine": ("linear",)},
    "path": {
        str({"name": "flow", "data_at": 0}): ({"name": "flow", "data_at": 1},),
        str({"name": "flow", "data_at": 1}): ({"name": "flow", "data_at": 0},),
        "ve": ({"name": "flow", "data_at": 0},),
        "edm": ({"name": "flow", "data_at": 0},),
    },
    "predicts": {
        "eps": ("v",),
        "v": ("eps",),
        "x_0": ("eps",),
        "score": ("eps",),
        "edm-F": ("x_0",),
        "flow-velocity": ("x_0",),
    },
    "time_input": {
        "index": ("t", "fraction"),
        "t": ("index", "fraction", "1 - t"),
        "fraction": ("t",),
        "log-snr": ("t",),
        "999 t": ("t",),
        "1000 t": ("t",),
        "sigma": ("log(sigma)",),
        "log(sigma)/4": ("log(sigma)",),
    },
    "scale": {"c_in": ("none",)},
    "clip": {True: (False,)},
}
"""What each word is exchanged for; of a path only what a path has, and so of a chain."""


class Small(nn.Module):
    """A gate of time for each principal axis of x, one for its place between levels; a perceptron.

    The gates make a network of few weights as good as an affine function where there is much noise,
    and let it see levels where there is little (Kingma et al. 2021 have such sines as inputs).
    """

    def __init__(self, kind, axes=None):
        super().__init__()
        self.kind = kind
        self.register_buffer("axes", torch.eye(64) if axes is None else axes)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, -math.log(2000), 32)))
        self.time = nn.Sequential(nn.Linear(64, 64), nn.SiLU())
        self.first = nn.Linear(64, WIDTH)
        self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.moved = nn.ModuleList(nn.Linear(64, 2 * WIDTH) for _ in self.blocks)
        self.gates = nn.Linear(64, 65)
        self.last = nn.Linear(WIDTH, kind.channels * 64)

    def forward(self, x, time):
        spread = time.to(x)
        angle = self.kind.clock(spread)[:, None] * self.frequencies
        c = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        a, s, factor = (value.to(x)[:, None] for value in self.kind.at(spread.double()))
        (low, high), x = self.kind.range, x.flatten(1)
        off = torch.sin(2 * math.pi * (LEVELS - 1) / (high - low) * (x / (factor * a) - low))
        x = x / (factor * (a.square() / 4 + s.square()).sqrt())
        h = self.first(x)
        for block, moved in zip(self.blocks, self.moved, strict=True):
            scale, shift = moved(c).chunk(2, 1)
            h = h + block(nn.functional.silu((1 + scale) * h + shift))
        y = self.last(nn.functional.silu(h)).unflatten(1, (-1, 64))
        gates = self.gates(c)
        gated = gates[:, 1:] * (x @ self.axes) @ self.axes.T + gates[:, :1] * off
        y = torch.cat([y[:, :1] + gated[:, None], y[:, 1:]], 1)  # a variance has no gates
        if self.kind.words["predicts"] == "score":
            y = y / s[:, :, None]
        return y.reshape(len(x), -1, 8, 8)


def inputs(kind, x_0, u, eps):
    """(What the network is called with, the target, the weight of its error)."""
    time = kind.time(u.double())
    a, s, factor = (value[:, None] for value in kind.at(time))
    z = factor * (a * x_0 + s * eps)
    x = z.float().reshape(-1, *SHAPE)
    return (x, time.float()), kind.output(x_0, eps, a, s), kind.weight(a, s)


def variance_loss(index, output, eps):
    """L_vlb of iDDPM in bits/dim, T times that of one t, of a mean that learns nothing by it.

    V = beta^f beta-tilde^(1 - f), f = (v + 1) / 2, v the second channel (Nichol and Dhariwal 2021,
    eqs. 15 and 16). At t = 1 it is of a density, whose V at best is the same: bins are wide there.
    """
    bar = LINEAR[index]
    before = torch.where(index > 0, LINEAR[index - 1], torch.ones_like(bar))
    beta, posterior = 1 - bar / before, (1 - bar / before) * (1 - before) / (1 - bar)
    second = (1 - LINEAR[1] / LINEAR[0]) * (1 - LINEAR[0]) / (1 - LINEAR[1])
    low = torch.where(index > 0, posterior, second).log()
    share = (output[:, 1].double() + 1) / 2
    log_V = share * beta.log()[:, None] + (1 - share) * low[:, None]
    mean = (beta / ((1 - bar) * (1 - beta)).sqrt())[:, None] * (output[:, 0].detach() - eps)
    squares = (posterior[:, None] + mean.square()) / log_V.exp() - 1
    nats = 0.5 * (log_V - low[:, None] + squares)
    return nats.mean() / math.log(2)


def trained(kind, images, steps, seed=0):
    """A small network of this kind, learned by its own loss."""
    torch.manual_seed(seed)
    low, high = kind.range
    data = low + (high - low) * images.levels.flatten(1).double() / (LEVELS - 1)
    network = Small(kind, torch.linalg.eigh(data.T.cov())[1].float())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps, pct_start=0.1)
    for _ in range(steps):
        x_0 = data[torch.randint(len(data), (BATCH,))]
        u = (torch.rand(1) + torch.arange(BATCH) / BATCH) % 1  # even, as VDM has it
        given, target, weight = inputs(kind, x_0, u, torch.randn_like(x_0))
        output = network(*given).flatten(2)
        loss = (weight * (output[:, 0] - target).square()).mean()
        if kind.channels == 2:  # L_hybrid of iDDPM: .001 L_vlb, 1,000 steps
            loss = loss + variance_loss(given[1].long(), output, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def kept(name, kind, folder, steps):
    """The network of a kind from the folder, trained where it is not there."""
    network = Small(kind)
    file = folder / f"{list(KINDS).index(name):02}.pt"
    if not file.exists():
        started = time.process_time()
        network = trained(kind, nelbo.data.load("digits:train"), steps)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), file)
        print(f"{name}: {time.process_time() - started:.0f} s of CPU", file=sys.stderr, flush=True)
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()


def wrong_words(kind):
    """(What is wrong, the words that are others): one word at a time."""
    words, range_ = kind.words, kind.range
    about = "path" if "path" in words else "schedule"
    for value in INSTEAD[about].get(str(words[about]), ("cosine",)):
        if words["time_input"] != "log-snr" and words.get("scale") != "c_in":  # known by SNR alone
            yield f"{about} {value}", {about: value}
    for key in ("predicts", "time_input", "scale", "clip"):
        others = INSTEAD[key].get(words.get(key), ())
        known = (TIMES if about == "path" else WRAPPED_TIMES) if key == "time_input" else others
        yield from ((f"{key} {other}", {key: other}) for other in others if other in known)
    yield "range", {"range": (0.0, 1.0) if range_ != (0.0, 1.0) else (-1.0, 1.0)}


def stated(network, kind, **others):
    words = {**kind.words, "range": kind.range, **others}
    return nelbo.wrap(network, **words, shape=SHAPE, levels=LEVELS)


def apart(true, other, images, count=20):
    """rms of the two x0-hat's difference at the same x_t, data on [-1, 1], at each log SNR."""
    eps = torch.randn(len(images), 64, generator=torch.Generator().manual_seed(5)).double()
    unit = images.levels.flatten(1).double() * 2 / (LEVELS - 1) - 1
    rows = []
    for wanted in torch.linspace(6, -6, count, dtype=torch.float64):
        estimates = []
        for model in (true, other):
            middle, half = (model.grid.hi + model.grid.lo) / 2, (model.grid.hi - model.grid.lo) / 2
            shift = 2 * math.log(half)
            t = int(1 + (model.log_snr[1:] - (wanted - shift)).abs().argmin())
            limit = model.facts.get("time") == "continuous"  # of any log SNR, not of a table's
            level = wanted - shift if limit else model.log_snr[t]
            wanted = level + shift  # the true model's own, for the other too
            x_t = level.sigmoid().sqrt() * (middle + half * unit) + (-level).sigmoid().sqrt() * eps
            x_t = x_t.float().reshape(-1, *SHAPE)
            with torch.no_grad():
                if limit:
                    x_0 = model.fixed.predict(x_t, level.expand(len(x_t))).x_0.flatten(1)
                else:
                    x_0 = model.x_0_hat(model.chain.p, x_t, torch.full((len(x_t),), t)).flatten(1)
            estimates.append((x_0.double() - middle) / half)
        rows.append(float((estimates[0] - estimates[1]).square().mean().sqrt()))
    return rows


def examined(name, folder, steps):
    """The row of one kind."""
    kind = KINDS[name]
    network = kept(name, kind, folder, steps)
    images = nelbo.data.load("digits:test")
    about = {"shape": SHAPE, "levels": LEVELS}
    alone = nelbo.check(network, images, **about)
    best = eval(alone.call, {"nelbo": nelbo, "network": network})
    right = stated(network, kind)
    by_true = nelbo.check(right, images)
    difference = apart(stated(network, kind, clip=None), best, images.first(64))
    wrong = {}
    for what, words in wrong_words(kind):
        report = nelbo.check(stated(network, kind, **words), images)
        wrong[what] = {
            "a warning": not report.passes,
            "agrees": report.agrees,
            "warnings of evaluate": len(report.warnings),
            "bits/dim above the best": report.stated.above,
            "evaluations": report.network_evaluations,
        }
    torch.manual_seed(1)
    mixed = images.levels.flatten(1)[:, torch.randperm(64)].reshape(-1, *SHAPE)
    others = nelbo.data.as_images(mixed, n=LEVELS)
    return {
        "found": dict(alone.best[0].words),
        "its bits/dim between log SNR 6 and -6": alone.best[0].part,
        "of an affine function": alone.affine,
        "evaluations": alone.network_evaluations,
        "x0-hat apart, rms, most of 20 log SNRs": max(difference),
        "x0-hat apart, rms of all": (sum(d * d for d in difference) / len(difference)) ** 0.5,
        "the true words": {"above": by_true.stated.above, "half": by_true.stated.half},
        "rivals": [
            {
                "words": dict(row.words),
                "above": row.above,
                "half": row.half,
                "images": row.images,
                "dropped": row.images < alone.images,
            }
            for row in alone.best[1:]
        ],
        "images": alone.images,
        "true words stated": {
            "passes": by_true.passes,
            "verdict": by_true.verdict(),
            "warnings": list(by_true.warnings),
            "evaluations": by_true.network_evaluations,
        },
        "wrong words stated": wrong,
        "untrained is called so": not nelbo.check(Small(kind).eval(), images, **about).is_denoiser,
        "other data are called so": not nelbo.check(network, others, **about).is_denoiser,
    }


def counts(rows):
    """Of the rows how many reach each goal."""
    rows = rows.values()
    wrong = [each for row in rows for each in row["wrong words stated"].values()]
    rivals = [rival for row in rows for rival in row["rivals"]]
    whole = operator.itemgetter("evaluations")
    most = "x0-hat apart, rms, most of 20 log SNRs"
    return {
        "networks": len(rows),
        "x0-hat as by the true words, to 1e-3": sum(row[most] <= 1e-3 for row in rows),
        "to 1e-2": sum(row[most] <= 1e-2 for row in rows),
        "at most 10,000 evaluations, alone and stated": sum(
            max(map(whole, (row, row["true words stated"], *row["wrong words stated"].values())))
            <= 10_000
            for row in rows
        ),
        "rivals": len(rivals),
        "that are left to the end": sum(not rival["dropped"] for rival in rivals),
        "intervals of all rivals below .05": sum(
            all(rival["half"] < 0.05 for rival in row["rivals"]) for row in rows
        ),
        "of those that are left with intervals below .05": sum(
            rival["half"] < 0.05 for rival in rivals if not rival["dropped"]
        ),
        "dropped before": sum(rival["dropped"] for rival in rivals),
        "of these above by five half-widths": sum(
            rival["above"] > 5 * rival["half"] for rival in rivals if rival["dropped"]
        ),
        "of these with intervals below .05 too": sum(
            rival["half"] < 0.05 for rival in rivals if rival["dropped"]
        ),
        "evaluations that the others would take to .05": [
            math.ceil(12 * rival["images"] * (rival["half"] / 0.05) ** 2)
            for rival in rivals
            if rival["half"] >= 0.05
        ],
        "no warning with the true words": sum(row["true words stated"]["passes"] for row in rows),
        "wrong words": len(wrong),
        "wrong words with a warning": sum(each["a warning"] for each in wrong),
        "untrained called so": sum(row["untrained is called so"] for row in rows),
        "other data called so": sum(row["other data are called so"] for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=Path, default=Path("runs/kinds"))
    parser.add_argument("--steps", type=int, default=4000, help="of training")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="NAME", default=list(KINDS))
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    file, rows = arguments.output and arguments.output.with_suffix(".jsonl"), {}
    if file and file.exists():
        rows = dict(json.loads(line) for line in file.read_text().splitlines())
    for name in arguments.only:
        if name not in rows:
            rows[name] = examined(name, arguments.networks, arguments.steps)
            print(name, json.dumps(rows[name]), file=sys.stderr, flush=True)
            if file:
                with file.open("a") as lines:
                    lines.write(json.dumps([name, rows[name]]) + "\n")
    about = {"steps of training": arguments.steps, "counts": counts(rows), "kinds": rows}
    write(about, arguments.output)


if __name__ == "__main__":
    main()
