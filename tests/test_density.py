"""Data that are real numbers: a density in nats per dimension, from arrays to reports."""

import json
import math

import numpy as np
import pytest
import torch

import nelbo
from linear_bound import through_the_model
from nelbo.data import Images, Points, as_points, load_for
from nelbo.errors import BadInput
from nelbo.gaussian.controls import AffineControl
from nelbo.metrics import BitsPerDim
from nelbo.report.evaluation_plots import plots_of
from nelbo.results import BITS, Unit, per_image
from nelbo.results.evaluation import Evaluation
from nelbo.tasks.compare import compare
from nelbo.types import Grid, Reals

BETAS = [0.1, 0.2, 0.3, 0.4]
MEAN, DEVIATION = 0.1, 0.5
# hazards 2.2, T4: data N(0.1, 0.5^2), the exact denoiser, x_0 = 1: L_T, sum of L_(t-1), L_0
AT_1 = {
    ("small", "beta_tilde_2"): (0.180054703194, 1.786505975743, 0.508995667214),
    ("large", "beta_tilde_2"): (0.180054703194, 1.085429525950, 0.508995667214),
    ("large", "beta_1"): (0.180054703194, 1.085429525950, 0.417350128719),
}
ON_AVERAGE = {"small": 0.915907729407, "large": 0.802536264004}  # of one dimension


def exact(x_t, t):
    """E[x_0 | x_t] for data N(0.1, 0.5^2) in each dimension, t = 1..4."""
    a_bar = torch.tensor(BETAS, dtype=torch.float64).neg().log1p().cumsum(0).exp()[t - 1]
    a_bar = a_bar.reshape(-1, *(1,) * (x_t.ndim - 1)).to(x_t)
    v = a_bar * DEVIATION**2 + 1 - a_bar
    return MEAN + a_bar.sqrt() * DEVIATION**2 / v * (x_t - a_bar.sqrt() * MEAN)


def model(shape=(1,), network=exact, predicts="x_0", variance="small", **options):
    return nelbo.wrap(
        network,
        schedule=BETAS,
        predicts=predicts,
        variance=variance,
        time_input="t",
        decoder="density",
        **({"shape": shape} if "data" not in options else {}),
        **options,
    )


def points(count, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return MEAN + DEVIATION * torch.randn(count, *shape, generator=generator)


def refused(message, call, *arguments, **options):
    with pytest.raises(BadInput, match=message) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("variance", "V_1"), list(AT_1))
def test_the_exact_denoiser_has_the_terms_of_the_table(variance, V_1):
    """Toy data of one axis. Kills: H05, H10, a grid in the way of real numbers."""
    result = through_the_model(
        model(variance=variance, V_1=V_1), torch.ones(1, dtype=torch.float64)
    )
    assert result == pytest.approx(AT_1[variance, V_1], abs=1e-10)


@pytest.mark.parametrize("variance", list(ON_AVERAGE))
@pytest.mark.parametrize("mode", [{"exhaustive": True}, {"budget": 60_000}])
def test_evaluate_finds_the_mean_bound_of_points_in_the_plane(variance, mode):
    """E_data of the bound, closed form, |z| < 4 with the interval of the sampling of images.

    Kills: a factor ln 2 or D (H09), a control variate whose expectation is of other data.
    """
    data = points(2000, 2)
    result = nelbo.evaluate(model((2,), variance=variance), data, **mode)
    assert abs(result.total.mean - 2 * ON_AVERAGE[variance]) < 4 * result.total.se
    assert result.per_dim == pytest.approx(result.total.mean / 2, rel=1e-15)
    assert all(test["passed"] for test in result.estimator.get("controls", []))


def test_the_affine_control_explains_all_noise_of_an_affine_network():
    """The exact denoiser is the control: what is left is the data's own estimate of it.

    Kills: controls left out for densities, or made of casts to integers.
    """
    wrapped = model((2,))
    data = points(2000, 2)
    (control,) = wrapped.controls(data, None)
    assert isinstance(control, AffineControl)
    assert torch.allclose(control.mean, data.double().mean(0))
    with_it = nelbo.evaluate(wrapped, data, budget=20_000)
    assert [test["name"] for test in with_it.estimator["controls"]] == ["affine denoiser"]
    bare = model((2,), network=lambda x, t: exact(x, t))
    object.__setattr__(bare, "controls", lambda values, context: [])
    without = nelbo.evaluate(bare, data, budget=20_000)
    ratio = with_it.terms["L_mid"][1].se / without.terms["L_mid"][1].se
    assert ratio < 0.25


def test_copies_of_the_dimensions_add_nats_and_keep_nats_per_dim():
    """H09: a point twice has twice the nats, and the same nats/dim, term by term."""
    one, x = points(1, 3)[0].double(), model((3,))
    twice = through_the_model(model((6,)), torch.cat([one, one]))
    assert twice == pytest.approx([2 * term for term in through_the_model(x, one)], rel=1e-12)
    a = nelbo.evaluate(x, points(50, 3), exhaustive=True)
    table = per_image.PerImage(a.per_image.ids, *[a.per_image.total] * 5, dims=3, unit=a.unit)
    doubled = per_image.PerImage(a.per_image.ids, *[2 * a.per_image.total] * 5, 6, a.unit)
    assert torch.equal(table.columns()["nats_per_dim"], doubled.columns()["nats_per_dim"])


def test_the_change_of_scale_is_the_jacobian():
    """Data times c: the density falls by log c per dim, whatever c. Kills: a hidden scale.

    At x_0 = 0 of the zero network in x_0 L_0 alone depends on V_1: by log c where V_1 is times c^2
    and x_0 - x0-hat times c.
    """
    zero = torch.zeros(2, dtype=torch.float64)
    first = [
        through_the_model(
            model((2,), network=lambda x, t: torch.zeros_like(x), V_1=0.01 * c**2), zero
        )[2]
        for c in (1.0, 3.0)
    ]
    assert first[1] - first[0] == pytest.approx(2 * math.log(3.0), rel=1e-12)


def test_results_keep_their_unit_through_every_door(tmp_path):
    """JSON, files of both kinds, plots. Kills: bits of a density anywhere."""
    result = nelbo.evaluate(model((2,)), points(40, 2), exhaustive=True, distortion=True)
    tree = json.loads(result.to_json())
    assert (tree["bits_per_dim"], tree["unit"]) == (None, "nats/dim, density of data")
    assert set(tree["terms"]["L_0"]) == {"nats_per_dim", "se", "se_monte_carlo"}
    half = result.half_width(result.total)
    assert tree["ci95"][1] - tree["nats_per_dim"] == pytest.approx(half, rel=1e-9)
    for suffix in (".csv", ".parquet"):
        path = per_image.write(result.per_image, tmp_path / f"t{suffix}")
        table = per_image.read(path)
        assert list(table) == ["id", "nats_per_dim", "se", "L_T", "L_mid", "L_0"]
        assert torch.equal(table["nats_per_dim"], result.per_image.total / 2)
    plots = plots_of(Evaluation.from_dict(tree), result.per_image.columns())
    assert (plots.unit, plots.rate_distortion.levels) == ("nats/dim", None)
    first = plots.rate_distortion
    wanted = math.sqrt(float(result.distortion.squared_error[0]) / 2)
    assert first.rmse[0] == pytest.approx(wanted, rel=1e-12)
    text = str(compare(model((2,)), model((2,), variance="large"), points(40, 2), budget=2000))
    assert "nats/dim, density of data" in text
    assert "bits" not in text
    for table in (result, result.per_image):
        refused("density of data has no bits/dim", BitsPerDim(dims=2).update, table)


def test_the_unit_of_levels_is_bits():
    """Kills: the two units exchanged."""
    assert Unit.of(Grid(256)) == BITS
    assert BITS.per_dim(math.log(2) * 6, 3) == pytest.approx(2.0, rel=1e-15)
    assert BITS.headline(math.log(2), 1) == {"bits_per_dim": 1.0}
    assert Unit.of(Reals("latents")).per_dim(6.0, 3) == 2.0


def test_points_keep_ids_and_know_what_they_are():
    """Kills: ids renumbered in a subset, a digest of names, numbers stored in half precision."""
    data = as_points(points(6, 2).numpy())
    part = data.subset([4, 1])
    assert part.ids.tolist() == [4, 1]
    assert torch.equal(part.values, data.values[[4, 1]])
    assert data.first(2).sha256 != part.sha256
    assert Points("other", "test", data.numbers).sha256 == data.sha256
    assert as_points(points(6, 2).half()).values.dtype == torch.float32
    assert as_points(data) is data
    assert as_points(np.array([[1.0, 2.0]], ">f8")).values.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.int64), "holds torch.int64 and no real numbers"),
        (np.zeros((3, 2), np.uint8), "holds torch.uint8 and no real numbers"),
        (torch.zeros(3), r"points must be \(N, \*dims\)"),
        (torch.zeros(0, 2), "at least one number"),
        (torch.tensor([[1.0, math.nan]]), r"tensor, image 0: the number at \(1,\) is not finite"),
        ([1.0], "a list is not points"),
        (np.array(["a"]), "a ndarray is not points"),
    ],
)
def test_what_has_no_density_is_refused(data, message):
    """Kills: integers or NaN measured as real numbers."""
    refused(message, as_points, data)


def test_a_file_of_floats_is_points_for_a_density_alone(tmp_path):
    """Kills: floats read as levels, integers as points, a split that is not there ignored."""
    np.save(tmp_path / "z.npy", points(5, 2).numpy())
    np.save(tmp_path / "k.npy", np.zeros((5, 1, 4, 4), np.uint8))
    result = load_for(Reals(), str(tmp_path / "z.npy"))
    assert isinstance(result, Points)
    assert (result.name, result.values.shape) == ("z.npy", (5, 2))
    assert isinstance(load_for(Reals(), str(tmp_path / "k.npy")), Images)
    assert isinstance(load_for(Reals(), "digits:test"), Images)
    assert load_for(Grid(256), str(tmp_path / "k.npy")).n == 256
    refused("has no split test", load_for, Reals(), str(tmp_path / "z.npy"), split="test")
    wrapped = model(data=str(tmp_path / "z.npy"))
    assert wrapped.shape == (2,)


def test_a_density_has_no_levels_to_be_wrapped_with():
    """Kills: a range or a clip of pixels taken for one of real numbers."""
    refused("leave levels= and range= out", model, levels=256)
    refused("leave levels= and range= out", model, range=(-1.0, 1.0))
    refused("give clip= as a range", model, clip=True)
    refused("the shape of one point", model, None)
    refused("predicts levels is for data with levels", model, predicts="levels")
    refused(r"shape is \(2,\) and the images of tensor are \(3,\)", both_shapes)
    assert model(clip=(-2.0, 2.0)).facts["clip"] == [-2.0, 2.0]
    sources = model().facts["sources"]
    assert sources["decoder"] == {"value": "density", "source": "option", "changes_bound": True}
    assert not {"levels", "range"} & set(sources)


def both_shapes():
    nelbo.wrap(
        exact, schedule=BETAS, predicts="x_0", variance="small", time_input="t",
        decoder="density", shape=(2,), data=points(5, 3),
    )  # fmt: skip


def test_a_training_loop_has_the_loss_of_points():
    """The mean of `nelbo.loss` is the bound, |z| < 4. Kills: integers asked of points."""
    x = points(1, 2).expand(4000, 2)
    losses = nelbo.loss(model((2,)), x, torch.Generator().manual_seed(0)).double()
    truth = sum(through_the_model(model((2,)), x[0].double()))
    assert abs(float(losses.mean()) - truth) < 4 * float(losses.std()) / math.sqrt(4000)
