"""Three models or more: each against the first, paired as two are."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nelbo import arguments
from nelbo.errors import BadInput
from nelbo.estimation import Processes, Progress
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model
from nelbo.results.comparisons import Comparisons
from nelbo.tasks.compare import compare

__all__ = ["compare_all"]


def silent(label: str) -> Progress:
    """Of nobody who watches."""
    return lambda done, expected, text: None


def compare_all(
    models: Sequence[Model | str | Path | Pipeline],
    data: object,
    *,
    precision: float = 0.01,
    budget: int | None = None,
    exhaustive: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    check: bool = True,
    record: str | Path | None = None,
    processes: Processes | None = None,
    command: str = "",
    progress: Callable[[str], Progress] = silent,
) -> Comparisons:
    """The bound of each model minus that of the first, with two intervals, as `compare` of two.

    Each pair is estimated as a difference, to `precision`, with an equal part of `budget` or at
    every t, so the first model is evaluated once in each. data: as for `compare`; the same images
    for all. record: a folder with one of each pair in it. progress: of a label what is called with
    the progress of that pair.

    Raises:
        BadInput: fewer than two models, and as `compare`.
        NonFinite: a term is NaN or infinite.
    """
    if isinstance(models, str | Path) or len(models) < 2:
        raise BadInput("a comparison is of two models or more: give a list of them")
    first, *others = map(as_model, models)
    each = None if budget is None else arguments.whole("budget", budget) // len(others)
    return Comparisons(
        [
            compare(
                other,
                first,
                data,
                precision=precision,
                budget=each,
                exhaustive=exhaustive,
                seed=seed,
                batch_size=batch_size,
                check=check,
                record=None if record is None else arguments.path("record", record) / f"{number}",
                processes=processes,
                command=command,
                progress=progress(f"compare {number} of {len(others)}"),
            )
            for number, other in enumerate(others, 1)
        ],
        command,
    )
