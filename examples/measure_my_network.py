"""Measure your own network, whatever library trained it: `python measure_my_network.py`."""

import argparse

import torch
from torch import nn

import nelbo


class MyNetwork(nn.Module):
    """Any module: here one that predicts the noise and is told t/T."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(65, 64), nn.SiLU(), nn.Linear(64, 64))

    def forward(self, x, fraction):
        return self.net(torch.cat([x.flatten(1), fraction[:, None]], dim=1)).reshape(x.shape)


def main(budget: int) -> None:
    model = nelbo.wrap(
        MyNetwork(),
        schedule={"name": "cosine", "T": 200},  # or its betas
        predicts="eps",
        variance="large",
        time_input="fraction",  # or index (0..T-1), t (1..T), log-snr
        clip=True,
        data="digits:test",
    )
    print(nelbo.evaluate(model, nelbo.data.load("digits:test"), budget=budget))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="a few evaluations only")
    main(3000 if parser.parse_args().smoke else 50_000)
