"""The bound of p(x | class): each image with its own label, however the work is cut up."""

from dataclasses import replace

import pytest
import ranks
import torch

import labelled
from conftest import VDM, changed
from nelbo import data
from nelbo import recipe as recipes
from nelbo.bound.estimators import Rows
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, Processes, evaluator, measuring
from nelbo.estimation.errors import measured_errors
from nelbo.tasks.compare import compare
from nelbo.tasks.evaluate import evaluate

COLUMNS = ("total", "L_T", "L_mid", "L_0", "se")


@pytest.mark.parametrize("distortion", [False, True])
def test_each_image_has_the_bound_of_its_own_class(distortion, monkeypatch):
    """Every t of every image, batches mixing both classes: the same rows in other batches.

    Kills: labels by the place in a batch, those of other images, no labels at t = 1.
    """
    monkeypatch.setattr(evaluator, "CELLS", 1)  # so that a chunk is a batch
    whole, alone = labelled.conditional()
    # so many that two draws of L_0 are enough for those of one class, too
    images, options = labelled.images(60), {"exhaustive": True, "distortion": distortion}
    together = evaluate(whole, images, batch_size=7, **options).per_image
    for label, model in enumerate(alone):
        places, own = labelled.of_class(images, label)
        result = evaluate(model, own, **options).per_image
        for name in ("total", "L_T", "L_mid", "L_0"):
            columns = getattr(together, name)[places], getattr(result, name)
            torch.testing.assert_close(*columns, rtol=1e-12, atol=0)


def test_the_limit_of_many_steps_is_given_the_labels_too():
    """Kills: a limit of p(x) beside chains of p(x | class)."""
    model = recipes.build(changed("digits-vdm", VDM | {"network.classes": 10}), (1, 8, 8), 17)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    images = data.load("digits:test").first(12)
    for measured in (model.in_the_limit(), model.every(5), model.every(4).in_the_limit()):
        assert measured.classes == 10
        result = evaluate(measured, images, exhaustive=True).per_image.L_mid
        for label in images.labels.unique().tolist():
            places, own = labelled.of_class(images, label)
            one = evaluate(measured, own, exhaustive=True).per_image.L_mid
            assert torch.allclose(result[places], one, rtol=1e-4)
        others = replace(images, labels=(images.labels + 1) % 10)
        assert not torch.allclose(
            result, evaluate(measured, others, exhaustive=True).per_image.L_mid, rtol=1e-3
        )


def table(processes, size):
    """The columns of the sampled bound of toys, by this process and others."""
    model, _ = labelled.conditional()
    options = {"budget": 23 * 20, "batch_size": size, "processes": processes}
    result = evaluate(model, labelled.images(23), **options).per_image
    return {name: getattr(result, name) for name in COLUMNS}


def test_batch_sizes_and_processes_do_not_change_the_table(tmp_path):
    """Kills: labels counted from the start of a process's share or of a batch."""
    one = table(Processes(), 64)
    both = ranks.results(tmp_path, table, 5)
    assert torch.equal(both[0]["total"], both[1]["total"])
    for other in (table(Processes(), 3), both[0]):
        for name in COLUMNS:
            assert torch.allclose(other[name], one[name], rtol=1e-5, atol=1e-12)


def test_a_record_goes_on_with_the_same_labels_alone(tmp_path):
    """Kills: labels that are in no digest."""
    model, _ = labelled.conditional()
    images = labelled.images(9)
    first = evaluate(model, images, exhaustive=True, record=tmp_path / "r")
    again = evaluate(model, images, exhaustive=True, record=tmp_path / "r")
    assert again.bits_per_dim == first.bits_per_dim
    others = replace(images, labels=1 - images.labels)
    with pytest.raises(BadInput, match="labels"):
        evaluate(model, others, exhaustive=True, record=tmp_path / "r")
    assert first.data["labels"] == images.labels_sha256
    assert first.data["sha256"] == replace(images, labels=None).sha256


def test_a_conditional_model_is_compared_with_an_unconditional_one_on_the_same_noise():
    """A model of classes that all share one network is that network, exactly.

    Kills: labels for the first of two models alone, noise that depends on the labels.
    """
    network = labelled.Tilted(0)
    same_for_all = replace(labelled.model_of(labelled.ByLabel(network, network)), classes=2)
    comparison = compare(labelled.model_of(network), same_for_all, labelled.images(12), budget=960)
    assert (comparison.total.mean, comparison.total.se) == (0.0, 0.0)
    whole, alone = labelled.conditional()
    result = compare(alone[0], whole, labelled.images(12), budget=960)
    assert result.total.mean != 0
    of_a, of_b = str(result).splitlines()[1:3]
    assert "p(x | class)" not in of_a
    assert "of p(x | class)" in of_b


def test_the_errors_of_each_image_are_those_of_its_own_class():
    """Folds are every fourth image, so here each fold is of one class.

    Kills: errors of one class's network for all, labels counted from the start of a batch.
    """
    whole, alone = labelled.conditional()
    images, chosen = labelled.images(16), torch.tensor([1, 3, 6])
    images = replace(images, labels=torch.arange(16) % 2)

    def folds(model):
        with measuring([model]):
            return measured_errors(Evaluator([model], images, batch_size=5), chosen).folds

    own = [folds(model) for model in alone]
    for number, fold in enumerate(folds(whole)):
        assert torch.equal(fold.mean, own[number % 2][number].mean)


def test_rows_in_any_order_have_the_classes_of_their_images():
    """Kills: labels by the number of a row, where a few t of each image are drawn."""
    whole, alone = labelled.conditional()
    images, generator = labelled.images(9), torch.Generator().manual_seed(4)
    image, t = (torch.randint(a, b, (40,), generator=generator) for a, b in ((0, 9), (2, 7)))
    rows = Rows(image, t, torch.zeros_like(t), t.double())

    def terms(model):
        with measuring([model]):
            return Evaluator([model], images, batch_size=6).later(0, rows, [[]])[0][:, 0]

    own = torch.stack([terms(model) for model in alone])
    assert torch.equal(terms(whole), own[images.labels[image], torch.arange(40)])
