"""Absorbing chains with random networks, small enough for laws, and their integer twins."""

import functools

import torch
from torch import nn

from nelbo.categorical.resampling import absorbing
from nelbo.categorical.reverse import PRIORS, TIME_INPUTS
from nelbo.coding import twin_of
from nelbo.data import Images
from nelbo.model import Settings, categorical_model
from nelbo.networks.embedded import Embedded
from nelbo.networks.resnet import ResNet
from nelbo.types import Grid


def float_model(seed=0, *, n=5, shape=(1, 4, 4), T=8, embedding=None, classes=None):
    """A chain over n levels whose network has random weights, its last layer too."""
    channels = shape[0]
    inputs = channels * (embedding or n + 1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = ResNet(inputs, n * channels, width=8, blocks=1, dropout=0.0, classes=classes)
        made = made if embedding is None else Embedded(made, n + 1, embedding)
        for module in made.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.2)
                nn.init.normal_(module.bias, std=0.5)
    return categorical_model(
        made,
        absorbing([1 / (T - t + 1) for t in range(1, T + 1)], n + 1),
        prior=PRIORS["target"],
        time_input=TIME_INPUTS["fraction"],
        grid=Grid(n),
        shape=shape,
        name="toy",
        settings=Settings(schedule={"name": "betas", "T": T}, notes={"transition": "absorbing"}),
        ids=embedding is not None,
    )


def random_images(seed=0, count=32, *, n=5, shape=(1, 4, 4)):
    """Images of noise."""
    draw = torch.Generator().manual_seed(seed)
    return Images("toy", None, torch.randint(n, (count, *shape), generator=draw), n)


@functools.cache
def twin(seed=0, n=5, shape=(1, 4, 4), embedding=None):
    """The integer twin of such a model, with a short table of silu."""
    model = float_model(seed, n=n, shape=shape, embedding=embedding)
    return twin_of(model, random_images(seed, n=n, shape=shape), silu_entries=2**10)
