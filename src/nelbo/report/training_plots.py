"""What a training log says, as pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from nelbo.report.plots import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    band,
    house_style,
    plain_figure,
    power,
    whole_ticks,
)
from nelbo.typed_json import Json, known_at, known_of, list_at, number_at, text_at

__all__ = ["QUARTERS", "held_out", "learning_rate", "losses", "losses_by_quarter", "quartered"]

Log = Sequence[Mapping[str, Json]]
QUARTERS = ("first quarter", "second", "third", "last quarter")
LINES = (
    (BLUE, "-"),
    (GREEN, "--"),
    (PURPLE, "-."),
    (ORANGE, ":"),
)  # not by colour alone


@house_style()
def losses(log: Log) -> Figure:
    """The smoothed loss over steps."""
    entries = [entry for entry in log if "loss" in entry]
    steps, values = _column(entries, "step"), _column(entries, "loss")
    figure, axes = plain_figure("Training loss", "step", f"{entries[0]['unit']}, smoothed")
    axes.plot(steps, values, color=BLUE, lw=1.6)
    low, high = min(values), float(np.quantile(values, 0.98))
    if high > 4 * low > 0:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(whole_ticks())
    figure.set_label(
        f"Training loss from {values[0]:.3g} at step {steps[0]} to {values[-1]:.3g} at step "
        f"{steps[-1]}."
    )
    return figure


@house_style()
def losses_by_quarter(log: Log) -> Figure:
    """The smoothed loss of the t in each quarter of 1..T over steps."""
    entries = quartered(log)
    figure, axes = plain_figure(
        "Loss along the chain", "step", f"{entries[0]['unit']}, by quarter of 1..T"
    )
    quarters = [[known_of(x) for x in list_at(e, "loss_by_quarter")] for e in entries]
    parts = zip(*quarters, strict=True)
    last = []
    for name, values, (colour, stroke) in zip(QUARTERS, parts, LINES, strict=True):
        known = [np.nan if value is None else value for value in values]
        axes.plot(_column(entries, "step"), known, color=colour, ls=stroke, lw=1.6, label=name)
        last.append("not known" if known[-1] != known[-1] else f"{known[-1]:.3g}")
    if min(x for of in quarters for x in of if x is not None) > 0:
        axes.set_yscale("log")
        axes.yaxis.set(major_formatter=power)
    axes.xaxis.set_major_locator(whole_ticks())
    axes.legend(frameon=False, ncols=2, labelspacing=0.5, columnspacing=1.2, handlelength=3)
    figure.set_label(
        f"Training loss by quarter of 1..T over steps; in the end, from small t to large, "
        f"{', '.join(last)}."
    )
    return figure


def quartered(log: Log) -> Log:
    """The entries that tell the loss of a quarter."""
    return [e for e in log if any(x is not None for x in list_at(e.get("loss_by_quarter", ())))]


@house_style()
def held_out(log: Log) -> Figure:
    """The bound of images that are not trained on, with its Monte Carlo interval."""
    entries = [entry for entry in log if "held_out" in entry]
    steps, values, half = (
        np.array([known_at(entry, key) for entry in entries], np.float64)
        for key in ("step", "held_out", "ci95_half")
    )
    unit = text_at(entries[0], "unit")
    figure, axes = plain_figure("Held-out bound", "step", unit)
    band(axes, steps, values, half)
    best = int(values.argmin())
    axes.plot(steps[best], values[best], "D", color=ORANGE, markersize=6)
    axes.xaxis.set_major_locator(whole_ticks())
    figure.set_label(
        f"Held-out bound over steps, at best {values[best]:.4f} {unit} at step {steps[best]:.0f}."
    )
    return figure


@house_style()
def learning_rate(log: Log) -> Figure:
    """The learning rate over steps."""
    entries = [entry for entry in log if "learning_rate" in entry]
    steps, rates = _column(entries, "step"), _column(entries, "learning_rate")
    figure, axes = plain_figure("Learning rate", "step", "learning rate")
    axes.plot(steps, rates, color=BLUE, lw=1.6)
    axes.set_ylim(0, max(rates) * 1.08 or 1)
    axes.xaxis.set_major_locator(whole_ticks())
    figure.set_label(f"Learning rate, {max(rates):.3g} at most, {rates[-1]:.3g} in the end.")
    return figure


def _column(entries: Log, key: str) -> list[float]:
    return [number_at(entry, key) for entry in entries]
