"""What the exhaustive bound costs beside the bare network forwards: CPU time on one thread.

    python benchmarks/evaluate.py [--repeats 5] [--output benchmarks/results/NAME.json]

Bare is the same number of forwards on the same batches and nothing else, in inference mode. The
two take turns, and the median of their ratios counts: other work on the machine slows both. One
image is also set beside a loop of forwards of batch 1, which is what a loop over t amounts to.
"""

import argparse
from pathlib import Path

import torch
from overhead import ratio, write
from torch import nn

import nelbo
from nelbo.data import Images
from nelbo.networks.unet import UNet

T = 1000


class Perceptron(nn.Module):
    """0.36M parameters on 64 numbers, with the time added to the first layer."""

    def __init__(self, width: int = 392) -> None:
        super().__init__()
        self.time = nn.Linear(1, width)
        self.first = nn.Linear(64, width)
        self.rest = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, 64),
        )  # fmt: skip

    def forward(self, x_t, time):
        hidden = self.first(x_t.flatten(1)) + self.time(time[:, None] / T)
        return self.rest(hidden).reshape(x_t.shape)


def networks():
    """(name, network, side of the image, steps of the exhaustive bound, rows in a batch)."""
    yield "perceptron 0.36M, 8x8", Perceptron(), 8, 1000, 16
    yield "U-Net 0.39M, 8x8, batch 16", UNet(1, 1, 8, (32, 32), 2, 0.0), 8, 100, 16
    yield "U-Net 2.7M, 28x28, batch 16", UNet(1, 1, 28, (32, 64, 112), 2, 0.0), 28, 20, 16


def model(network, side, steps):
    whole = nelbo.wrap(
        network.eval(), schedule="linear", predicts="eps", variance="small", clip=False,
        V_1="beta_tilde_2", time_input="index", shape=(1, side, side), levels=256, range=(-1, 1),
    )  # fmt: skip
    return whole if steps == T else whole.every(steps)


def exhaustive(network, side, steps, size, repeats):
    """16 images at every t against the same number of forwards in the same batches."""
    found = model(network, side, steps)
    images = Images("noise", None, torch.randint(256, (16, 1, side, side)), 256)
    rows = 16 * (steps + 1)
    x = torch.randn(size, 1, side, side)
    told = torch.randint(T, (size,)).float()

    def bare():
        with torch.inference_mode():
            for _ in range(rows // size):
                network(x, told)

    def bound():
        nelbo.evaluate(found, images, exhaustive=True, batch_size=size)

    return ratio(bound, bare, repeats)


def one_image(network, side, steps, repeats):
    """One image at every t against forwards of batch 1: how many times faster."""
    found = model(network, side, steps)
    images = Images("noise", None, torch.randint(256, (1, 1, side, side)), 256)
    x, told = torch.randn(1, 1, side, side), torch.zeros(1)

    def loop():
        with torch.inference_mode():
            for _ in range(steps + 1):
                network(x, told)

    return ratio(loop, lambda: nelbo.evaluate(found, images, exhaustive=True), repeats)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {}
    for name, network, side, steps, size in networks():
        count = sum(x.numel() for x in network.parameters())
        found = exhaustive(network, side, steps, size, arguments.repeats)
        alone = one_image(network, side, T if side == 8 else 100, arguments.repeats)
        results[name] = {
            "parameters": count,
            "exhaustive over bare": found["ratio"],
            "one image, times faster than batch 1": alone["ratio"],
        }
        print(name, results[name], flush=True)
    write(results, arguments.output)


if __name__ == "__main__":
    main()
