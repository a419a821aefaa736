"""By how much a network's error exceeds that of a denoiser which it should beat, along t."""

from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.estimators import Rows
from nelbo.estimation.strata import Layout

__all__ = ["Excess"]

GROUPS = 64  # of t, of equal importance
SLACK = 0.1  # of a term, by which a network that learned little at high noise may be behind
PART = 0.05  # of the bound, that a range of t must hold to be tested
LEAST = 1e-300


@final
class Excess:
    """Sums over rows of L_{t-1}, and of each image's excess over a tenth of it, by group of t.

    Without the tenth, so small a failing as that of an eps network near t = T would be certain
    once the images are many.
    """

    def __init__(self, importance: Float64[Tensor, " transitions"], images: int) -> None:
        self.group = Layout.even(importance / importance.sum(), GROUPS).bin
        count = int(self.group[-1]) + 1
        self.share = torch.zeros(count, dtype=torch.float64)
        self.sums = torch.zeros(count * images, dtype=torch.float64)
        self.images = images

    def update(
        self, rows: Rows, values: Float64[Tensor, " R"], excess: Float64[Tensor, " R"]
    ) -> None:
        """Adds rows: their L_{t-1}, and their excess, both in nats."""
        group = self.group[rows.t - 2]
        self.share.index_add_(0, group, rows.weight * values)
        own = rows.weight * (excess - SLACK * values)
        self.sums.index_add_(0, group * self.images + rows.image, own)

    def worst(self, part: float) -> dict[str, float] | None:
        """{first, last, part, z} of the t where it is most surely above a tenth; None without one.

        part: that of the bound which all t > 1 hold. t is cut into ranges that each hold a
        twentieth of the bound. z is that of a normal number with the chance that Student's t of
        the images has.
        """
        from scipy.special import ndtri, stdtr

        total = float(self.share.sum())
        if not total > 0:
            return None
        held = part * self.share / total
        cut = _ranges(held)
        if cut is None:
            return None
        ranges = int(cut.max()) + 1
        own = torch.zeros(ranges, self.images, dtype=torch.float64)
        own.index_add_(0, cut, self.sums.reshape(-1, self.images))
        error = own.std(1) / self.images**0.5
        student = torch.where(error > 0, own.mean(1) / error, 0.0)
        worst = int(student.argmax())
        inside = (cut[self.group] == worst).nonzero()[:, 0] + 2
        tail = float(stdtr(self.images - 1, -float(student[worst])))
        return {
            "first": int(inside[0]),
            "last": int(inside[-1]),
            "part": float(held[cut == worst].sum()),
            "z": float(-ndtri(max(tail, LEAST))),
        }


def _ranges(held: Float64[Tensor, " groups"]) -> Int64[Tensor, " groups"] | None:
    """The range of each group; what is left at the end joins the last one."""
    cut, gathered, number = [], 0.0, 0
    for part in held.tolist():
        cut.append(number)
        gathered += part
        if gathered >= PART:
            number, gathered = number + 1, 0.0
    return torch.tensor(cut).clamp(max=number - 1) if number else None
