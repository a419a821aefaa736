"""RK45 with steps of each row's own: scipy's solve_ivp, a row at a time, is the second opinion."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from test_ode_flow import POINTS, X_0, closed_form, expected, flow_of, marginal
from torch import nn
from truth import assert_close

from nelbo.errors import BadInput
from nelbo.gaussian.ode import ExactTrace
from nelbo.gaussian.rk45 import rk45

torch.set_num_threads(1)
RATE = torch.tensor([0.3, 2.0, 5.0, 0.0], dtype=torch.float64)
START = torch.tensor([[1.0, -0.5], [2.0, 0.1], [-1.0, 0.7], [0.4, 0.0]], dtype=torch.float64)


def bent(rate, time, y):
    """A slope with a bump, before which steps have grown too long; of numpy or torch."""
    exp = torch.exp if isinstance(y, torch.Tensor) else np.exp
    return 8 * rate * exp(-300 * (time - 0.6) ** 2) - rate * y / (1 + y * y)


def slope(rows, time, y):
    return bent(RATE[rows][:, None], time[:, None], y)


@pytest.mark.parametrize(("first", "last"), [(0.0, 2.0), (1.5, -0.7)])
def test_each_row_is_solved_as_scipy_solves_it_alone(first, last):
    """As many evaluations, and the same end to 1e-10. Kills: an error over all rows; a step that
    grows after a refusal; a first step of another order; a last step past the end.
    """
    for tolerance in (1e-3, 1e-5):
        end, evaluations = rk45(slope, START, first, last, tolerance)
        for row, rate in enumerate(RATE.tolist()):
            ours = (end[row].numpy(), int(evaluations[row]))

            def alone(time, y, rate=rate):
                return bent(rate, time, y)

            settings = {"method": "RK45", "rtol": tolerance, "atol": tolerance}
            theirs = solve_ivp(alone, (first, last), START[row].numpy(), **settings)
            assert ours[1] == theirs.nfev
            np.testing.assert_allclose(ours[0], theirs.y[:, -1], rtol=1e-10, atol=1e-10)
        some, few = rk45(lambda r, t, y: slope(r + 1, t, y), START[1:3], first, last, tolerance)
        assert_close(some, end[1:3], 1e-12)
        assert torch.equal(few, evaluations[1:3])


def test_a_row_that_breaks_is_nan_and_noise_is_refused(monkeypatch):
    """Kills: steps that shrink for ever; one row's NaN in another."""

    def broken(rows, time, y):
        return slope(rows, time, y).where((rows != 1)[:, None] | (time < 1)[:, None], torch.nan)

    end, _ = rk45(broken, START, 0.0, 2.0, 1e-5)
    whole, _ = rk45(slope, START, 0.0, 2.0, 1e-5)
    assert end[1].isnan().all()
    assert_close(end[[0, 2, 3]], whole[[0, 2, 3]], 1e-12)

    def noise(rows, time, y):  # as of a network that draws, or rounds its time
        return torch.sin(1e12 * time[:, None]) + torch.zeros_like(y)

    monkeypatch.setattr("nelbo.gaussian.rk45.LONGEST", 600)
    with pytest.raises(BadInput, match="RK45 at 1e-05 is not at its end after 600 evaluations"):
        rk45(noise, START, 0.0, 2.0, 1e-5)


class Plain(nn.Module):
    """The best network at the log SNR of each row."""

    def forward(self, x, log_snr):
        pairs = zip(x.split(1), log_snr.tolist(), strict=True)
        return torch.cat([expected(row, *marginal(level)) for row, level in pairs])


def test_the_density_by_rk45_is_that_of_the_closed_form():
    """Within 20 times the tolerance, for Gaussian data and a mixture. Kills: the divergence's sign;
    an integral whose error is not controlled; log p of the start in place of the end.
    """
    flow, x = flow_of(Plain(), X_0), POINTS.reshape(-1, 1, 1, 2)
    truth = closed_form(POINTS)
    for tolerance in (1e-5, 1e-7):
        log_p, evaluations = flow.adaptive_log_density(x, ExactTrace(), tolerance)
        assert_close(log_p, truth, 0, 20 * tolerance)
        assert ((evaluations - 2) % 6 == 0).all()
