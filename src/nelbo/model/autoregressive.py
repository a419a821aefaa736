"""A model of sequences that reads from left to right: its bound is -log p itself, by one call."""

from dataclasses import dataclass
from typing import final

from torch import nn

from nelbo.bound.chain import Chain
from nelbo.categorical.autoregressive import Autoregressive
from nelbo.categorical.masked import InOrder, MaskedForward
from nelbo.categorical.orders import read_order
from nelbo.errors import BadInput
from nelbo.model.masked import OfStates
from nelbo.model.settings import Settings
from nelbo.typed_json import Json
from nelbo.types import Grid

__all__ = ["AutoregressiveModel", "autoregressive_model"]


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AutoregressiveModel(OfStates):
    """The model whose chain is one step from all masks, by a causal network."""

    exact = True

    def choices(self) -> dict[str, Json]:
        return {
            "parametrization": "x_0-logits",
            "transition": "absorbing",
            "variance": None,
            "V_1": None,
            "clip": False,
            "decoder": "in sequence",
            "order": {"name": "left-to-right", "calls": self.dims},
        }


def autoregressive_model(
    network: nn.Module, *, levels: int, shape: tuple[int, ...], name: str, settings: Settings
) -> AutoregressiveModel:
    """-log p(x) = - sum over i of log p(x_i | x_1..x_(i-1)), exactly.

    network: causal, as `Autoregressive` has it. shape: (L,).

    Raises:
        BadInput: the data are no sequences.
    """
    if len(shape) != 1:
        raise BadInput(f"{name} is a model of sequences, and the data have shape {list(shape)}")
    q = MaskedForward(InOrder(read_order("left-to-right", shape), 1), levels)
    return AutoregressiveModel(
        name=name,
        network=network,
        chain=Chain(q, Autoregressive(network, levels)),
        shape=shape,
        support=Grid(levels),
        settings=Settings(
            schedule={"name": "all at once", "T": 1},
            network=settings.network,
            notes=settings.notes,
        ),
    )
