"""The ODE's likelihood under kills, in other batches and by several processes: the same numbers."""

import ranks
import several
import torch
from several import ODE_SETTINGS, OdeNetwork, Stopped, ode_figures, ode_of

from nelbo.bound.statistics import Mean
from nelbo.results.saved import DIGEST

torch.set_num_threads(1)


def without_times(result):
    """All that the JSON says but for how long it took, and its digest, which is of that too."""
    return {key: value for key, value in result.to_dict().items() if key not in ("seconds", DIGEST)}


def test_a_killed_evaluation_goes_on_to_the_same_json(tmp_path):
    """Stopped at a call of the network, and again later. Kills: evaluations of rk45 that a record
    forgets; a stage that another start numbers otherwise; work that is done again.
    """
    for name, settings in ODE_SETTINGS.items():
        network, record = OdeNetwork(), tmp_path / name
        whole = without_times(ode_of(network, record=tmp_path / f"{name}-whole", **settings))
        calls, stops = network.calls, 0
        network.calls = 0
        for after in (calls // 3, calls // 3):
            network.left = after
            try:
                ode_of(network, record=record, **settings)
            except Stopped:
                stops += 1
        network.left = None
        assert without_times(ode_of(network, record=record, **settings)) == whole
        assert stops == 2
        assert network.calls < 1.5 * calls


def test_batches_and_processes_do_not_change_the_numbers(tmp_path):
    """Kills: probes or points by the place in a batch or by rank; rk45's steps by who else is in
    the batch; evaluations that a process counts alone.
    """
    alone = ode_figures(None)
    others = [ode_figures(None, batch_size=3), *ranks.results(tmp_path, several.ode_figures)]
    for other in others:
        assert other.keys() == alone.keys()
        for name, (means, shares, evaluations, slopes) in alone.items():
            for mean, their in zip(means, other[name][0], strict=True):
                _assert_same(Mean(*mean), Mean(*their))
            torch.testing.assert_close(other[name][1], shares, rtol=1e-6, atol=1e-9)
            assert other[name][2:] == (evaluations, slopes)


def _assert_same(mean, their):
    """To rounding in float64."""
    assert abs(their.mean - mean.mean) <= 1e-9 * abs(mean.mean)
    assert (their.se is None) == (mean.se is None)
    assert abs((their.se or 0.0) - (mean.se or 0.0)) <= 1e-6 * (mean.se or 1.0)
