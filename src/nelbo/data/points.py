"""A set of examples that are real numbers as they are: latents, or toy data in one or two axes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from nelbo.data.examples import Examples, tensor_of, with_conditions
from nelbo.errors import BadInput
from nelbo.typed_json import Json

__all__ = ["Points", "as_points"]


# eq=False: as for Images
@final
@dataclass(frozen=True, eq=False, repr=False)
class Points(Examples):
    """N points of any shape (N, *dims), finite floats; they have a density and no levels.

    Arguments:
        name: what reports call the data.
        split: the part of a larger set that this is, None for all of it.
        numbers: the values, stored on the CPU; half precision as float32.
        made_of: what they were computed from, where they were: then this is what has a digest,
            since the last bits of floats are the machine's.
        sources, kept, origin, labels, conditions: as in `Images`.

    Raises:
        BadInput: not floats, no point, fewer than 2 axes, or a value that is not finite.
    """

    name: str
    split: str | None
    numbers: Float[Tensor, "N *dims"] = field(repr=False)
    made_of: Mapping[str, Json] | None = None
    sources: tuple[str, ...] = field(default=(), repr=False)
    kept: Int[Tensor, " N"] | None = field(default=None, repr=False)
    origin: Mapping[str, Json] = field(default_factory=dict, repr=False)
    labels: Int64[Tensor, " N"] | None = field(default=None, repr=False)
    conditions: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", tensor_of(self.name, "numbers", self.numbers))
        if not self.numbers.is_floating_point():
            raise BadInput(
                f"{self.name}: holds {self.numbers.dtype} and no real numbers: integers are levels "
                "and have no density; give floats"
            )
        if self.numbers.ndim < 2 or self.numbers.numel() == 0:
            raise BadInput(
                f"{self.name}: points must be (N, *dims) with at least one number; got shape "
                f"{tuple(self.numbers.shape)}"
            )
        wide = self.numbers.dtype in (torch.float32, torch.float64)
        numbers = self.numbers.detach().cpu().contiguous()
        object.__setattr__(self, "numbers", numbers if wide else numbers.float())
        bad = ~self.numbers.isfinite()
        if bad.any():
            image, *index = (int(i) for i in bad.nonzero()[0])
            raise BadInput(f"{self.source(image)}: the number at {tuple(index)} is not finite")
        self._settle()

    @property
    def values(self) -> Float[Tensor, "N *dims"]:
        return self.numbers

    @cached_property
    def sha256(self) -> str:
        """Hex digest of shape and numbers, or of what they were made of, with their ids."""
        digest = hashlib.sha256(f"nelbo.points/1 {tuple(self.numbers.shape)}\n".encode())
        if self.made_of is None:
            array = self.numbers.numpy()
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        else:
            digest.update(json.dumps([self.made_of, self.ids.tolist()], sort_keys=True).encode())
        return digest.hexdigest()

    def _taken(self, where: Tensor, sources: tuple[str, ...]) -> "Points":
        return replace(
            self,
            numbers=self.numbers[where],
            sources=sources,
            kept=self.ids[where],
            **self._conditions_at(where),
        )


def as_points(
    data: object,
    *,
    name: str = "tensor",
    labels: object = None,
    conditions: Mapping[str, object] | None = None,
) -> Points:
    """Points of a tensor or a numpy array of floats (N, *dims); `Points` pass through.

    labels, conditions: as for `as_images`.

    Raises:
        BadInput: anything else, or what `Points` refuses.
    """
    if isinstance(data, Points):
        return with_conditions(data, labels, conditions)
    if isinstance(data, np.ndarray) and data.dtype.kind in "fiub":
        data = torch.from_numpy(np.array(data, data.dtype.newbyteorder("=")))  # a copy
    if not isinstance(data, Tensor):
        raise BadInput(
            f"{name}: a {type(data).__name__} is not points; give a tensor or an array of floats "
            "(N, *dims)"
        )
    return with_conditions(Points(name, None, data), labels, conditions)
