"""Why a figure may not be the model's: what a network that is read rightly does not show."""

import math
from collections.abc import Iterator, Mapping

from nelbo.results.unit import BITS, Unit
from nelbo.typed_json import Json, part_at

__all__ = [
    "LARGE_L_T",
    "TOO_FAR",
    "lost_by_V_1",
    "of_figure",
    "of_levels",
    "of_rounding",
    "of_schedule",
]

LARGE_L_T = (0.01, 0.01)  # per dimension, and of the bound: above both it is worth a word
SURE = 4.0  # standard errors
TOO_FAR = 1.1  # times sqrt(V_1): beyond it another V_1 saves a hundredth of a nat per dimension
LINEAR_T = 1000  # for which the default ends of betas were chosen


def of_figure(
    per_dim: float,
    L_T: float,
    unit: Unit,
    levels: int | None,
    model: Mapping[str, Json],
    worst: Mapping[str, float] | None = None,
    at_1: Mapping[str, float] | None = None,
    L_0: float = 0.0,
    log_snr_1: float | None = None,
) -> list[str]:
    """Each in a line; none for a network that is read by its own conventions.

    per_dim, L_T and L_0 are in `unit`; levels: of the data, None of a density; model: its facts;
    worst: where its x0-hat is most surely worse than an affine function of x_t, at_1: how far
    x0-hat is off at t = 1, and log_snr_1: that of x_1, if these are known.
    """
    lost, V_1 = 0.0, model.get("V_1")
    if (
        at_1 is not None and isinstance(V_1, int | float) and "path" not in model
    ):  # a number, and chosen
        lost = lost_by_V_1(at_1, V_1, L_0, unit, log_snr_1, levels)
    return [
        *of_levels(per_dim, levels),
        *_of_affine(worst, levels is not None and model.get("clip") is False),
        *_of_L_T(per_dim, L_T, unit),
        *of_schedule(model),
        *of_rounding(model),
        *_of_V_1(at_1, per_dim, lost, unit),
    ]


def of_levels(per_dim: float, levels: int | None) -> Iterator[str]:
    """Where knowing nothing would cost less."""
    if levels is not None and per_dim > math.log2(levels):
        yield (
            f"{per_dim:.4g} bits/dim is more than log2({levels}) = {math.log2(levels):.4g}, what "
            "equal chances of all levels cost: the network knows nothing of these data, or is "
            "read by conventions that are not its own (predicts, time_input, schedule, range)"
        )


def _of_affine(worst: Mapping[str, float] | None, unclipped: bool) -> Iterator[str]:
    """Where a fitted affine function is better.

    A network of eps whose x0-hat is not clipped may be worse by the last step of its chain alone,
    where 1/sqrt(alpha_bar) multiplies its error.
    """
    if worst is not None and worst["z"] > SURE:
        clip = ", clip" if unclipped else ""
        yield (
            f"at t = {worst['first']}..{worst['last']}, {worst['part']:.0%} of the bound, x0-hat "
            f"is worse than an affine function of x_t (by a tenth, z = {worst['z']:.1f}): the "
            "network is probably read by conventions that are not its own (predicts, time_input, "
            f"schedule, range{clip})"
        )


def _of_L_T(per_dim: float, L_T: float, unit: Unit) -> Iterator[str]:
    least, part = LARGE_L_T
    if least < L_T and part * abs(per_dim) < L_T:
        yield (
            f"L_T is {L_T:.2g} {unit.name}, {L_T / abs(per_dim):.0%} of the bound: the chain ends "
            "before the data are gone, or its schedule is not the network's"
        )


def of_schedule(model: Mapping[str, Json]) -> Iterator[str]:
    """Where betas made for 1000 steps are those of another number by default."""
    ends, schedule = part_at(model, "sources", "beta_1, beta_T"), part_at(model, "schedule")
    if ends.get("source") == "default" and schedule.get("T") != LINEAR_T:
        yield (
            f"the default ends of the {schedule['name']} schedule are made for T = {LINEAR_T}, and "
            f"T is {schedule['T']}: give beta_1 and beta_T, or the name linear-by-T where they are "
            f"scaled by {LINEAR_T}/T"
        )


def of_rounding(model: Mapping[str, Json]) -> Iterator[str]:
    """Where the network gets an x_t that is rounded by a part of its noise."""
    if rounded := part_at(model, "x_t_rounded"):
        where = f"at {rounded['steps']:,} t (log SNR above {rounded['log_snr_above']:g})"
        if rounded["steps"] == model["steps"]:
            where = "at every t"
        yield (
            f"the network gets x_t in {rounded['dtype']}, rounded by more than 0.1 % of its noise "
            f"{where}: a network in float64 is not"
        )


def lost_by_V_1(
    at_1: Mapping[str, float],
    V_1: float,
    L_0: float,
    unit: Unit,
    log_snr_1: float | None,
    levels: int | None = None,
) -> float:
    """1/2 (r - 1 - ln r), r = (e^2 + b) / (V_1 + b): what V_1 costs a dimension against V_1 = e^2.

    e^2: the mean squared error of x0-hat at t = 1; b: 0 of a density, for which this is exact, as
    ln N(x; m, V) is on average -1/2 (ln V + e^2 / V) and a constant; of levels a twelfth of the
    squared bin. These lose L_0 at most, as no mass is above 1, and it is known of them only where
    V_1 is above 1/SNR, how well x_1 alone says what x_0 is. In `unit`; 0 where V_1 <= e^2 or e = 0,
    and where e is above an eighth of the range of the levels, whose ends then take much mass.
    """
    e_2 = at_1["rms"] ** 2
    if not 0 < e_2 < V_1:
        return 0.0
    with_bins = (at_1["rms"] / at_1["in_deviations"]) ** 2  # V_1 + b
    bins = math.sqrt(12 * max(with_bins - V_1, 0.0))
    if levels is not None and 8 * at_1["rms"] > bins * (levels - 1):
        return 0.0
    r = (e_2 + with_bins - V_1) / with_bins
    lost = (r - 1 - math.log(r)) / 2 / unit.nats
    if unit != BITS:
        return lost
    known = log_snr_1 is not None and TOO_FAR**2 * math.exp(-log_snr_1) < V_1
    return min(lost, L_0) if known else 0.0


def _of_V_1(
    at_1: Mapping[str, float] | None, per_dim: float, lost: float, unit: Unit
) -> Iterator[str]:
    """Where the decoder's variance is not that of x0-hat's error at t = 1."""
    if at_1 is None:
        return
    error, units = at_1["rms"], at_1["in_deviations"]
    seen = f"x0-hat is off by {error:.2g} at t = 1 (rms), {units:.2g} times sqrt(V_1)"
    if units > TOO_FAR:
        yield f"V_1 is too small: {seen}"
    least, part = LARGE_L_T
    if lost > least and lost > part * abs(per_dim):
        yield (
            f"V_1 is too large: {seen}, which costs {'up to ' if unit == BITS else ''}"
            f"{lost:.2g} {unit.name}: V_1 = {error**2:.2g} is better"
        )
