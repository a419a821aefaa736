"""Bits by position of masked models: they add up to the orders they are of, and pages show them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import nelbo
from nelbo.bound.estimators import trajectory
from nelbo.bound.noise import KeyedNoise
from nelbo.categorical.orders import read_order
from nelbo.data import as_images, as_tokens
from nelbo.data.symbols import Bytes
from nelbo.estimation import Evaluator, measuring
from nelbo.estimation.positions import nats_of_positions
from nelbo.model import in_any_order, in_order
from nelbo.report.positions import by_position, pixel_levels, spans

torch.set_num_threads(1)

L = 16


class Neighbours(nn.Module):
    """Logits of each byte by the sum of the ids that are seen."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(259, 258, generator=draw))

    def forward(self, ids):
        return self.table[ids].mean(1, keepdim=True) + self.table[ids.roll(1, 1)]


def text_model():
    return nelbo.wrap_categorical(
        Neighbours(), vocabulary=258, mask=257, time_input=None, shape=(L,)
    )


def windows():
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(97, 123, (20, L), generator=draw)
    ids[3, :5] = -1 - ids[3, :5]  # shown
    return as_tokens(ids, n=258)


@pytest.mark.parametrize("order", [None, "left-to-right"])
def test_positions_add_up_to_the_order_they_are_of(order):
    """The sum is the path's -log p by the same numbers, to float32's rounding.

    Kills: a position that costs at every step that hides it; a call that sees its own group;
    shown symbols that cost something.
    """
    any_order = in_any_order(text_model())
    model = any_order.every(4)
    if order is not None:
        model = in_order(any_order, read_order(order, (L,)), 4)
    data = windows()
    with measuring([model]):
        nats = nats_of_positions(Evaluator([model], data, 7))
        noise = KeyedNoise.of(7, data.ids)
        path = trajectory(model.chain, model.x_0(data.levels), noise)
    torch.testing.assert_close(nats.sum(1), path, rtol=1e-6, atol=0)
    assert bool((nats[3, :5] == 0).all())
    assert bool((nats[3, 5:] > 0).all())
    if order is not None:
        total = nelbo.evaluate(model, data).per_image.total
        torch.testing.assert_close(nats.sum(1), total, rtol=1e-6, atol=0)


def test_curves_and_spans_say_what_is_hard():
    """Means over what counts, by position and by row. Kills: shown symbols in a mean, rows for
    columns, the ends of the list swapped."""
    bits = torch.arange(64, dtype=torch.float64).repeat(3, 1)
    counted = torch.ones(3, 64)
    counted[0, 1] = 0
    bits[0, 1] = 99.0
    curves, _ = by_position(bits, counted, "How.")
    (curve,) = curves.curves
    assert curve.y.tolist() == list(range(64))
    assert curve.half[1] == 0
    pixels = torch.zeros(2, 1, 2, 3, dtype=torch.float64)
    pixels[:, 0, 1] = torch.tensor([1.0, 2.0, 3.0])
    curves, _ = by_position(pixels, torch.ones_like(pixels), "How.")
    assert curves.curves[0].y.tolist() == [0, 2]
    assert pixel_levels(pixels)[0, 0].tolist() == [[0, 0, 0], [85, 170, 255]]
    levels = torch.full((3, 64), ord("a"))
    levels[1, 32:] = ord("b")
    levels[2] = -1 - levels[2]
    bits[1, 32:] += 1
    easy, hard = spans(bits, levels, [4, 5, 6], bytes)
    assert (easy[0].text, easy[0].value) == ("a" * 32, "15.50")
    assert easy[0].where == "window 5, from symbol 0"
    assert (hard[0].text, hard[0].where) == ("b" * 32, "window 5, from symbol 32")


def test_a_page_shows_the_positions_of_text_and_of_images(tmp_path):
    """Kills: a page of text without its spans; a masked image without its pixels."""
    model, data = replace(text_model(), alphabet=Bytes()), windows()
    result = nelbo.evaluate(model, data, budget=200, check=False)
    page = nelbo.page(model, result, tmp_path / "text.html", data=data).read_text()
    for what in ("Bits by how many positions are hidden", "Bits by position", "Hardest spans"):
        assert what in page
    alone = nelbo.page(model, result, tmp_path / "alone.html").read_text()
    assert "Hardest spans" not in alone
    flat = nelbo.wrap_categorical(
        lambda x, t: torch.zeros(len(x), 3, 2, 2),
        transition="absorbing",
        schedule=[0.5, 1.0],
        time_input="fraction",
        levels=3,
        shape=(1, 2, 2),
        sees="states",
    )
    images = as_images(torch.randint(0, 3, (8, 1, 2, 2)), n=3)
    result = nelbo.evaluate(flat, images, budget=64, check=False)
    page = nelbo.page(flat, result, tmp_path / "i.html", data=images, samples=0).read_text()
    assert "Bits by row" in page
    assert f"white: {math.log2(3):.2f} bits" in page
