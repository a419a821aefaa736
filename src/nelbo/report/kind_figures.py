"""Results that are no evaluation as a figure of a paper: which figures there are of which kind."""

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.figure import Figure

from nelbo.errors import BadInput
from nelbo.report import figures
from nelbo.report.kind_curves import bill, calibration, differences, ranks, sides, solver_steps
from nelbo.report.ranking_plots import Curves
from nelbo.results.classification import Classification
from nelbo.results.comparison import Comparison
from nelbo.results.comparisons import Comparisons
from nelbo.results.compression import Compression
from nelbo.results.order_bounds import OrderBounds
from nelbo.results.plan import PlanResults
from nelbo.results.ranking import Entry
from nelbo.results.read_ode import OdeRead
from nelbo.results.read_ranking import RankedImages
from nelbo.results.saved import Saved

__all__ = ["kind_figure"]

Made = Callable[[], tuple[Curves, list[str]] | None]
LACKS = {
    "solver": "the ODE was solved by one number of steps",
    "calibration": "the data have no labels",
}


def kind_figure(kind: str | None, results: Sequence[Saved], width: float) -> Figure:
    """The figure of the one result, `width` inches wide; by default the one that its kind has.

    Of plans every figure of evaluations is drawn, with all of their results in it.

    Raises:
        BadInput: several results that are no plans, a figure that there is none of, or a result
            without what it shows.
    """
    if all(isinstance(result, PlanResults) for result in results):
        plans = [result for result in results if isinstance(result, PlanResults)]
        return figures.figure(kind or "bounds", _entries(plans), width)
    if len(results) > 1:
        raise BadInput("a figure of results that are no evaluations is of one: make one of each")
    own, curves = _figure_of(results[0])
    if kind not in (None, own):
        raise BadInput(f"--figure {kind} is of another kind of result; of this one there is {own}")
    made = curves()
    if made is None:
        raise BadInput(f"there is no figure {own} of this result: {LACKS[own]}")
    return figures.of_curves(*made, width)


def _figure_of(result: Saved) -> tuple[str, Made]:
    """(the name of the figure, what makes its curves)."""
    if isinstance(result, Comparison | Comparisons):
        return "difference", partial(differences, result)
    if isinstance(result, OdeRead):
        return "solver", partial(solver_steps, result)
    if isinstance(result, OrderBounds):
        return "sides", partial(sides, result)
    if isinstance(result, Classification):
        return "calibration", partial(calibration, result)
    if isinstance(result, RankedImages):
        return "ranks", partial(ranks, result)
    if isinstance(result, Compression):
        return "bill", partial(bill, result)
    schema = result.to_dict()["schema"]
    raise BadInput(f"no figure is made of a result of schema {schema}: .json is")


def _entries(plans: Sequence[PlanResults]) -> list[Entry]:
    """Under the model's name in the plan; with the data where these are several."""
    measured = [pair for plan in plans for pair in plan.measured]
    if not measured:
        raise BadInput("a figure is of one result or more; none of the plan was measured")
    one = len({entry.data for entry, _ in measured}) == 1
    return [Entry(entry.model if one else entry.name, result) for entry, result in measured]
