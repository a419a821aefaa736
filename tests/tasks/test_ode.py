"""The ODE's likelihood from the data to the figure: Gaussian data, where all of it is a formula.

With an exact network for N(m, d^2) the flow is affine, so p(z_1) is a Gaussian, and so are
q(z_1 | x_0) and the decoder: the figure of each image is a mean of quadratics.
"""

import json
import math
from dataclasses import replace

import pytest
import torch

import nelbo
from conftest import PLAIN, changed, small_recipe
from nelbo import recipe
from nelbo.data import as_images, as_points
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator
from nelbo.estimation.ode import OdeSampling
from nelbo.estimation.ode_convention import Convention

torch.set_num_threads(1)
M, D = 0.1, 0.5
FIRST, LAST = 1.0, -5.0
SHAPE = (1, 1, 2)
ROUGH = {"precision": 9.0, "check": False}  # of the bound beside it, which then takes no time


def eps(z, log_snr):
    """E[eps | z] of z = a x_0 + s eps, for data N(M, D^2)."""
    level = log_snr.double().reshape(-1, 1, 1, 1)
    a, s = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
    return s / (a * a * D * D + s * s) * (z - a * M)


def model_of(network=eps, **options):
    given = {
        "path": "cosine",
        "predicts": "eps",
        "time_input": "log-snr",
        "log_snr": (FIRST, LAST),
        "shape": SHAPE,
        "clip": False,
    }
    return nelbo.wrap(network, **(given | options))


def density(**options):
    return model_of(decoder="density", **options)


def points(count=300, seed=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
    return as_points(M + D * x)


def images(count=300, n=9):
    x = points(count).values
    return as_images(((x + 1) / 2 * (n - 1)).round().clamp(0, n - 1).long(), n=n)


def ends():
    def of(log_snr):
        a, s = (1 / (1 + math.exp(-x)) for x in (log_snr, -log_snr))
        return math.sqrt(a), math.sqrt(s), math.sqrt(a * D * D + s)

    return of(FIRST), of(LAST)


def flow_density():
    """(a_1, s_1, mean and deviation of p(z_1))."""
    (a, s, deviation), (a_T, _, last) = ends()
    ratio = last / deviation
    return a, s, a * M - a_T * M / ratio, 1 / ratio


def surprise(x, mean, deviation):
    """-log N(x; mean, deviation^2)."""
    return 0.5 * ((x - mean) / deviation) ** 2 + math.log(deviation * math.sqrt(2 * math.pi))


def by_one_point(x_0):
    """E over z_1 ~ q of -log p(z_1) - log p(x_0 | z_1) + log q(z_1 | x_0), of each image."""
    a, s, mean, deviation = flow_density()
    gain = a * D * D / (a * a * D * D + s * s)
    V_1 = math.exp(-FIRST)
    there = surprise(a * x_0, mean, deviation) + 0.5 * (s / deviation) ** 2
    back = surprise(x_0, M + gain * (a * x_0 - a * M), math.sqrt(V_1)) + 0.5 * (gain * s) ** 2 / V_1
    entropy = 0.5 * math.log(2 * math.pi * math.e * s * s)
    return (there + back - entropy).flatten(1).sum(1)


def marginal(x_0):
    """-log of the integral of p(z_1) p(x_0 | z_1), of each image."""
    a, s, mean, deviation = flow_density()
    gain = a * D * D / (a * a * D * D + s * s)
    spread = math.sqrt((gain * deviation) ** 2 + math.exp(-FIRST))
    return surprise(x_0, M + gain * (mean - a * M), spread).flatten(1).sum(1)


def z_score(result, truth):
    return (result.total.mean - float(truth.mean())) / result.monte_carlo.se


def test_the_figure_of_a_density_is_the_closed_form():
    """Kills: -log q left out, or added; the decoder's sign; solver's change subtracted; a figure
    without its error.
    """
    data = points()
    result = nelbo.ode_likelihood(density(), data, precision=0.02)
    assert abs(z_score(result, by_one_point(data.values))) < 4
    assert result.half_width(result.monte_carlo) < 0.03
    assert set(result.shares) == {"solver", "trace", "dequantisation"}
    bound = nelbo.evaluate(density(), data, precision=0.02)
    assert result.bound.per_dim == bound.per_dim
    sampling, monte_carlo = result.difference
    assert sampling.mean == pytest.approx(result.total.mean - bound.total.mean, abs=1e-9)
    assert sampling.se < result.total.se
    assert monte_carlo.se >= math.hypot(result.monte_carlo.se, bound.monte_carlo.se) * 0.999


def test_weights_of_many_points_average_to_the_likelihood():
    """The mean of 64 weights, z below 4 of what it falls to. Kills: log K left out; a mean of logs;
    points of one draw that are the same.
    """
    data = points(60)
    one, many = (
        nelbo.ode_likelihood(density(), data, importance=count, steps=12, draws=4, **ROUGH)
        for count in (1, 64)
    )
    truth = marginal(data.values)
    assert float((by_one_point(data.values) - truth).mean()) > 0.05
    assert -4 < z_score(many, truth) < 6
    assert many.total.mean - float(truth.mean()) < 0.02
    assert abs(z_score(one, by_one_point(data.values))) < 4


def test_uniform_dequantisation_is_the_published_convention():
    """-log p(a y) - log a - log of the bin's width, y uniform on the bin. Kills: log a left out;
    the width; a bin that begins at its level.
    """
    data, (a, _, mean, deviation) = images(), flow_density()
    result = nelbo.ode_likelihood(
        model_of(levels=9), data, dequantise="uniform", precision=0.02, check=False
    )
    x_0 = data.levels.double() / 4 - 1
    there = surprise(a * x_0, mean, deviation) + 0.5 * (a * 0.25 / deviation) ** 2 / 12
    truth = (there - math.log(a) - math.log(0.25)).flatten(1).sum(1)
    assert abs(z_score(result, truth)) < 4
    assert "uniform dequantisation is not the model's own" in str(result)
    with pytest.raises(BadInput, match="have no levels between"):
        nelbo.ode_likelihood(density(), points(4), dequantise="uniform")


def test_levels_are_measured_in_bits_and_lie_on_the_bounds_side(tmp_path):
    """With points of q and the bound's decoder the exact network's figure is near the bound's,
    whose chain is of the same marginals. Kills: a unit of nats; a decoder of another variance.
    """
    result = nelbo.ode_likelihood(model_of(levels=9), images(), precision=0.02)
    assert result.unit.name == "bits/dim"
    assert abs(result.unit.per_dim(result.difference[0].mean, 2)) < 0.03
    tree = json.loads(result.to_json())
    assert tree["schema"] == "nelbo.ode/1"
    assert json.loads(result.save(tmp_path / "ode.json").read_text()) == tree
    assert "not a bound" in result._repr_html_()
    assert tree["kind"].endswith("not a bound")
    assert "not a bound" in str(result)
    assert "not a bound" in result.headline


def test_rows_are_added_where_their_spread_is_too_much_and_steps_where_these_are():
    """8 rows where the change is the same in all; up to 32, of all 20 images, where it is not.
    Kills: rows that never grow; steps that are doubled for what rows would mend; rows that are
    computed again.
    """
    model, data = density(), points(20)

    def looked(bias, spread):
        sampling, rows = OdeSampling(Evaluator([model], data, 0), Convention()), {}

        def nats(image, draw, n, *, fresh):
            rows.setdefault(n, []).extend(zip(image.tolist(), draw.tolist(), strict=True))
            sign = (-1.0) ** torch.arange(len(image)).double()
            return (bias * (10 / n) ** 4 + spread * sign * 10 / n).double()

        sampling.nats = nats
        looks = sampling.look(0.1)
        assert all(len(set(own)) == len(own) == len(looks.nats[n]) for n, own in rows.items())
        assert {n: set(own) for n, own in rows.items()} == {n: set(rows[10]) for n in rows}
        return looks.steps, looks.images, len(looks.nats[10])

    assert looked(0.0, 0.0) == (10, 8, 8)
    assert looked(1.0, 0.0) == (20, 8, 8)
    assert looked(0.0, 0.2) == (10, 20, 40)
    assert looked(0.0, 2.0)[1:] == (20, 40)


def test_batches_and_a_record_change_nothing(tmp_path):
    """Kills: probes or points by the place in a batch; a record of other settings."""
    data, model = points(5), density()
    settings = {"steps": 6, "draws": 2, "importance": 2, **ROUGH}
    whole = nelbo.ode_likelihood(model, data, record=tmp_path / "kept", **settings)
    again = nelbo.ode_likelihood(model, data, record=tmp_path / "kept", **settings)
    assert again.total == whole.total
    assert again.network_evaluations == whole.network_evaluations
    with pytest.raises(BadInput, match="record of another evaluation"):
        nelbo.ode_likelihood(model, data, record=tmp_path / "kept", **settings | {"importance": 3})
    part = nelbo.ode_likelihood(model, data, batch_size=7, **settings)
    assert part.total.mean == pytest.approx(whole.total.mean, rel=1e-9)
    assert part.monte_carlo.se == pytest.approx(whole.monte_carlo.se, rel=1e-6)


def test_evaluations_are_counted_with_a_backward_pass_as_two():
    """Kills: a count of rows; backward passes that cost nothing."""
    calls = []

    def counted(z, log_snr):
        calls.append(len(z))
        return eps(z, log_snr)

    model = density(network=counted)
    settings = {"steps": 6, "draws": 2, **ROUGH}
    result = nelbo.ode_likelihood(model, points(3), **settings)
    rows_at_n, rows_at_2n = 3 * 3 + 3 * 2 + 3 * 2, 3 * 3  # looks, draws, other probes
    forward = rows_at_n * (25 + 1) + rows_at_2n * (49 + 1)
    assert sum(calls) - result.bound.network_evaluations == forward
    assert result.network_evaluations == forward + 2 * (7 * rows_at_n + 13 * rows_at_2n)


def _rounding(z, log_snr):
    """A gradient that is not that of the output."""
    return eps(z, log_snr) + (0.3 * z - 0.3 * z.detach()) * torch.ones(())


def test_what_has_no_ode_is_refused_in_one_line():
    """Each with the reason. Kills: an ODE through times that no network was trained at."""
    test = nelbo.data.load("digits:test").first(4)
    masked = recipe.build(changed("digits-absorbing", {"network.width": 8}), (1, 8, 8), 17)
    whole = recipe.build(small_recipe(**(PLAIN | {"network.time_input": "t"})), (1, 8, 8), 17)
    with pytest.raises(BadInput, match="is no Gaussian chain"):
        nelbo.ode_likelihood(masked, test)
    with pytest.raises(BadInput, match="no time between them"):
        nelbo.ode_likelihood(whole, test)
    with pytest.raises(BadInput, match="cannot be differentiated"):
        nelbo.ode_likelihood(density(network=lambda z, t: eps(z, t).detach()), points(4))
    with pytest.raises(BadInput, match="is not that of its output"):
        nelbo.ode_likelihood(density(network=_rounding), points(4))
    for option, value, message in (
        ("dequantise", "normal", "dequantise is model or uniform"),
        ("steps", 4, "steps must be at least 5"),
        ("draws", 1, "draws must be at least 2"),
        ("importance", 0, "importance must be at least 1"),
        ("probes", 0, "probes must be at least 1"),
        ("precision", 0.0, "precision must be positive"),
    ):
        with pytest.raises(BadInput, match=message):
            nelbo.ode_likelihood(density(), points(4), **{option: value})


def test_the_exact_trace_leaves_no_error_of_probes():
    data = points(5)
    result = nelbo.ode_likelihood(density(), data, steps=6, draws=2, probes="exact", **ROUGH)
    assert result.shares["trace"] == 0
    assert "the exact trace" in str(result)


def test_the_published_solver_has_its_figure_and_no_error_bar():
    """RK45 on Gaussian data by the closed form, counted, without a Monte Carlo interval. Kills: an
    error invented for its steps; probes that are fresh along its path; evaluations not counted.
    """
    calls = []

    def counted(z, log_snr):
        calls.append(len(z))
        return eps(z, log_snr)

    data = points(60)
    settings = {"solver": "rk45", "draws": 2, **ROUGH}
    result = nelbo.ode_likelihood(density(network=counted), data, **settings)
    tree = result.to_dict()
    known = math.hypot(result.shares["trace"], result.shares["dequantisation"]) / 1.9
    assert abs(result.total.mean - float(by_one_point(data.values).mean())) < 4 * known
    assert tree["half_widths"]["solver"] is tree["ci95_monte_carlo"] is None
    assert tree["ode_minus_bound"]["ci95_monte_carlo"] is None
    assert tree["by_steps"] == []
    for text in ("solver ± unknown", "kept along the path", "no Monte Carlo interval"):
        assert text in str(result)
    early = dict(result.estimator) | {"stopped_by": "a tenth of the sampling error"}
    ended = str(replace(result, estimator=early | {"precision": 1e-9}))
    assert "stopped: the error of trace and dequantisation, without the solver's, is a" in ended
    forward = sum(calls) - result.bound.network_evaluations
    rows = 60 * 2 + 16  # draws, and other probes at some of the points
    assert result.network_evaluations == forward + 2 * (forward - rows)
    mean = tree["estimator"]["ode_evaluations"]["mean"]
    assert mean == pytest.approx((forward - rows) / rows, rel=1e-12)
    exact = {"draws": 2, "probes": "exact", **ROUGH}
    adaptive, even = (
        nelbo.ode_likelihood(density(), points(5), **exact, **own)
        for own in ({"solver": "rk45"}, {"solver": "rk4", "steps": 40})
    )
    assert adaptive.total.mean == pytest.approx(even.total.mean, abs=1e-4)
    with pytest.raises(BadInput, match="solver rk45 chooses its steps itself"):
        nelbo.ode_likelihood(density(), data, steps=9, **settings)
    with pytest.raises(BadInput, match="solver is rk4 or rk45"):
        nelbo.ode_likelihood(density(), data, solver="euler")
