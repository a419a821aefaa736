"""Toys that are conditional on a class: each class has a network of its own, asked row by row.

The numbers of a row are computed by the network of its label alone, so a conditional chain must
give what the class's own chain gives, to the last bit, whatever else is in the batch.
"""

from dataclasses import replace

import torch
from torch import nn

from nelbo.categorical.reverse import PRIORS, CategoricalReverse
from nelbo.categorical.reverse import TIME_INPUTS as CATEGORICAL_TIMES
from nelbo.data import Images
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.gaussian.decoder import Discretized
from nelbo.gaussian.parametrization import V
from nelbo.gaussian.reverse import TIME_INPUTS
from nelbo.gaussian.schedule import linear
from nelbo.gaussian.variance import small
from nelbo.model import Settings, gaussian_model
from nelbo.types import Grid

GRID = Grid(5, -1.0, 1.0)
SHAPE = (1, 2, 2)


class Tilted(nn.Module):
    """gain x + bend / (1 + x^2) + slope t, each number by itself."""

    def __init__(self, number):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.1 + 0.2 * number))
        self.number = number

    def forward(self, x, t):
        time = t.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        return self.weight * x + (0.3 - 0.2 * self.number) / (1 + x * x) + 0.01 * time


class ByLabel(nn.Module):
    """The network of each row's label; `told` are the labels that it was asked with."""

    def __init__(self, *networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.labels = []

    def forward(self, x, t, label):
        self.labels.append(label.clone())
        every = torch.stack([network(x, t) for network in self.networks])
        return every[label, torch.arange(len(x))]


def model_of(network, name="toy", T=6):
    """A Gaussian model of 2x2 images over five levels, by this network of t."""
    return gaussian_model(
        network,
        linear(T, 0.02, 0.5),
        parametrization=V,
        variance=lambda schedule: small(schedule, "beta_tilde_2"),
        decoder=Discretized(GRID),
        time_input=TIME_INPUTS["t"],
        clip=None,
        grid=GRID,
        shape=SHAPE,
        name=name,
        settings=Settings(schedule={"name": "linear", "T": T}),
    )


def conditional(classes=2):
    """(the model of p(x | class), the models of each class alone)."""
    networks = [Tilted(number) for number in range(classes)]
    whole = replace(model_of(ByLabel(*networks)), classes=classes)
    return whole, [model_of(network) for network in networks]


def continuous(network, log_snr, decoder):
    """A model in continuous time by this network."""
    return ContinuousGaussian(network, log_snr, parametrization=V, decoder=decoder)


def categorical(network, q, levels):
    """p_theta of a D3PM chain by this network."""
    prior, time_input = PRIORS["uniform"](q.transition), CATEGORICAL_TIMES["t"]
    return CategoricalReverse(network, q, time_input=time_input, prior=prior, levels=levels)


def images(count, classes=2, seed=0):
    """So many labelled images, whose ids are not their places."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(GRID.n, (count, *SHAPE), generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    ids = torch.randperm(3 * count, generator=generator)[:count]
    return Images("toys", None, levels, GRID.n, kept=ids, labels=labels)


def of_class(data, label):
    """The places of this class, and its images."""
    places = (data.labels == label).nonzero()[:, 0]
    return places, data.subset(places)
