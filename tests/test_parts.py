"""A word that is registered once is a word of recipes and of wrap, and so is its object."""

import dataclasses
import typing
from collections.abc import Callable

import pytest
import torch

import nelbo
from nelbo import recipe
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Decoder, Discretized
from nelbo.gaussian.parametrization import Linear
from nelbo.gaussian.schedule import from_betas
from nelbo.model import parts
from nelbo.types import Grid

SHAPE = (1, 8, 8)


def steep(T: int = 8, beta_1: float = 0.01, beta_T: float = 0.3):
    return from_betas([beta_1 + (beta_T - beta_1) * (t / T) ** 3 for t in range(1, T + 1)], "steep")


def doubled(level):
    return 0.0, 2.0


class Own(Decoder):
    name = "own"

    def __init__(self, grid):
        self.grid = grid

    def __call__(self, prediction):
        return Discretized(self.grid)(prediction)


DOUBLED = Linear("doubled", doubled)
CHOICES = {"variance": "small", "time_input": "index", "shape": SHAPE, "levels": 17}


def zero(x_t, index):
    return torch.zeros_like(x_t)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(parts.SCHEDULES, "steep", steep)
    monkeypatch.setitem(parts.PARAMETRIZATIONS, "doubled", DOUBLED)
    monkeypatch.setitem(parts.DECODERS, "own", Own)


def test_one_registration_is_a_word_of_recipes_and_of_wrap(registered):
    """Kills: a list of words beside the registry."""
    words = ["schedule.name=steep", "schedule.T=8", "parametrization=doubled", "decoder=own"]
    read = recipe.read("digits-ddpm", [f"chain.{word}" for word in words])
    built = recipe.build(read, SHAPE, 17)
    schedule = {"name": "steep", "T": 8, "beta_1": 1e-4, "beta_T": 0.02}
    wrapped = nelbo.wrap(zero, schedule=schedule, predicts="doubled", decoder="own", **CHOICES)
    for model in (built, wrapped):
        assert model.chain.q.schedule.beta.tolist() == steep(8, 1e-4, 0.02).beta.tolist()
        assert model.chain.p.parametrization is DOUBLED
        assert isinstance(model.chain.p.emission, Own)
        facts = model.facts
        stated = (facts["schedule"]["name"], facts["parametrization"], facts["decoder"])
        assert stated == ("steep", "doubled", "own")


@pytest.mark.parametrize("decoder", [Own, Own(Grid(17))], ids=["of a grid", "itself"])
def test_wrap_takes_the_objects_without_a_name(decoder):
    """Kills: an object whose name has to be known."""
    given = {"schedule": steep(), "predicts": DOUBLED, "decoder": decoder}
    model = nelbo.wrap(zero, **given, **CHOICES)
    assert model.chain.p.parametrization is DOUBLED
    assert isinstance(model.chain.p.emission, Own)
    sources = model.facts["sources"]
    assert (sources["predicts"]["value"], sources["decoder"]["value"]) == ("doubled", "own")


def test_a_decoder_of_another_grid_is_refused():
    """Kills: masses of levels that are not the data's."""
    with pytest.raises(BadInput, match="decoder must be a Decoder over Grid"):
        nelbo.wrap(zero, schedule=steep(), predicts="eps", decoder=Own(Grid(9)), **CHOICES)


def test_a_word_that_nobody_registered_is_refused_with_those_that_are(registered):
    with pytest.raises(BadInput, match=r"unknown value .steeper.: did you mean steep"):
        recipe.read("digits-ddpm", ["chain.schedule.name=steeper"])


def test_a_model_is_no_bag_of_functions():
    """Kills: a capability as a field, which a shorter chain would have to be given again.

    What makes data of images and of text, the encoder and the alphabet, are the last of eleven.
    """
    hints = typing.get_type_hints(nelbo.Model)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(nelbo.Model)}
    parts_of = [part for kind in fields.values() for part in (kind, *typing.get_args(kind))]
    assert not [part for part in parts_of if typing.get_origin(part) is Callable]
    assert len(fields) <= 11
