"""The warnings of one model in a measurement, the same wherever it is measured."""

from collections.abc import Mapping

from nelbo.estimation import Evaluator, Sum
from nelbo.results.warnings import of_figure
from nelbo.typed_json import Json
from nelbo.types import Grid

__all__ = ["warnings_of"]


def warnings_of(
    evaluator: Evaluator, number: int, parts: Mapping[str, Sum], described: Mapping[str, Json]
) -> list[str]:
    """Why the figure may not be that of `evaluator.models[number]`, each in a line.

    parts: its L_T, L_mid and L_0, in nats; described: its facts.
    """
    model, unit = evaluator.models[number], evaluator.unit
    terms = {name: part.means()[0].mean for name, part in parts.items()}
    total = sum(terms.values())
    excess = evaluator.excess[number]
    return of_figure(
        unit.per_dim(total, model.dims),
        unit.per_dim(terms["L_T"], model.dims),
        unit,
        model.support.n if isinstance(model.support, Grid) and unit.each == "dimension" else None,
        described,
        None if excess is None else excess.worst(terms["L_mid"] / max(total, terms["L_mid"])),
        evaluator.at_1(number),
        unit.per_dim(terms["L_0"], model.dims),
        None if model.log_snr is None else float(model.log_snr[1]),
    )
