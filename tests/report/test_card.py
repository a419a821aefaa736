"""A model card: what the hub's own reader finds in it is the result."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from results import A, B, result_of

from nelbo.errors import BadInput
from nelbo.report.card import card


def test_the_hub_reads_the_result_back():
    """Kills: the Monte Carlo interval in the place of the other, a figure marked as verified."""
    changes = {"model__sha256": "f" * 64, "model__likelihood": "p(x | class)"}
    (a, _), (b, _) = result_of("a", A, **changes), result_of("a", B, data__name="other", **changes)
    card_read = ModelCard(card([a, b]))
    assert card_read.data.model_name == "a"
    for read, result in zip(card_read.data.eval_results, (a, b), strict=True):
        assert read.metric_type == "bits_per_dim"
        assert read.metric_value == result.per_dim
        assert read.metric_args["ci95_half_width_sampling_of_images"] == result.half
        assert read.metric_args["ci95_half_width_monte_carlo"] == result.half_monte_carlo
        assert (read.dataset_type, read.dataset_split) == (result.data["name"], "test")
        assert (read.task_type, read.verified) == ("image-generation", False)
        assert "of p(x | class)" in read.metric_name
    assert f"{a.per_dim:.4f} ± {a.half:.4f}" in card_read.content


def test_an_exact_likelihood_is_no_bound():
    """Kills: every figure called a variational upper bound."""
    for order, says in ((None, "variational upper bound"), ("random", "exact -log p in the order")):
        changes = {} if order is None else {"model__order": {"name": order, "calls": 16}}
        (read,) = ModelCard(card([result_of("a", A, **changes)[0]])).data.eval_results
        assert says in read.metric_name
        assert ("bound" in read.metric_name) == (order is None)


def test_a_name_is_text_in_yaml_and_markdown():
    hostile = "x: [1]\n---\n# <b>*a*"
    card_read = ModelCard(card([result_of(hostile, A)[0]]))
    assert card_read.data.model_name == hostile.replace("\n", "\\n")
    assert "\\<b\\>" in card_read.text


def test_a_card_is_of_one_model():
    with pytest.raises(BadInput, match="of one model"):
        card([result_of("a", A)[0], result_of("b", B)[0]])
    with pytest.raises(BadInput, match="one result or more"):
        card([])


def test_the_command_prints_it(nelbo, tmp_path):
    (result, _) = result_of("a", A)
    (tmp_path / "r.json").write_text(json.dumps(dict(result.tree)))
    assert nelbo("card", tmp_path / "r.json")[:2] == (0, card([result]))


def test_a_run_is_its_result_where_that_is_of_its_weights(nelbo, run, tmp_path):
    """Kills: the card of a model with the figures of another."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    code, out, err = nelbo("card", folder)
    assert (code, out, "was not measured yet" in err) == (2, "", True)
    result = folder / "result.json"
    assert nelbo("evaluate", folder, "--max-images", 4, "--json", result)[0] == 0
    assert nelbo("card", folder)[:2] == nelbo("card", result)[:2]
    assert nelbo("evaluate", run, "--weights", "raw", "--max-images", 4, "--json", result)[0] == 0
    assert nelbo("card", folder)[:2] == nelbo("card", result)[:2]
    tree = json.loads(result.read_text())
    tree["model"]["sha256"] = "0" * 64
    del tree["content_sha256"], tree["figures_sha256"], tree["per_image_sha256"]
    result.write_text(json.dumps(tree))
    code, out, err = nelbo("card", folder)
    assert (code, out, "is of other weights than the run has" in err) == (2, "", True)
