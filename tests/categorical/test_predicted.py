"""log p of a value with and without a table of all states."""

import math

import pytest
import torch

from nelbo.categorical.predicted import Predicted


@pytest.mark.parametrize("dims", [(3,), (1, 2, 4), (3, 2, 4)])
def test_the_mass_of_a_value_is_that_of_the_table(dims):
    """For data without and with places, of one and more channels.

    Kills: the levels of another channel; the mask, which is no level, with the mass of one.
    """
    draw = torch.Generator().manual_seed(0)
    levels, K, C, *rest = 5, 6, *dims
    logits = 3 * torch.randn(7, C, levels, *rest, generator=draw, dtype=torch.float64)
    predicted = Predicted(logits, K)
    table = predicted.log_probs
    assert table.shape == (7, *dims, K)
    assert (table[..., -1] == -math.inf).all()
    torch.testing.assert_close(table.exp().sum(-1), torch.ones(7, *dims, dtype=torch.float64))
    for k in range(K):
        mass = predicted.log_mass(torch.full((7, *dims), k))
        torch.testing.assert_close(mass, table[..., k], rtol=1e-12, atol=1e-12)
    x = torch.randint(K, (7, *dims), generator=draw)
    own = table.gather(-1, x[..., None])[..., 0]
    torch.testing.assert_close(predicted.log_mass(x), own, rtol=1e-12, atol=1e-12)
