"""Where every figure of a page is from: settings with their source, digests, versions."""

from collections.abc import Mapping

from nelbo.results.evaluation import Evaluation
from nelbo.typed_json import Json, at, part_at, text_at

__all__ = ["Row", "rows", "settings"]

Row = tuple[str, str, str]
"""(setting, value, source)."""

FROM = {"sha256": "its weights", "weights": "its weights", "steps": "the evaluation"}
LONGEST = 400  # letters of a list that are shown; all of it is in the JSON
OWN = ("sources", "options")  # shown by the rows themselves


def settings(
    result: Evaluation, recipe: Mapping[str, Json] | None = None
) -> list[tuple[str, list[Row]]]:
    """Groups of rows; recipe: what the run was trained by, where it is known."""
    sources = part_at(result.model, "sources")
    model = {key: value for key, value in result.model.items() if key not in OWN}
    usual = "its files" if "sources" in result.model else "its recipe"
    groups = [
        ("Model", [(name, value, FROM.get(name, of)) for name, value, of in rows(model, usual)])
    ]
    if "sources" in result.model:
        entries = [
            (
                name,
                _text(at(sources, name, "value")),
                text_at(sources, name, "source")
                + ("" if at(sources, name, "changes_bound") else ", not in the bound"),
            )
            for name in sources
        ]
        groups.append(("Settings of the model, by source", entries))
    groups.append(("Data", rows(result.data, "the data")))
    groups.append(("Estimator", rows(result.estimator, "the evaluation")))
    groups.append(("Environment", rows(result.environment, "the machine")))
    if recipe is not None:
        groups.append(("Training", rows(part_at(recipe, "training"), "the recipe")))
    return groups


def rows(part: Mapping[str, Json], source: str) -> list[Row]:
    """Nested choices with dotted names."""
    result = []
    for name, value in part.items():
        if isinstance(value, Mapping) and value:
            result += [(f"{name}.{key}", text, own) for key, text, own in rows(value, source)]
        else:
            result.append((name, _text(value), source))
    return result


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        text = ("; " if value and isinstance(value[0], Mapping) else ", ").join(map(_text, value))
        return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    return str(value)
