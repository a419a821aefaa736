"""A masked model of sequences: any order of revealing the symbols of a window is a model."""

from dataclasses import replace

from torch import nn

from nelbo.categorical.resampling import absorbing
from nelbo.categorical.reverse import PRIORS, TIME_INPUTS, TimeInput
from nelbo.errors import BadInput
from nelbo.model.categorical import categorical_model
from nelbo.model.masked import in_any_order
from nelbo.model.model import Model
from nelbo.model.settings import Settings
from nelbo.types import Grid

__all__ = ["masked_model"]


def masked_model(
    network: nn.Module,
    *,
    levels: int,
    shape: tuple[int, ...],
    name: str,
    settings: Settings,
    time_input: TimeInput | None = None,
    T: int | None = None,
) -> Model:
    """L = sum over k = 1..D of 1/k E over k-subsets S of [sum over i in S of -log p(x_i | rest)].

    The limit of infinitely many steps of an absorbing chain over `levels` symbols, with the mask
    after them. network: (states (B, D), time) -> logits (B, D levels), those of a place together.
    time_input: what it receives of the t = 1..T of a chain that masks D t/T positions on average,
    T = D where it is not given; where nothing is specified, it is a t that it should not look at.
    shape: (D,).

    Raises:
        BadInput: the data are no sequences.
    """
    if len(shape) != 1:
        raise BadInput(f"{name} is a model of sequences, and the data have shape {list(shape)}")
    T = shape[0] if T is None else T
    transition = absorbing([1 / (T - t) for t in range(T)], levels + 1)
    made = categorical_model(
        network,
        transition,
        prior=PRIORS["target"],
        time_input=TIME_INPUTS["t"] if time_input is None else time_input,
        grid=Grid(levels),
        shape=shape,
        name=name,
        settings=replace(settings, schedule={"name": "survival", "T": T}).noting(
            transition="absorbing"
        ),
        ids=True,
    )
    return in_any_order(made)
