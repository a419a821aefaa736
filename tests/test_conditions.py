"""Labels and other conditions of each image: carried with it, and given to its network."""

import pytest
import torch
from torch import nn

import nelbo
from nelbo.data import as_images, as_points
from nelbo.errors import BadInput

CHOICES = {
    "schedule": {"name": "linear", "T": 4, "beta_1": 0.1, "beta_T": 0.5},
    "predicts": "eps",
    "variance": "small",
    "time_input": "index",
    "shape": (1, 8, 8),
    "levels": 5,
}
LEVELS = torch.randint(0, 5, (12, 1, 8, 8), generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(12) % 3


class Net(nn.Module):
    """0.5 x_t + table[label], or + the mean of a text."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.tensor([-0.5, 0.1, 0.9]))

    def forward(self, x_t, t, y=None, text=None):
        shift = torch.zeros(len(x_t)) if y is None else self.table[y]
        if text is not None:
            shift = shift + text.mean(1)
        return 0.5 * x_t + shift[:, None, None, None]


def exact(model, data):
    return nelbo.evaluate(model, data, exhaustive=True).per_image


def test_the_bound_with_labels_is_that_of_the_class_fixed_by_arguments():
    """For each class, image by image. Kills: labels of other images, of the first, or of none."""
    network = Net().eval()
    model = nelbo.wrap(network, classes=3, **CHOICES)
    whole = as_images(LEVELS, n=5, labels=LABELS)
    for images in (whole, whole.subset([7, 2, 3])):
        bound = exact(model, images)
        for label in range(3):
            fixed = nelbo.wrap(network, arguments={"y": torch.tensor(label)}, **CHOICES)
            rows = images.labels == label
            expected = exact(fixed, images).total[rows]
            torch.testing.assert_close(bound.total[rows], expected, rtol=1e-12, atol=0)


def test_what_is_given_of_each_image_comes_by_name():
    """Kills: rows in another order, one name's rows under another."""
    network = Net().eval()
    text = torch.randn(12, 6, generator=torch.Generator().manual_seed(2))
    images = as_images(LEVELS, n=5, labels=LABELS, conditions={"text": text, "other": text + 9})
    model = nelbo.wrap(network, classes=3, conditions=("text",), **CHOICES)
    result = nelbo.evaluate(model, images, exhaustive=True)
    assert result.model["likelihood"] == "p(x | class, text)"
    assert set(result.data["conditions"]) == {"text", "other"}
    for i in (0, 5, 11):
        fixed = {"y": LABELS[i], "text": text[i]}
        one = nelbo.wrap(network, arguments=fixed, **CHOICES)
        expected = exact(one, images).total[i]
        torch.testing.assert_close(result.per_image.total[i], expected, rtol=1e-12, atol=0)
    shorter = model.every(2)
    assert shorter.conditions == ("text",)
    assert nelbo.improve(model, images, steps=2).model.conditions == ("text",)
    several = {"precision": 0.5, "batch_size": 5}
    first, again = (nelbo.evaluate(model, images, **several).total.mean for _ in range(2))
    assert first == again


def test_samples_and_the_loss_are_given_conditions():
    """Kills: rows of one sample for all, a loss that trains without its condition."""
    network, text = Net().eval(), torch.randn(12, 6)
    model = nelbo.wrap(network, conditions=["text"], **CHOICES)
    drawn = nelbo.sample(model, 4, conditions={"text": text[:4]})
    for i in range(4):
        same = nelbo.sample(model, 4, conditions={"text": text[i].expand(4, 6)})
        assert torch.equal(same[i], drawn[i])
    images = as_images(LEVELS, n=5, conditions={"text": text})
    generator = torch.Generator()
    by_data = nelbo.loss(model, images, generator.manual_seed(1))
    by_hand = nelbo.loss(model, LEVELS, generator.manual_seed(1), conditions={"text": text})
    assert by_data.tolist() == by_hand.tolist()
    other = nelbo.loss(model, LEVELS, generator.manual_seed(1), conditions={"text": text + 3})
    assert (by_hand != other).all()


def test_points_have_labels_and_conditions_too():
    network, numbers = Net().eval(), torch.randn(12, 1, 8, 8)
    reals = {k: x for k, x in CHOICES.items() if k != "levels"} | {"decoder": "density"}
    model = nelbo.wrap(network, classes=3, conditions="text", **reals)
    text = torch.randn(12, 6)
    points = as_points(numbers, labels=LABELS, conditions={"text": text}).subset([4, 9])
    bound = exact(model, points).total
    for place, i in enumerate((4, 9)):
        one = nelbo.wrap(network, arguments={"y": LABELS[i], "text": text[i]}, **reals)
        torch.testing.assert_close(
            bound[place], exact(one, points).total[place], rtol=1e-12, atol=0
        )


def test_a_condition_that_is_not_there_is_refused():
    """Kills: a network called without what it was trained with."""
    model = nelbo.wrap(Net(), classes=3, conditions=("text",), **CHOICES)
    for data, message in (
        (as_images(LEVELS, n=5, labels=LABELS), r"p\(x \| class, text\) and tensor has no text"),
        (as_images(LEVELS, n=5, conditions={"text": torch.zeros(12, 1)}), "has no labels"),
        (
            as_images(LEVELS, n=5, labels=LABELS + 1, conditions={"text": torch.zeros(12, 1)}),
            r"has the classes 0\.\.2, and tensor the label 3",
        ),
    ):
        with pytest.raises(BadInput, match=message):
            nelbo.evaluate(model, data, budget=100)
    with pytest.raises(BadInput, match="text needs a row for each of 12 images"):
        as_images(LEVELS, n=5, conditions={"text": torch.zeros(11, 1)})
    with pytest.raises(BadInput, match="the batch has 12 examples and its conditions 12, 3 rows"):
        nelbo.loss(model, LEVELS, labels=LABELS, conditions={"text": torch.zeros(3, 1)})
    with pytest.raises(BadInput, match="text needs a row for each of 2 samples"):
        nelbo.sample(model, 2, conditions={"text": torch.zeros(3, 1)})
    with pytest.raises(BadInput, match="the samples has no text"):
        nelbo.sample(model, 2)


def test_a_record_is_of_its_conditions(tmp_path):
    """Kills: values of one text that go on under another."""
    model = nelbo.wrap(Net().eval(), conditions=("text",), **CHOICES)
    given = {"budget": 100, "record": tmp_path / "r"}
    data = [as_images(LEVELS, n=5, conditions={"text": torch.full((12, 1), x)}) for x in (0.0, 1.0)]
    nelbo.evaluate(model, data[0], **given)
    with pytest.raises(BadInput, match="condition text"):
        nelbo.evaluate(model, data[1], **given)
