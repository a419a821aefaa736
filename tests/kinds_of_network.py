"""16 kinds of network as people train them, by formulas of the tests' own, and their `wrap` words.

A kind says how z = factor (a x_0 + s eps) and the time are made for the network, and what its
output stands for. The examination of conventions has to find the words from a network alone: from
exact denoisers in tests/tasks/test_check.py, from trained ones in benchmarks/check.py.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["EPS", "KINDS", "LINEAR", "Kind"]


@dataclass(frozen=True)
class Kind:
    """What a network is trained with.

    at: the time that it receives -> (a, s, factor of z on entry). output: (x_0, eps, a, s) -> what
    is learned; weight: of its squared error. time: numbers even on (0, 1) -> times of training.
    clock: a time on the scale 0..1000, for an embedding. channels: of the output, for each of z.
    """

    words: Mapping[str, Any]
    at: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    output: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    time: Callable[[Tensor], Tensor]
    clock: Callable[[Tensor], Tensor] = lambda time: time
    weight: Callable[[Tensor, Tensor], Tensor] = lambda a, s: torch.ones_like(s)
    range: tuple[float, float] = (-1.0, 1.0)
    channels: int = 1


def bars(table: np.ndarray) -> Tensor:
    return torch.from_numpy(np.cumprod(1 - table))


def cosine_bars() -> Tensor:
    """Nichol and Dhariwal 2021, eq. 17, with beta at most .999."""
    f = lambda t: math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2  # noqa: E731
    return bars(np.array([min(1 - f(t + 1) / f(t), 0.999) for t in range(1000)]))


def sigmoid_bars() -> Tensor:
    """lucidrains' sigmoid_beta_schedule: start -3, end 3, tau 1."""
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    first, last = torch.tensor([-3.0, 3.0], dtype=torch.float64).sigmoid()
    bar = (last - (6 * t - 3).sigmoid()) / (last - first)
    return bars((1 - bar[1:] / bar[:-1]).clamp(0, 0.999).numpy())


LINEAR = bars(np.linspace(1e-4, 0.02, 1000))
SCALED = bars(np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def chain(bar: Tensor, step: Callable[[Tensor], Tensor] = lambda time: time):
    """Levels of a table of alpha_bar, whose entry 0 is that of t = 1; step: time -> entry."""

    def at(time):
        alpha_bar = bar[step(time).round().long().clamp(0, len(bar) - 1)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), torch.ones_like(alpha_bar)

    return at


def straight(data_at: int, scale: float):
    def at(time):
        s = (1 - time / scale) if data_at else time / scale
        return 1 - s, s, torch.ones_like(s)

    return at


def sde(time):
    t = time / 999
    a = torch.exp(-0.05 * t - 0.25 * 19.9 * t**2)
    return a, (1 - a**2).sqrt(), torch.ones_like(a)


def exploding(sigma):
    return torch.ones_like(sigma), sigma, torch.ones_like(sigma)


def edm(time):
    sigma = (4 * time).exp()
    return torch.ones_like(sigma), sigma, (sigma**2 + 0.25) ** -0.5


def by_log_snr(time):
    return time.sigmoid().sqrt(), (-time).sigmoid().sqrt(), torch.ones_like(time)


def eps_of(x_0, eps, a, s):
    return eps


def x_0_of(x_0, eps, a, s):
    return x_0


def v_of(x_0, eps, a, s):
    return a * eps - s * x_0


def score_of(x_0, eps, a, s):
    return -eps / s


def from_data(x_0, eps, a, s):
    return eps - x_0


def to_data(x_0, eps, a, s):
    return x_0 - eps


def F_of(x_0, eps, a, s):
    y, total = x_0 + s * eps, s**2 + 0.25
    return (x_0 - 0.25 / total * y) * total.sqrt() / (0.5 * s)


def index(u):
    return (1000 * u).floor()


def of_betas(bar, predicts, output, name, range=(-1.0, 1.0), **more):
    """A network of the index 0..999."""
    words = {"schedule": name, "predicts": predicts, "variance": "small", "time_input": "index"}
    return Kind(words, chain(bar), output, index, range=range, **more)


def path(words, at, output, time, scale="none", **more):
    names = dict(zip(("path", "predicts", "time_input"), words, strict=True))
    return Kind({**names, "scale": scale}, at, output, time, **more)


def otherwise(kind: Kind, words: Mapping[str, Any], **changes) -> Kind:
    return Kind(**{**vars(kind), "words": {**kind.words, **words}, **changes})


EPS = of_betas(LINEAR, "eps", eps_of, "linear")
KINDS = {
    "diffusers' example: eps, index": EPS,
    "iDDPM: eps, a learned range": otherwise(EPS, {"variance": "learned-range"}, channels=2),
    "lucidrains: sigmoid, v": of_betas(sigmoid_bars(), "v", v_of, "sigmoid-lucidrains"),
    "Stable Diffusion 2: scaled linear, v": of_betas(SCALED, "v", v_of, "scaled-linear"),
    # x0-hat is clipped as iDDPM does: at T, where beta is .999, it is an error of eps times 10,000
    "cosine, eps": otherwise(of_betas(cosine_bars(), "eps", eps_of, "cosine"), {"clip": True}),
    "x_0": of_betas(
        LINEAR, "x_0", x_0_of, "linear", weight=lambda a, s: (a / s).square().clamp(min=1)
    ),
    "data on [0, 1]": of_betas(LINEAR, "eps", eps_of, "linear", (0.0, 1.0)),
    "data on [-1/2, 1/2]": of_betas(LINEAR, "eps", eps_of, "linear", (-0.5, 0.5)),
    "t from 1": otherwise(
        EPS,
        {"time_input": "t"},
        at=chain(LINEAR, lambda time: time - 1),
        time=lambda u: index(u) + 1,
    ),
    "t/T": otherwise(
        EPS,
        {"time_input": "fraction"},
        at=chain(LINEAR, lambda time: 1000 * time - 1),
        time=lambda u: (index(u) + 1) / 1000,
        clock=lambda time: 1000 * time,
    ),
    "log SNR": otherwise(
        EPS,
        {"time_input": "log-snr"},
        at=by_log_snr,
        time=lambda u: torch.logit(LINEAR[index(u).long()]),
        clock=lambda time: 500 - 50 * time,
    ),
    "score SDE: VP, the score, 999 t": path(
        ("vp-sde", "score", "999 t"),
        sde,
        score_of,
        lambda u: 999 * (1e-5 + (1 - 1e-5) * u),
        weight=lambda a, s: s**2,
    ),
    "NCSN++: VE, the score, sigma, on [0, 1]": path(
        ("ve", "score", "sigma"),
        exploding,
        score_of,
        lambda u: 0.01 * 5000**u,
        clock=lambda time: 500 + 100 * time.log(),
        weight=lambda a, s: s**2,
        range=(0.0, 1.0),
    ),
    "EDM: F, c_in, log(sigma)/4": path(
        ("edm", "edm-F", "log(sigma)/4"),
        edm,
        F_of,
        lambda u: (-1.2 + 1.2 * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))) / 4,
        "c_in",
        clock=lambda time: 500 + 400 * time,
    ),
    "flow, noise at 1, 1000 t": path(
        ({"name": "flow", "data_at": 0}, "flow-velocity", "1000 t"),
        straight(0, 1000),
        from_data,
        lambda u: 1000 * u,
    ),
    "flow, data at 1": path(
        ({"name": "flow", "data_at": 1}, "flow-velocity", "t"),
        straight(1, 1),
        to_data,
        lambda u: u,
        clock=lambda time: 1000 * time,
    ),
}
