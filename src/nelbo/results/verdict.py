"""What the difference of two bounds says, in one sentence of plain English."""

from dataclasses import dataclass
from typing import final

from nelbo.results.rounding import with_half

__all__ = ["Verdict", "verdict"]


@final
@dataclass(frozen=True)
class Verdict:
    """The sentence, and which of the two is better; None where the intervals do not tell.

    these_alone: it is known of this test set and not of new ones.
    """

    text: str
    better: str | None
    these_alone: bool = False


def verdict(
    difference: float,
    half: float | None,
    half_monte_carlo: float | None,
    unit: str,
    names: tuple[str, str] = ("A", "B"),
    word: str = "better",
    examples: str = "images",
) -> Verdict:
    """Of the first bound minus the second, where lower is better.

    word: what the lower of two is, of which neither need be better. examples: what they are of.

    half: of its 95 % interval for new images of this kind, which holds the Monte Carlo error too;
    half_monte_carlo: for this test set. Either is None where it is not known. One is better
    if 0 is outside the first interval; better on these images if 0 is outside the second alone.
    """
    a, b = names
    if difference == 0 and not half and not half_monte_carlo:
        return Verdict(f"no difference: {a} and {b} have the same bound", None)
    better, size = (a if difference < 0 else b), abs(difference)
    if half is not None and size > half:
        return Verdict(f"{better} is {word} by {with_half(size, half)} {unit}", better)
    if half_monte_carlo is not None and size > half_monte_carlo:
        new = "unknown" if half is None else with_half(size, half)
        own = with_half(size, half_monte_carlo)
        text = (
            f"{better} is {word} on these {examples} by {own} {unit}; "
            f"for new {examples} of this kind the two are not told apart ({new})"
        )
        return Verdict(text, better, these_alone=True)
    signed = with_half(difference, half_monte_carlo, "+")
    if half_monte_carlo is None:
        signed = with_half(difference, half, "+")
        return Verdict(f"not told apart: {a} minus {b} is {signed} {unit}", None)
    return Verdict(
        f"no difference beyond Monte Carlo error: {a} minus {b} is {signed} {unit}", None
    )
