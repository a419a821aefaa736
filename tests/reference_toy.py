"""The toy of the intervals, as a model that can be evaluated: T = 10, one dimension, N(-.2, .3^2).

The network is the exact denoiser, V_t the optimal variance. Every number is from the formulas of
the Gaussian ground truths, by numpy.
"""

import numpy as np
import torch

from nelbo.data import Points
from nelbo.estimation import Evaluator, Sampling, measuring
from nelbo.gaussian.decoder import Density
from nelbo.gaussian.parametrization import EPS
from nelbo.gaussian.reverse import TIME_INPUTS
from nelbo.gaussian.schedule import linear
from nelbo.gaussian.variance import Tabulated
from nelbo.model import Model, Settings, gaussian_model
from nelbo.types import Reals

T, M, S = 10, -0.2, 0.3
MEAN, BETWEEN, WITHIN = 0.21608299158177163, 0.4998737325811209, 0.6566639225260427

BETA = np.linspace(0.02, 0.5, T)
BAR = np.cumprod(1 - BETA)
BEFORE, OM = np.concatenate([[1.0], BAR[:-1]]), 1 - BAR
SEEN = BAR * S * S + OM
C_1 = np.sqrt(BEFORE) * BETA / OM
TILDE = BETA * (1 - BEFORE) / OM
V = TILDE + C_1**2 * S * S * OM / SEEN
RATIO = TILDE[1:] / V[1:]
A, B = C_1 * OM / SEEN, -C_1 * np.sqrt(BAR * OM) * S * S / SEEN
"""The error of the term of t is a_t (x_0 - m) + b_t eps; entry t - 1."""
CONSTANT = 0.5 * np.concatenate([[np.log(2 * np.pi * V[0])], RATIO - 1 - np.log(RATIO)])


def exact_terms(x_0):
    """(L_T (N,), the terms (N, T) of t = 1..T), expectations over the noise."""
    square = np.multiply.outer((x_0 - M) ** 2, A**2) + B**2
    return 0.5 * (BAR[-1] * x_0**2 + OM[-1] - 1 - np.log(OM[-1])), CONSTANT + square / (2 * V)


def exact(x_0):
    """The bound of each x_0."""
    L_T, terms = exact_terms(x_0)
    return L_T + terms.sum(1)


def one_draw_variance(x_0):
    """(N, T): the variance over the noise of the term of each t."""
    a = np.multiply.outer(x_0 - M, A)
    return (4 * a**2 * B**2 + 2 * B**4) / (4 * V**2)


class Denoiser(torch.nn.Module):
    """E[eps | x_t], told the paper's t."""

    def __init__(self):
        super().__init__()
        gain = np.sqrt(OM) / SEEN
        self.gain, self.offset = torch.from_numpy(gain), torch.from_numpy(-gain * np.sqrt(BAR) * M)

    def forward(self, x, t):
        gain, offset = (
            table[t - 1].to(x).reshape(-1, 1, 1, 1) for table in (self.gain, self.offset)
        )
        return gain * x + offset


def toy_model(controls=None) -> Model:
    """The model; controls: a function as in `Model`, for its own."""
    table = torch.from_numpy(np.concatenate([[0.0], V]))
    model = gaussian_model(
        Denoiser(),
        linear(T, 0.02, 0.5),
        parametrization=EPS,
        variance=lambda schedule: Tabulated("optimal", table),
        decoder=Density(),
        time_input=TIME_INPUTS["t"],
        clip=None,
        grid=Reals(),
        shape=(1, 1, 1),
        name="toy",
        settings=Settings(schedule={"name": "linear", "T": T}),
    )
    if controls is not None:
        object.__setattr__(model, "controls", controls)
    return model


def without_controls(levels, context):
    return []


def toy_images(count, seed):
    """(Points, their x_0): a sample of the population."""
    x_0 = M + S * np.random.default_rng(seed).standard_normal(count)
    return Points("toy", None, torch.from_numpy(x_0).reshape(-1, 1, 1, 1)), x_0


def sampled(model, images, seed, run) -> Sampling:
    """An evaluation as `nelbo.evaluate` makes it; run(sampling) says how long."""
    with measuring([model]):
        sampling = Sampling(Evaluator([model], images, seed))
        run(sampling)
    return sampling
