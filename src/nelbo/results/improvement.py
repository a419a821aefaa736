"""What better variances, decoder and steps were worth, as people and programs read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.errors import printable
from nelbo.results.comparison import Comparison
from nelbo.results.saved import Saved, sealed
from nelbo.typed_json import Json, list_at

__all__ = ["BeforeAfter"]

SCHEMA = "nelbo.improvement/1"


@final
@dataclass(frozen=True, repr=False)
class BeforeAfter(Saved):
    """The plan, and the model after it (A) against the one before (B) on images not used for it.

    `predicted` is what the plan promised on the images that it was fitted to, in bits/dim, and
    `network_evaluations` what it took.
    """

    plan: Mapping[str, Json]
    predicted: float
    network_evaluations: int
    comparison: Comparison

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.improvement/1."""
        return sealed(
            {
                "schema": SCHEMA,
                "plan": dict(self.plan),
                "predicted_bits_per_dim": self.predicted,
                "network_evaluations": self.network_evaluations,
                "after_minus_before": self.comparison.to_dict(),
            }
        )

    def __str__(self) -> str:
        """Before and after with their intervals, and that of the paired difference."""
        kept, after = list_at(self.plan, "steps"), self.comparison.a.model
        V_1 = "none" if after["V_1"] is None else f"{after['V_1']:.3g}"
        lines = [
            f"  A is B with {len(kept)} of its steps, t = {_short(kept)}, variance "
            f"{after['variance']}, V_1 {V_1}",
            f"  fitted to {self.plan['images']} images of {self.plan['data']}, where "
            f"{self.predicted:.4f} bits/dim was predicted",
        ]
        return "\n".join([str(self.comparison), *map(printable, lines)])


def _short(steps: Sequence[Json]) -> str:
    """All of a few steps, the ends of many."""
    shown = [str(t) for t in steps]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-2:]])
