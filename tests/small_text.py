"""Ten windows of text and a small model of them, as if it were trained."""

import torch

import nelbo
from nelbo.data import windows

CHANGES = ["network.width=8", "network.layers=1", "network.heads=2", "network.pairs=1"]
TEXT = windows(["Grüße an alle.", "a", "日本語 and more"], context=6, stride=4, documents="apart")


def small_model():
    """Not all symbols are alike to it."""
    made = nelbo.recipe.build(nelbo.recipe.read("text", CHANGES), (6,), 257)
    with torch.no_grad():
        made.network.out.bias.copy_(torch.linspace(-2, 2, 257))
    return made
