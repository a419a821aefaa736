"""`nelbo derive`: exactly on the built-in chains, by Monte Carlo on models of both families."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch

from nelbo import recipe as recipes
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.forward import CategoricalForward
from nelbo.data import load
from nelbo.derivation import LINES, Status
from nelbo.errors import BadInput, NonFinite
from nelbo.formats import load as load_model
from nelbo.results import bits_per_dim
from nelbo.tasks.derive import derive
from nelbo.tasks.evaluate import evaluate

torch.set_num_threads(1)

LABELS = [line.label for line in LINES]
FALSE = ["F1", "F2", "F3", "F4", "F5"]


@pytest.fixture(scope="module")
def digits():
    return load("digits:test", levels=17)


@pytest.fixture(scope="module")
def exact():
    return derive()


@pytest.fixture(scope="module")
def model(run):
    return load_model(run).every(20)


@pytest.fixture(scope="module")
def drawn(model, digits):
    """The lines on a model of 20 steps, by 32 paths of 2 images."""
    return derive(model, digits, paths=32, seed=1)


def test_the_built_in_chains_hold_and_the_absorbing_one_shows_its_condition(exact):
    """Kills: line (3) taken for an equality on every chain."""
    assert exact.holds
    uniform, absorbing, gaussian = (chain.valuation for chain in exact.chains)
    assert uniform.way == absorbing.way == "enumeration"
    assert gaussian.way == "closed form"
    assert uniform["(3)"].status is gaussian["(3)"].status is Status.HOLDS
    assert absorbing["(3)"].status is Status.CONDITION
    for valuation in (uniform, absorbing, gaussian):
        assert abs(valuation.gap - valuation.gap_kl) <= 1e-12
        assert all(row.status is Status.FALSE for row in valuation.false)


def test_the_curves_of_the_built_in_chains_lead_to_their_limits(exact):
    """Kills: a curve of another chain; an absorbing chain's curve said to reach -log p."""
    for chain in exact.chains:
        v = chain.valuation
        first, last = v.curve[0], v.curve[-1]
        assert abs(first.value - v["(5)"].value) < 4 * first.se
        assert v["(3)"].value - 4 * last.se < last.value < v["(3)"].value + 0.1


def test_every_line_holds_on_a_trained_model(drawn):
    """Kills: float32 tables or sums in the chain's arithmetic (5e-5, relative, at T = 1000)."""
    v = drawn.chains[0].valuation
    assert drawn.holds
    assert v.way == "Monte Carlo"
    assert v.spread.relative <= 1e-12
    assert abs(v.z) < 4
    assert [row.line.label for row in v.rows] == LABELS
    assert [row.line.label for row in v.false] == FALSE  # its decoder is no rounded Gaussian
    values = [point.value for point in v.curve]
    assert values == sorted(values, reverse=True)
    for label in ("(1)", "(2)", "(3)"):
        assert v[label].status is Status.ESTIMATE


def test_in_float32_the_lines_agree_to_a_millionth(model, digits):
    """Kills: q scored in the dtype of the states."""
    v = derive(model, digits, paths=16, dtype="float32").chains[0].valuation
    assert v.holds
    assert v.spread.relative <= 1e-6
    assert v.spread.tolerance == 1e-6


def test_it_is_the_bound_that_evaluate_measures(model, drawn, digits):
    """Kills: a line that holds with the others and is another quantity."""
    measured = evaluate(model, digits.first(2), exhaustive=True, seed=4)
    got = drawn.chains[0].valuation
    here = bits_per_dim(got["D10"].value, model.dims)
    error = bits_per_dim(got["D10"].se, model.dims)
    spread = bits_per_dim(measured.monte_carlo.se, model.dims)
    assert abs(here - measured.bits_per_dim) < 4 * math.hypot(error, spread)
    assert math.isclose(got.L_T, measured.terms["L_T"][1].mean, rel_tol=1e-5)


def test_equal_seeds_give_equal_values_and_other_seeds_others(model, digits):
    """Kills: noise from a global generator."""
    torch.manual_seed(1)
    one = derive(model, digits, images=1, paths=4, seed=3)
    torch.manual_seed(2)
    same = derive(model, digits, images=1, paths=4, seed=3)
    other = derive(model, digits, images=1, paths=4, seed=5)
    value = one.chains[0].valuation["D10"].value
    assert value == same.chains[0].valuation["D10"].value
    assert value != other.chains[0].valuation["D10"].value


def test_the_network_is_measured_without_dropout_and_given_back_as_it_was(model, digits):
    """Kills: dropout left on, which makes D1 to D10 disagree with D11; training mode lost."""
    model.network.train()
    try:
        one, two = (derive(model, digits, images=1, paths=2) for _ in range(2))
        assert one.chains[0].valuation["D10"].value == two.chains[0].valuation["D10"].value
        assert model.network.training
    finally:
        model.network.eval()


def test_a_rounded_decoder_is_held_against_its_clamped_reading(zero_run, digits):
    model = load_model(zero_run).every(5)
    v = derive(model, digits, images=2, paths=8).chains[0].valuation
    assert [row.line.label for row in v.false] == [*FALSE, "F6"]
    assert v.holds


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_categorical_model_has_the_same_lines(digits, dtype):
    """Kills: a chain of states that computes in float32 when float64 is asked for."""
    choices = recipes.read("digits-d3pm")
    model = recipes.build(choices, (1, 8, 8), 17).every(5)
    derivation = derive(model, digits, paths=8, dtype=dtype)
    v = derivation.chains[0].valuation
    assert v.spread.relative <= {"float64": 1e-12, "float32": 1e-6}[dtype]
    assert derivation.environment["dtype"] == dtype
    assert v["D11"].status is Status.HOLDS
    json.loads(derivation.to_json())


def test_what_it_cannot_do_is_refused(model, digits):
    for arguments, message in (
        ((model,), "needs data"),
        ((None, digits), "without a model"),
        ((model, load("digits:test", levels=17).levels.numpy()[:0]), "image|pixel"),
    ):
        with pytest.raises(BadInput, match=message):
            derive(*arguments)
    with pytest.raises(BadInput, match="at least 2 paths"):
        derive(model, digits, paths=1)
    with pytest.raises(BadInput, match="float16"):
        derive(model, digits, dtype="float16")


def test_a_network_that_gives_nan_is_reported_to(model, digits):
    weight = next(model.network.parameters())
    before = weight.detach().clone()
    try:
        weight.data.fill_(math.nan)
        with pytest.raises(NonFinite, match="not finite"):
            derive(model, digits, images=1, paths=2)
    finally:
        weight.data.copy_(before)


def test_a_nan_in_any_call_of_the_network_stops_it(model, digits, monkeypatch):
    """Kills: a NaN of D11's own draws, found by the JSON when all is done."""
    inner, calls, broken = model.called.forward, [], 0

    def forward(x_t, time):
        calls.append(len(x_t))
        return inner(x_t, time) * (math.nan if len(calls) == broken else 1)

    monkeypatch.setattr(model.called, "forward", forward)
    derive(model, digits, images=1, paths=2)
    count = len(calls)
    assert count > 1
    for broken in range(1, count + 1):  # noqa: B007
        calls.clear()
        with pytest.raises(NonFinite, match="not finite"):
            derive(model, digits, images=1, paths=2)


def test_the_json_has_the_memos_labels_and_no_infinity(exact, drawn):
    for derivation, kinds in ((exact, 3), (drawn, 1)):
        text = derivation.to_json()
        tree = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
        assert tree["schema"] == "nelbo.derivation/1"
        assert tree["holds"] is True
        assert len(tree["chains"]) == kinds
        for chain in tree["chains"]:
            assert [line["label"] for line in chain["lines"]] == LABELS
            assert [line["label"] for line in chain["false_lines"]] == FALSE
            for line in chain["lines"]:
                assert line["formula"]
                assert line["latex"]
                assert line["verdict"]
                assert isinstance(line["value"], float)
            assert set(chain["variances"]) == {"path", "shared", "independent", "one_time"}
    swapped = json.loads(exact.to_json())["chains"][1]["false_lines"][2]
    assert swapped["value"] is None
    assert "infinitely" in swapped["verdict"]


def test_the_summary_tells_which_of_d10_and_d11_varies_less_and_where(exact):
    """Kills: 'D11 varies less' printed whatever the variances are (memo, part two)."""
    uniform, _, gaussian = (dict(chain.summary())["so"] for chain in exact.chains)
    assert "on one shared path D10 varies more than D11" in uniform
    assert "per t varies less than D10" in uniform
    assert "on one shared path D10 varies less than D11" in gaussian
    assert "per t varies more than D10" in gaussian


def test_variances_that_chance_may_have_put_apart_are_not_compared(exact):
    """Kills: a comparison of two variances from a handful of draws."""
    chain = exact.chains[0]
    few = replace(chain, valuation=replace(chain.valuation, paths=8))
    assert dict(few.summary())["so"].count("about as much as") == 2
    many = replace(chain, valuation=replace(chain.valuation, paths=2**20))
    assert dict(many.summary())["so"] == dict(chain.summary())["so"]


def test_the_command_prints_every_line_within_100_columns(nelbo):
    code, out, _ = nelbo("derive")
    assert code == 0
    for label in [*LABELS, *FALSE]:
        assert len(re.findall(rf"^{re.escape(label)}  +\S", out, re.MULTILINE)) == 3, label
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 100
    for words in ("Jensen", "infinitely", "importance weighting", "not an equality"):
        assert words in out


def test_the_command_writes_json_and_a_page(nelbo, run, tmp_path):
    page = tmp_path / "page.html"
    options = ("--steps", "4", "--paths", "4", "--images", "1", "--data", "digits:test")
    code, out, err = nelbo("derive", run, *options, "--json", "-", "--html", page)
    assert code == 0
    assert json.loads(out)["model"]["steps"] == 4
    assert str(page) in err
    assert "</math>" in page.read_text()
    code, out, _ = nelbo("derive", run, *options, "--json", tmp_path / "a.json")
    assert code == 0
    assert out.rstrip().endswith("a.json")
    assert json.loads((tmp_path / "a.json").read_text())["seed"] == 0


def test_a_line_that_fails_is_exit_code_3_and_named(nelbo, monkeypatch):
    """Kills: a failed check that is only printed."""
    wrong = torch.full((3,), -math.log(3), dtype=torch.float64)
    monkeypatch.setattr(
        CategoricalForward,
        "posterior",
        lambda self, x_t, x_0, t: Categorical(wrong.expand(*x_t.shape, 3)),
    )
    code, out, err = nelbo("derive")
    assert code == 3
    assert "D6 on uniform" in err
    assert "not equal" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "3"), "of a model"),
        (("--html", "none/page.html"), "folder does not exist"),
        (("no-such-run",), "no model at"),
        (("--dtype", "float16"), "float64 or float32"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(nelbo, arguments, message):
    code, out, err = nelbo("derive", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
