"""What a training log says, as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nelbo.report.plots import BLUE, ORANGE, WHOLE, band, house_style, plain_figure

__all__ = ["held_out", "learning_rate", "losses"]

Log = Sequence[Mapping[str, Any]]


@house_style()
def losses(log: Log) -> Figure:
    """The smoothed loss over steps, and that of each part of 1..T where the log has it."""
    entries = [entry for entry in log if "loss" in entry]
    steps, values = [e["step"] for e in entries], [e["loss"] for e in entries]
    figure, axes = plain_figure("Training loss", "step", f"{entries[0]['unit']}, smoothed")
    axes.plot(steps, values, color=BLUE, lw=1.6)
    low, high = min(values), float(np.quantile(values, 0.98))
    if high > 4 * low > 0:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(**WHOLE))
    figure.set_label(
        f"Training loss from {values[0]:.3g} at step {steps[0]} to {values[-1]:.3g} at step "
        f"{steps[-1]}."
    )
    return figure


@house_style()
def held_out(log: Log) -> Figure:
    """The bound of images that are not trained on, with its Monte Carlo interval."""
    entries = [entry for entry in log if "held_out" in entry]
    steps, values, half = (
        np.array([entry[key] for entry in entries], np.float64)
        for key in ("step", "held_out", "ci95_half")
    )
    unit = entries[0]["unit"]
    figure, axes = plain_figure("Held-out bound", "step", unit)
    band(axes, steps, values, half)
    best = int(values.argmin())
    axes.plot(steps[best], values[best], "D", color=ORANGE, markersize=6)
    axes.xaxis.set_major_locator(MaxNLocator(**WHOLE))
    figure.set_label(
        f"Held-out bound over steps, at best {values[best]:.4f} {unit} at step {steps[best]:.0f}."
    )
    return figure


@house_style()
def learning_rate(log: Log) -> Figure:
    """The learning rate over steps."""
    entries = [entry for entry in log if "learning_rate" in entry]
    steps, rates = [e["step"] for e in entries], [e["learning_rate"] for e in entries]
    figure, axes = plain_figure("Learning rate", "step", "learning rate")
    axes.plot(steps, rates, color=BLUE, lw=1.6)
    axes.set_ylim(0, max(rates) * 1.08 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(**WHOLE))
    figure.set_label(f"Learning rate, {max(rates):.3g} at most, {rates[-1]:.3g} in the end.")
    return figure
