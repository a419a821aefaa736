"""The charts of an evaluation, each with the sentence that says what it means."""

from collections.abc import Sequence

import numpy as np

from nelbo.report import plots
from nelbo.report.page.charts import Chart, chart, shown
from nelbo.report.plotted import Axis, BitsPerImage, BitsPerStep, Plots, Rate, RateDistortion
from nelbo.report.plotted import RunningEstimate as Running

__all__ = ["bits", "distortion", "histogram", "rate", "running"]

STEP = "Each point is what one step of the chain adds to the bound. A better model lies lower."
HIDDEN = (
    "Each point is what one step adds to the bound, with k positions hidden: what one of these "
    "costs on average, over the number of positions. A better model lies lower."
)
VIEWS: dict[Axis, str] = {"t": "linear t", "log t": "log t", "log SNR": "log SNR"}


def bits(curves: Plots) -> list[Chart]:
    """The term of each t, over log SNR where the chain has one, then over t and log t."""
    steps = curves.bits_per_step
    if steps is None:
        return []
    axes: list[Axis] = ["t"] if len(steps.t) == 1 else ["t", "log t"]
    if steps.log_snr is not None:
        axes.insert(0, "log SNR")
    return [_bits(steps, curves.unit, over) for over in axes]


def _bits(steps: BitsPerStep, unit: str, over: Axis) -> Chart:
    points = steps.grouped(over)
    half = plots.NORMAL * points.se
    times = [
        f"{a}" if a == b else f"{a}–{b}" for a, b in zip(points.first, points.last, strict=True)
    ]
    rows = [[t, shown(b), shown(h, 2)] for t, b, h in zip(times, points.bits, half, strict=True)]
    columns = ["k" if steps.hidden else "t", unit, "± 95 %"]
    if over == "log SNR":
        columns.insert(1, "log SNR")
        rows = [[row[0], shown(x), *row[1:]] for row, x in zip(rows, points.x, strict=True)]
    return chart(
        plots.bits_per_step(steps, unit, over=over),
        f"bits-{over.lower().replace(' ', '-')}",
        HIDDEN if steps.hidden else STEP,
        columns,
        rows,
        list(zip(points.x, points.bits, strict=True)),
        VIEWS[over],
        "Bits by how many positions are hidden" if steps.hidden else "The term of each step",
    )


def rate(curve: Rate, unit: str) -> Chart:
    """The cumulative rate over t."""
    return chart(
        plots.cumulative_rate(curve, unit),
        "rate",
        "The reverse chain starts at the right, where nothing is known of x₀, and adds bits "
        "on its way to the left. Where the curve is steep, x₀ is being decided.",
        ["t", f"so far, {unit}"],
        [[str(t), shown(x)] for t, x in zip(curve.t, curve.rate, strict=True)],
        list(zip(curve.t, curve.rate, strict=True)),
    )


def distortion(curve: RateDistortion, unit: str) -> Chart:
    """The error of the reconstruction against the rate."""
    error = "RMSE" if curve.levels is None else "RMSE, levels"
    return chart(
        plots.rate_distortion(curve, unit),
        "rate-distortion",
        "How far the best guess of an image is off when so many bits of it are known. A good lossy "
        "coder falls fast and early.",
        [f"rate, {unit}", error],
        [[shown(a), shown(b)] for a, b in zip(curve.rate, curve.rmse, strict=True)],
        list(zip(curve.rate, curve.rmse, strict=True)),
    )


def histogram(data: BitsPerImage, unit: str) -> Chart:
    """How many images have how much."""
    values = np.asarray(data.bits, np.float64)
    edges = plots.histogram_edges(values)
    counts = np.histogram(values, edges)[0]
    centres = (edges[:-1] + edges[1:]) / 2
    return chart(
        plots.per_image_histogram(data, unit),
        "histogram",
        f"The figure of the page is the mean of this. How wide it is, and how many {data.examples} "
        f"there are, make the interval of the sampling of {data.examples}.",
        [unit, data.examples],
        [
            [f"{shown(a)} to {shown(b)}", f"{n:,}"]
            for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
        list(zip(centres.tolist(), counts.tolist(), strict=True)),
        title=f"How the {data.examples} spread",
    )


def running(curve: Running, unit: str) -> Chart:
    """The estimate as evaluations came in."""
    columns: Sequence[str] = ["network evaluations", unit, "± 95 %"]
    return chart(
        plots.running_estimate(curve, unit),
        "running",
        "Each point is the whole estimate with all that was known by then. It should stay inside "
        "the bands of the points before it.",
        columns,
        [
            [f"{n:,}", f"{value:.4f}", shown(half, 2)]
            for n, value, half in zip(curve.evaluations, curve.bits, curve.half_width, strict=True)
        ],
        list(zip(curve.evaluations, curve.bits, strict=True)),
    )
