"""Anybody's network as (x_t, time) -> tensor: fixed arguments, wrapped outputs, kept channels."""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from nelbo.errors import BadInput
from nelbo.networks.parts import modules_of

__all__ = ["Adapter", "tensor_in"]


@final
class Adapter(nn.Module):
    """call(x_t, time, *conditions, **arguments), a tensor or the one that its result carries.

    A tensor among the arguments is that of one image (a class label, an embedding) and is repeated
    over the batch; anything else is passed as it is. The result is a tensor, a tuple that begins
    with one, or an object that has one as `.sample`; of its channels the first `channels` are
    kept, all without it. x_t: (B, C, ...); time: (B,). The conditions are what is given of each
    image, the last of them by the names `conditions`.

    The modules that a call uses without being one, or without having them among its parts, are
    parts of this one: in its digest, its device and its mode.

    Raises:
        BadInput: an argument that is no keyword, or a result that holds no tensor.
    """

    def __init__(
        self,
        call: Callable[..., object],
        arguments: Mapping[str, object] | None = None,
        channels: int | None = None,
        conditions: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.call = call
        self.channels = channels
        self.conditions = tuple(conditions)
        self.constants: dict[str, object] = {}
        self.tensors: list[str] = []
        for name, value in ({} if arguments is None else arguments).items():
            if not isinstance(name, str) or not name.isidentifier():
                raise BadInput(f"an argument of a network has a keyword's name; got {name!r}")
            value = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            if isinstance(value, Tensor):
                self.register_buffer(f"argument_{name}", value)  # follows the weights' device
                self.tensors.append(name)
            else:
                self.constants[name] = value
        if isinstance(call, nn.Module):
            # of this part alone: those of the call may differ, and a frozen one has none
            self.training = getattr(call, "training", False)
        inner = [module for module in modules_of(call) if module is not call]
        if inner:
            self.named = nn.ModuleList(inner)
            self.named.training = self.training

    def forward(
        self,
        x_t: Shaped[Tensor, "B ..."],
        time: Shaped[Tensor, " B"],
        *given: Shaped[Tensor, "B ..."],
    ) -> Tensor:
        repeated = {name: self._repeated(name, len(x_t)) for name in self.tensors}
        # copies, since a network that works in place would change the chain's own state
        rows = [row.clone() for row in given]
        unnamed = len(rows) - len(self.conditions)
        named = dict(zip(self.conditions, rows[unnamed:], strict=True))
        arguments = {**self.constants, **repeated, **named}
        output = tensor_in(self.call(x_t.clone(), time.clone(), *rows[:unnamed], **arguments))
        if not torch.is_grad_enabled():
            output = output.detach()  # of a network that takes a gradient inside
        return output if self.channels is None else output[:, : self.channels]

    @property
    def beside(self) -> list[nn.Module]:
        """The modules that the call uses without being one of them."""
        return list(getattr(self, "named", ()))

    def _repeated(self, name: str, count: int) -> Tensor:
        value: Tensor = getattr(self, f"argument_{name}")
        # a copy: neither .view nor work in place is for rows that share their memory
        return value.expand(count, *value.shape).clone(memory_format=torch.contiguous_format)


def tensor_in(output: object) -> Tensor:
    """The tensor that a network's result is, or carries.

    Raises:
        BadInput: there is none.
    """
    if isinstance(output, tuple | list) and output:
        output = output[0]
    tensor = output if isinstance(output, Tensor) else getattr(output, "sample", None)
    if not isinstance(tensor, Tensor):
        raise BadInput(
            "a network must give a tensor, a tuple that begins with one, or an object with one as "
            f".sample; got {type(output).__name__}"
        )
    return tensor
