"""A model card for the Hugging Face hub: the bound as its model-index, and as a table to read."""

from collections.abc import Sequence
from typing import Any

from nelbo.errors import BadInput, printable
from nelbo.report.tables import markdown
from nelbo.results.context import likelihood_of, order_of
from nelbo.results.evaluation import Evaluation

__all__ = ["card"]

LIBRARY = "nelbo"
TASKS = {False: "unconditional-image-generation", True: "image-generation"}


def card(results: Sequence[Evaluation]) -> str:
    """The text of a README.md: metadata as YAML between lines of ---, then Markdown.

    Each result is an entry of the model-index, with its intervals and what the figure is of; none
    of them is marked as verified by the hub.

    Raises:
        BadInput: no result, or results of several models.
    """
    if not results:
        raise BadInput("a card is of one result or more; got none")
    if len({str(result.model.get("sha256")) for result in results}) > 1:
        raise BadInput("a card is of one model: these results are of different weights")
    from huggingface_hub import EvalResult, ModelCardData

    name = printable(results[0].model["name"])
    data = ModelCardData(
        library_name=LIBRARY,
        tags=["diffusion", "likelihood"],
        model_name=name,
        eval_results=[EvalResult(**_entry(result)) for result in results],
    )
    columns = ("model", "data", "steps", "bound", "monte-carlo", "evaluations")
    table = markdown(results, columns).partition("\n\n")[2]
    return f"---\n{data.to_yaml()}\n---\n\n# {_heading(name)}\n\n{table}"


def _entry(result: Evaluation) -> dict[str, Any]:
    """As the hub's model-index has it."""
    unit, split = result.unit, result.data.get("split")
    continuous = result.model.get("time") == "continuous"
    kind = order_of(result.model) or ", variational upper bound"
    what = f"negative log-likelihood{likelihood_of(result.model)}{kind}"
    name = str(result.data["name"])
    return {
        "task_type": TASKS["likelihood" in result.model],
        "dataset_type": printable(name),
        "dataset_name": printable(f"{name}:{split}" if split else name),
        "dataset_split": split,
        "metric_type": unit.key,
        "metric_name": printable(f"{unit}, {what}"),
        "metric_value": result.per_dim,
        "metric_args": {
            "ci95_half_width_sampling_of_images": result.half,
            "ci95_half_width_monte_carlo": result.half_monte_carlo,
            "images": result.images,
            "steps": "infinite" if continuous else result.model.get("steps"),
            "network_evaluations": result.network_evaluations,
            "weights_sha256": result.model.get("sha256"),
            "data_sha256": result.data.get("sha256"),
        },
        "verified": False,
    }


def _heading(name: str) -> str:
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>#" else c for c in name)
