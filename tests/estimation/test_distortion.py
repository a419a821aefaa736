"""Rate and distortion along the chain, from weighted sums by t."""

import pytest
import torch

from nelbo.estimation.distortion import POINTS, Distortion


@pytest.mark.parametrize("T", [2, 3, POINTS + 1, 100, 1000])
@pytest.mark.parametrize("known", [True, False])
def test_the_rate_of_each_t_is_what_all_larger_t_cost(T, known):
    """Kills: the rate of a group's last t said to be that of its first."""
    images = 3
    t = torch.arange(2, T + 1).repeat(images)
    term, error = 1 / t.double() ** 2, t.double() ** 3
    sums = Distortion(T)
    for part in (slice(None, None, 2), slice(1, None, 2)):
        weight = torch.ones_like(term[part])
        sums.update(t[part], weight, term[part], error[part] if known else None)
    curve = sums.curve(0.25, images)
    assert len(curve.t) == min(POINTS, T - 1)
    assert (curve.t.diff() > 0).all()
    wanted = torch.stack([0.25 + term[: T - 1][time - 1 :].sum() for time in curve.t])
    torch.testing.assert_close(curve.rate, wanted, rtol=1e-12, atol=0)
    if not known:
        assert curve.squared_error is None
        return
    ends = torch.cat([curve.t[:1] * 0 + 2, (curve.t[:-1] + curve.t[1:] + 1) // 2, t.max()[None]])
    for error, low, high in zip(curve.squared_error, ends, ends[1:], strict=False):
        assert (low - 1) ** 3 <= error <= (high + 1) ** 3
