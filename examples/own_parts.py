"""The command line with words of your own: `python own_parts.py train digits-ddpm --set ...`.

python own_parts.py train digits-ddpm --set chain.schedule.name=power \\
        --set chain.parametrization=speed --set chain.decoder=wide --output runs/own
python own_parts.py evaluate runs/own
"""

import sys

import torch

from nelbo.cli.command_line import run
from nelbo.gaussian.decoder import Decoder, Discretized, Prediction
from nelbo.gaussian.parametrization import Linear
from nelbo.gaussian.schedule import from_betas
from nelbo.model import parts


def power(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.03):
    """beta_t = beta_1 + (beta_T - beta_1) (t/T)^2."""
    return from_betas([beta_1 + (beta_T - beta_1) * (t / T) ** 2 for t in range(1, T + 1)], "power")


def speed(level):
    """(x_t - x_0)/s = (a - 1)/s x_0 + eps."""
    return (level.a - 1) / level.s, torch.ones_like(level.s)


class Wide(Decoder):
    """A discretized Gaussian of four times the variance."""

    name = "wide"

    def __init__(self, grid):
        self.narrow = Discretized(grid)

    def __call__(self, prediction):
        log_var = prediction.log_var + torch.tensor(4.0).log()
        return self.narrow(Prediction(prediction.x_0, log_var))


parts.SCHEDULES["power"] = power
parts.PARAMETRIZATIONS["speed"] = Linear("speed", speed)
parts.DECODERS["wide"] = Wide

if __name__ == "__main__":
    if sys.argv[1:] == ["--smoke"]:
        own = ("schedule.name=power", "schedule.T=50", "schedule.beta_T=0.3")
        own = (*own, "parametrization=speed", "decoder=wide")
        changes = [f"--set=chain.{word}" for word in own]
        sys.argv[1:] = ["train", "digits-ddpm", *changes, "--smoke", "--output", "own"]
        run()
        sys.argv[1:] = ["evaluate", "own", "--max-images", "20", "--budget", "200"]
    if code := run():
        sys.exit(code)
