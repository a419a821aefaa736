"""What a result warns of where a network is read by words that are not its own.

    python benchmarks/wrong_words.py RUN [--images 50] [--each 20] [--output FILE]

RUN is a run of digits-ddpm or of digits. Its network is wrapped as one that is told the index
0..T-1, with one word at a time another than in the run; the weights and the images are the same.
Printed: bits/dim, the half-width of the Monte Carlo interval, and the warnings.
"""

import argparse
import sys
from pathlib import Path

import torch
from timing import write
from torch import nn

import nelbo
from nelbo.formats import recipe_of

TIMES = {
    "t, one late": "t",
    "ten late": lambda schedule, t: t + 9,
    "fifty late": lambda schedule, t: t + 49,
    "backwards": lambda schedule, t: schedule.T - t,
    "a fraction": "fraction",
}
SCHEDULES = ("linear", "cosine", "scaled-linear", "sigmoid", "sigmoid-lucidrains", "log-snr-linear")
RANGES = {"[0, 1]": (0.0, 1.0), "[-1/2, 1/2]": (-0.5, 0.5), "[-2, 2]": (-2.0, 2.0)}
OF_LINEAR = {  # what only a chain of betas, and a network of eps, has
    "predicts x_0": {"predicts": "x_0"},
    "predicts v": {"predicts": "v"},
    "linear, T = 250": {"schedule": {"name": "linear", "T": 250}},
    "linear to 0.04": {"schedule": {"name": "linear", "beta_T": 0.04}},
    "linear to 0.01": {"schedule": {"name": "linear", "beta_T": 0.01}},
    "not clipped": {"clip": False},
    "V_t = beta-tilde_t": {"variance": "small"},
    "V_1 = 1e-6": {"V_1": 1e-6},
    "V_1 = 0.01": {"V_1": 0.01},
    "V_1 = 0.1": {"V_1": 0.1},
}


class Indexed(nn.Module):
    """A network of log SNR as one of the index; beyond the ends it is told the nearest."""

    def __init__(self, network, log_snr):
        super().__init__()
        self.network, self.last = network, len(log_snr) - 1
        self.register_buffer("log_snr", log_snr)

    def forward(self, x_t, index):
        t = (index.long() + 1).clamp(1, self.last)
        return self.network(x_t, self.log_snr[t].to(x_t.dtype))


def own_words(described):
    """Those of the run, but for the times."""
    words = {key: described[key] for key in ("schedule", "variance", "decoder")}
    words["predicts"] = described["parametrization"]
    if words["predicts"] != "levels":
        words |= {"clip": described["clip"], "V_1": described["V_1"]}
    return words | {"time_input": "index"}


def wrong_words(words):
    """(what is wrong, the words)."""
    for name, time_input in TIMES.items():
        yield f"time {name}", {"time_input": time_input}
    for name in SCHEDULES:
        if name != words["schedule"]["name"]:
            yield f"schedule {name}", {"schedule": name}
    for name, value in RANGES.items():
        yield f"data on {name}", {"range": value}
    if words["predicts"] != "levels":
        yield from OF_LINEAR.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, rows = nelbo.load(arguments.run), {}
    data = recipe_of(arguments.run).data
    images = nelbo.data.load(data.test, levels=model.grid.n).first(arguments.images)
    network = Indexed(model.network, model.log_snr)
    words = own_words(model.described())
    fixed = {"shape": model.shape, "levels": model.grid.n}
    for name, wrong in [("its own words", {}), *wrong_words(words)]:
        read = nelbo.wrap(network, **fixed | words | wrong)
        tree = nelbo.evaluate(read, images, budget=arguments.each * len(images)).to_dict()
        low, high = tree["ci95_monte_carlo"]
        rows[name] = {
            "bits/dim": tree["bits_per_dim"],
            "monte carlo": (high - low) / 2,
            "warnings": tree["warnings"],
        }
        begun = " | ".join(warning[:60] for warning in tree["warnings"]) or "-"
        print(f"{name:28} {tree['bits_per_dim']:10.4g}  {begun}", file=sys.stderr, flush=True)
    about = {"run": model.name, "images": len(images), "evaluations of an image": arguments.each}
    write(about | {"words": rows}, arguments.output)


if __name__ == "__main__":
    main()
