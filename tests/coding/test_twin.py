"""A twin is its network but for rounding, and what has none is refused by the layer's name."""

import pytest
import torch
from torch import nn
from twins import float_model, random_images, twin

from nelbo.coding import twin_of
from nelbo.errors import BadInput
from nelbo.networks.adapter import Adapter
from nelbo.networks.integers import Twin
from nelbo.networks.integers.arithmetic import LARGEST


@pytest.mark.parametrize("embedding", [None, 3])
@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 4, 6)])
def test_logits_are_those_of_the_network_but_for_rounding(embedding, shape):
    """At every t. Kills: a time of another t, a scale that is left out, channels exchanged.

    The silu table has steps of about 1/100 here, so that logits of a few nats differ by hundredths.
    """
    real, whole = float_model(3, shape=shape, embedding=embedding), twin(3, 5, shape, embedding)
    x = random_images(4, 24, shape=shape).levels.long()
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) < 0.5
    x_t, t = torch.where(hidden, 5, x), torch.arange(24) % 8 + 1
    with torch.no_grad():
        wanted, result = real.chain.p.log_pi(x_t, t), whole.chain.p.log_pi(x_t, t)
    wanted, result = wanted[..., :5], result[..., :5]
    spread = float(wanted.std())
    assert spread > 0.5
    assert float((result - wanted).square().mean().sqrt()) < 0.02 * spread


def test_a_silu_table_of_any_even_length_is_that_of_silu():
    """Kills: values that pass 2^15 and are cut there, where the length is no power of two."""
    network = twin_of(float_model(3), random_images(3), silu_entries=1000).network
    values = network.silu.values.double()
    assert 2**13 <= values.max() < LARGEST
    x = values[-1] / values[-2]  # silu(x) is nearly x at the end, whose entries are 499 and 498
    assert float(x) == pytest.approx(499 / 498, rel=1e-3)


def test_a_network_with_classes_is_refused():
    """Kills: a class that the decoder does not know."""
    with pytest.raises(BadInput, match="no integer twin of the layer label"):
        Twin(float_model(classes=3).network, {"pixels": 16, "times": 8})


def test_another_network_is_refused_by_its_kind():
    """Kills: a network that is taken for a resnet."""
    with pytest.raises(BadInput, match="no integer twin of Adapter"):
        Twin(Adapter(nn.Identity()), {"pixels": 16, "times": 8})


def test_a_twin_of_a_twin_is_refused():
    """Kills: ranges of whole numbers taken for those of a network."""
    with pytest.raises(BadInput, match="no integer twin of Twin"):
        twin_of(twin(), random_images())
