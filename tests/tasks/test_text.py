"""A model of text in every task: its figure, page, derivation and samples; what is no text."""

import json
import math

import pytest
import torch

import nelbo
from nelbo.bound.chain import constant_time
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.statistics import mean_over_images
from nelbo.categorical.objective import simple_loss
from nelbo.errors import BadInput
from nelbo.report.page.headline import sentence
from nelbo.results.evaluation import Evaluation
from nelbo.sampling.texts import as_text, prompted, require_form
from small_text import TEXT, small_model

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def result(model):
    return nelbo.evaluate(model, TEXT, budget=20 * len(TEXT))


def test_a_result_of_text_is_per_byte_and_reads_back(result, tmp_path):
    """bits/byte times bytes is the sum of the nats, and the JSON says and gives back the same.
    Kills: bytes of a window assumed, shown symbols divided by."""
    tree = result.to_dict()
    size = len("Grüße an alle.".encode()) + 1 + len("日本語 and more".encode())
    assert tree["data"]["text"]["bytes"] == size
    nats = tree["nats_per_image"] * len(TEXT)
    assert tree["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-12)
    assert tree["text_units"]["bits_per_byte"] == pytest.approx(tree["bits_per_byte"], rel=1e-12)
    assert tree["bits_per_dim"] is None
    again = Evaluation.from_dict(json.loads(json.dumps(tree)))
    assert again.per_dim == tree["bits_per_byte"]
    assert (again.unit.name, again.unit.each) == ("bits/byte", "byte")
    assert "sampling of windows" in str(result)
    assert f"of {size} bytes" in str(result)
    assert "per byte" in sentence(again)
    assert "windows of text" in sentence(again)
    assert "bits_per_byte" in result.per_image.columns()
    for suffix in ("html", "json"):
        assert result.save(tmp_path / f"r.{suffix}").stat().st_size > 1000


def test_the_bound_is_the_same_in_other_batches(model, result):
    """Kills: padding counted in some batches and not in others."""
    other = nelbo.evaluate(model, TEXT, budget=20 * len(TEXT), batch_size=2)
    assert other.per_dim == pytest.approx(result.per_dim, rel=1e-6)


def test_the_error_of_a_ratio_leaves_out_what_goes_with_the_sizes():
    """Values in proportion to their sizes have a ratio without error; of equal sizes it is the
    usual one; in simulation its square is the ratio's variance, within a tenth. Kills: the spread
    of the nats for that of the bits/byte."""
    sizes = torch.tensor([1.0, 4.0, 2.0, 9.0], dtype=torch.float64)
    zero = torch.zeros(4, dtype=torch.float64)
    assert mean_over_images(3 * sizes, zero, 1, sizes)[0].se == pytest.approx(0, abs=1e-12)
    plain, same = (mean_over_images(sizes, zero, 1, s)[0].se for s in (None, zero + 7))
    assert plain == same
    draw = torch.Generator().manual_seed(0)
    sizes = 1 + 9 * torch.rand(2000, 200, generator=draw, dtype=torch.float64)
    noise = torch.randn(sizes.shape, generator=draw, dtype=torch.float64)
    values = sizes * (2 + 0.1 * noise)
    truth = float((values.sum(1) / sizes.sum(1)).var())
    none = torch.zeros(200, dtype=torch.float64)
    rows = zip(values[:200], sizes[:200], strict=True)
    squares = [(mean_over_images(v, none, 1, s)[0].se / float(s.mean())) ** 2 for v, s in rows]
    assert sum(squares) / len(squares) / truth == pytest.approx(1, abs=0.1)


def test_the_simple_loss_is_twice_the_cost_of_what_is_masked(model):
    """By hand at each t. Kills: shown or seen positions in it, the bound's weight D/k."""
    x = TEXT.levels.long()
    free = (x >= 0).sum(1)
    for t in (1, 3, 6):
        time, noise = constant_time(t, x), KeyedNoise.of(5, torch.arange(len(x)))
        x_t = model.chain.q.marginal(x, time).sample(noise.at(time))
        masked = x_t == 257
        assert (masked.sum(1) == free.clamp(max=t)).all()
        ids = torch.where(x_t < 0, -1 - x_t, x_t)
        logits = model.network(ids, time).reshape(len(x), 6, 257)
        truth = torch.where(x < 0, 0, x)
        own = torch.log_softmax(logits, -1).gather(-1, truth[..., None])[..., 0]
        wanted = -2 * (own * masked).sum(1)
        loss = simple_loss(model.chain, x, time, noise)
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)


def test_samples_keep_a_prompt_and_are_read_as_text(model):
    """Kills: a prompt that is drawn anew, an end symbol as a character."""
    given = prompted((6,), 257, "é:")
    samples = nelbo.sample(model, 3, given=given, seed=2)
    assert samples[:, :3].tolist() == [list("é:".encode())] * 3
    assert int(samples.min()) >= 0
    text = as_text(torch.tensor([[97, 98, 256, 99, 99, 99]]), 257)
    assert text == b"# samples of nelbo\n--- 0\nab\n"
    with pytest.raises(BadInput, match=r"a prompt has 1..5 bytes"):
        prompted((6,), 257, "abcdef")


def test_what_is_no_text_is_refused_in_one_line(model, tmp_path):
    images = nelbo.data.load("digits:test").first(2)
    with pytest.raises(BadInput):
        nelbo.evaluate(model, images)
    with pytest.raises(BadInput, match="no pictures"):
        require_form((6,), 257, tmp_path / "s.png")
    with pytest.raises(BadInput, match="only samples of bytes"):
        require_form((1, 8, 8), 17, tmp_path / "s.txt")
    gaussian = nelbo.wrap(lambda x, t: x, shape=(1, 8, 8), levels=17, **VP)
    with pytest.raises(BadInput, match="keeps what is given"):
        nelbo.sample(gaussian, 1, given=torch.zeros(1, 8, 8, dtype=torch.int64))
    chain = 'chain={family="categorical", transition="absorbing", schedule={name="survival", T=6}}'
    recipe = nelbo.recipe.read("text", [chain])
    with pytest.raises(BadInput, match=r"transformer is for chain.family masked"):
        nelbo.recipe.build(recipe, (6,), 257)


VP = {"schedule": {"name": "cosine", "T": 10}, "predicts": "eps", "variance": "small"}
VP |= {"time_input": "t", "decoder": "discretized-gaussian"}


def test_the_lines_of_the_derivation_hold_on_text(model):
    """Every line that is equal to L in expectation is so on paths of text, within 5 standard
    errors. Kills: a derivation that takes images alone."""
    derivation = nelbo.derive(model, TEXT, images=1, paths=16)
    tree = derivation.to_dict()
    assert tree["data"]["name"] == "text"
    assert len(tree["chains"][0]["lines"]) > 8
