"""The curves of results that are no evaluation: solver steps, calibration, images by rank."""

import numpy as np

from nelbo.report.ranking_plots import Curve, Curves
from nelbo.results.read_images import Classified, RankedImages
from nelbo.results.read_ode import OdeRead
from nelbo.typed_json import number_at

__all__ = ["calibration", "ranks", "solver_steps"]


def solver_steps(result: OdeRead) -> tuple[Curves, list[str]] | None:
    """(how far few steps of the solver are off, the names of the curves); None of fewer than two.

    Beside it the bound minus the ODE, paired image by image, which is what such an error is to be
    held against.
    """
    if len(result.by_steps) < 2:
        return None
    steps = np.array([count for count, _ in result.by_steps], np.float64)
    values = np.array([value for _, value in result.by_steps], np.float64)
    most = int(steps[-1])
    labels = [str(int(count)) for count in steps]
    difference = result.difference
    half = difference.half_monte_carlo
    curves = [
        Curve(0, steps, values - values[-1], None, labels),
        Curve(
            1,
            steps,
            np.full(len(steps), -difference.value),
            None if half is None else np.full(len(steps), half),
            labels,
        ),
    ]
    laid = Curves(
        title="Steps of the solver",
        meaning=f"How far the figure by few steps is from that by {most}, on the images where "
        "these were compared, beside how far the bound is from the ODE. Where the first is as "
        "large as the second, an ODE of so few steps says nothing about the bound.",
        x="steps of the solver",
        y=f"{result.unit.name}, difference",
        curves=curves,
        absent=(),
        notes=[
            f"Line: the figure minus that by {most} steps. Dashed: the bound minus the ODE, with "
            "its 95 % Monte Carlo interval."
        ],
    )
    return laid, [f"minus by {most} steps", "the bound minus the ODE"]


def calibration(result: Classified) -> tuple[Curves, list[str]] | None:
    """(the share that is right against the mean confidence, names); None without labels."""
    if not result.reliability:
        return None
    x = np.array([bin.confidence for bin in result.reliability], np.float64)
    y = np.array([bin.accuracy for bin in result.reliability], np.float64)
    labels = [f"{bin.low:.1f} to {bin.high:.1f}" for bin in result.reliability]
    ends = np.array([0.0, 1.0])
    laid = Curves(
        title="Confidence and accuracy",
        meaning="A posterior is calibrated where the share of images that are right is its "
        "confidence: on the dashed line. Below it the model is too sure.",
        x="confidence, mean of a range",
        y="share that is right",
        curves=[Curve(0, x, y, None, labels), Curve(1, ends, ends, None, ["", ""])],
        absent=(),
    )
    return laid, ["this model", "calibrated"]


def ranks(result: RankedImages) -> tuple[Curves, list[str]]:
    """(the bound of each image by its rank, with its interval; the name)."""
    key = result.unit.key
    values = np.array([number_at(row, key) for row in result.rows], np.float64)
    low, high = (
        np.array([number_at(row, end) for row in result.rows], np.float64)
        for end in ("low", "high")
    )
    rank = np.arange(1, len(values) + 1, dtype=np.float64)
    laid = Curves(
        title="The images in their order",
        meaning="The bound of each image, from the easiest to the hardest, with its 95 % Monte "
        "Carlo interval. Where the bands of neighbours overlap, their order is not known.",
        x="rank",
        y=f"{result.unit.name} of an image",
        curves=[Curve(0, rank, values, (high - low) / 2, [str(row["id"]) for row in result.rows])],
        absent=(),
    )
    return laid, ["bound"]
