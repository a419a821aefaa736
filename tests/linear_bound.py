"""The bound of a model whose x0-hat is A_t x_t + B_t, twice: through the model, and from betas.

Through the model: every L_{t-1} is quadratic in the noise, so its mean over the noise is the mean
of two calls with the noise at +1 and at -1, exactly; L_0 takes a quadrature.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_ndtr

from nelbo.bound.noise import Noise
from nelbo.bound.terms import prior_term, reconstruction_term, transition_term

NODES, SHARES = np.polynomial.hermite_e.hermegauss(80)
SHARES = SHARES / SHARES.sum()


@dataclass(frozen=True)
class Constant(Noise):
    """The same number in all dimensions of an example."""

    value: np.ndarray

    def at(self, t):
        return self

    def normal(self, like):
        value = torch.as_tensor(self.value).to(like.dtype)
        return value.reshape(-1, *(1,) * (like.ndim - 1)).expand_as(like)

    def uniform(self, like):
        raise AssertionError("a bound draws normals alone")

    def draws(self, count):
        return self

    def rows(self, index):
        return self


def through_the_model(model, levels, dtype=torch.float64):
    """(L_T, sum of L_{t-1}, L_0) of one image, in nats, by the model's own chain."""
    x_0 = model.x_0(levels[None], dtype)
    with torch.inference_mode():
        L_T = float(prior_term(model.chain, x_0))
        rows = x_0.expand(len(NODES), *x_0.shape[1:])
        L_0 = reconstruction_term(model.chain, rows, Constant(NODES)).double().numpy()
        if model.T == 1:
            return L_T, 0.0, float(SHARES @ L_0)
        t = torch.arange(2, model.T + 1)
        rows = x_0.expand(len(t), *x_0.shape[1:])
        pair = [transition_term(model.chain, rows, t, Constant(np.array([s]))) for s in (1, -1)]
    L_mid = 0.5 * (pair[0].double() + pair[1].double())
    return L_T, float(L_mid.sum()), float(SHARES @ L_0)


@dataclass(frozen=True)
class Betas:
    """The tables of a chain, t = 1..T as entries 0..T-1, from alpha_bar alone."""

    a_bar: np.ndarray

    @property
    def a_prev(self):
        return np.concatenate([[1.0], self.a_bar[:-1]])

    @property
    def beta(self):
        return 1 - self.a_bar / self.a_prev

    @property
    def tilde(self):
        return self.beta * (1 - self.a_prev) / (1 - self.a_bar)

    def variance(self, name, f=0.0):
        """V_t, with V_1 = beta-tilde_2; f is what a learned range interpolates by."""
        low = np.concatenate([self.tilde[1:2], self.tilde[1:]])
        if name == "small":
            return low
        if name == "large":
            return np.concatenate([self.tilde[1:2], self.beta[1:]])
        return self.beta**f * low ** (1 - f)

    @classmethod
    def kept(cls, betas, steps=None):
        """The chain of betas, or that of its kept steps (1..T)."""
        a_bar = np.cumprod(1 - np.asarray(betas, np.float64))
        return cls(a_bar if steps is None else a_bar[np.asarray(steps) - 1])


def reading(predicts, chain, u, w):
    """(A_t, B_t) of x0-hat where the network's output is u x_t + w."""
    a, s = np.sqrt(chain.a_bar), np.sqrt(1 - chain.a_bar)
    if predicts == "eps":
        return (1 - s * u) / a, -s * w / a
    if predicts == "v":
        return a - s * u, -s * w
    return np.full_like(a, u), np.full_like(a, w)


def closed_form(chain, V, A, B, levels, n):
    """(L_T, sum of L_{t-1}, L_0) of one image of n levels on [-1, 1], in nats."""
    x = 2 * np.asarray(levels, np.float64).reshape(-1) / (n - 1) - 1
    rest = 1 - chain.a_bar
    L_T = 0.5 * (chain.a_bar[-1] * x**2 + rest[-1] - 1 - math.log(rest[-1]))
    c_1 = np.sqrt(chain.a_prev) * chain.beta / rest
    ratio = chain.tilde[1:] / V[1:]
    a = np.sqrt(chain.a_bar)
    error = (np.outer(x, 1 - A * a) - B) ** 2 + A**2 * rest
    L_mid = 0.5 * (ratio - 1 - np.log(ratio) + c_1[1:] ** 2 * error[:, 1:] / V[1:])
    x_1 = a[0] * x[:, None] + math.sqrt(rest[0]) * NODES
    mean = A[0] * x_1 + B[0]
    half, deviation = 1 / (n - 1), math.sqrt(V[0])
    low, high = (x[:, None] - half - mean) / deviation, (x[:, None] + half - mean) / deviation
    first, last = np.asarray(levels).reshape(-1) == 0, np.asarray(levels).reshape(-1) == n - 1
    up, down = np.where(low > 0, -low, high), np.where(low > 0, -high, low)
    mass = log_ndtr(up) + np.log1p(-np.exp(log_ndtr(down) - log_ndtr(up)))
    mass = np.where(first[:, None], log_ndtr(high), mass)
    mass = np.where(last[:, None], log_ndtr(-low), mass)
    return L_T.sum(), L_mid.sum(), -(mass @ SHARES).sum()
