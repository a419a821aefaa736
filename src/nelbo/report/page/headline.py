"""The figure, what it is a figure of, and its three terms with their shares."""

from dataclasses import dataclass
from typing import final

from nelbo.results.evaluation import Evaluation
from nelbo.typed_json import at

__all__ = ["Part", "data_name", "parts", "plus_minus", "sentence"]

FORMULAS = {
    "L_T": "KL(q(x_T|x_0) ‖ p(x_T))",
    "L_mid": "Σ KL(q(x_t-1|x_t,x_0) ‖ p(x_t-1|x_t))",
    "L_0": "−log p(x_0|x_1)",
}
SAYS = {
    "L_T": "what the end of the chain still knows of x₀",
    "L_mid": "the steps of the chain",
    "L_0": "the last step, into levels",
}


@final
@dataclass(frozen=True)
class Part:
    """A term as the bar and its legend have it; share is None where a term is negative."""

    key: str
    symbol: str
    formula: str
    says: str
    value: str
    half: str
    share: float | None


def plus_minus(half: float | None) -> str:
    """As the command line rounds it."""
    return "± unknown" if half is None else f"± {half:.2g}"


def parts(result: Evaluation) -> list[Part]:
    """The three terms."""
    whole = sum(term.value for term in result.figures)
    split = whole > 0 and all(term.value >= -1e-9 * whole for term in result.figures)
    continuous = result.model.get("time") == "continuous"
    symbols = {"L_T": "L_T", "L_mid": "L∞" if continuous else "Σ L_t-1", "L_0": "L_0"}
    density = result.unit.density_of is not None
    return [
        Part(
            key=term.name,
            symbol=symbols[term.name],
            formula=FORMULAS[term.name],
            says="the last step, a density" if density and term.name == "L_0" else SAYS[term.name],
            value=f"{term.value:.6f}",
            half=plus_minus(term.half),
            share=max(term.value, 0.0) / whole if split else None,
        )
        for term in result.figures
    ]


def data_name(result: Evaluation) -> str:
    """As a data spec names it."""
    name, split = str(result.data["name"]), result.data.get("split")
    return name if not split else f"{name}:{split}"


def sentence(result: Evaluation) -> str:
    """What the figure is."""
    model, density = result.model, result.unit.density_of
    of = "log₂ p(x₀)" if density is None else f"log p(x₀), a density of {density},"
    examples = "examples" if density is not None else result.unit.examples
    examples += " of text" if examples == "windows" else ""
    steps, whole = model.get("steps"), model.get("T")
    chain = "infinitely many steps" if model.get("time") == "continuous" else f"{steps:,} steps"
    if steps != whole and model.get("time") != "continuous":
        chain = f"{steps:,} of its {whole:,} steps"
    if "masks" in model:
        chain = f"{model['calls']:,} calls, each of which reveals as many positions, evenly chosen,"
    evaluations = result.network_evaluations
    clip = f", x̂₀ {'clipped' if model.get('clip') else 'not clipped'}"
    if model.get("family") == "categorical":
        clip = ""
    if "order" in model:
        name, calls = at(model, "order", "name"), at(model, "order", "calls")
        of_any = " The bound of the model of any order may lie on either side."
        either = "" if model.get("decoder") == "in sequence" else of_any
        return (
            f"Exactly −{of} per {result.unit.each} of the model that reveals positions in the "
            f"order {name} by {calls:,} calls: of {result.images:,} {examples} of "
            f"{data_name(result)}, {evaluations:,} network evaluations.{either}"
        )
    return (
        f"An upper bound on −{of} per {result.unit.each}: of {result.images:,} "
        f"{examples} of {data_name(result)}, by a chain of "
        f"{chain} and decoder {model.get('decoder')}{clip}, "
        f"seed {result.estimator.get('seed')}, {evaluations:,} network evaluations."
    )
