"""The page of a model and a result of it, whatever the model is: with samples and images."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nelbo import files, formats
from nelbo.arguments import seed_of, whole
from nelbo.data import Images, Tokens
from nelbo.errors import BadInput
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.report.page import Reported
from nelbo.report.page import page as laid_out
from nelbo.results import Evaluation
from nelbo.results.reading import read
from nelbo.tasks.report.drawing import Drawing, Progress, pictures_of
from nelbo.tasks.report.report import Say, always, columns_of, measured
from nelbo.typed_json import part_at, whole_at

__all__ = ["model_of", "model_page", "page"]

PAGES = (".html", ".htm")


def page(
    model: Model | str | Path | Pipeline,
    result: Evaluation | str | Path,
    path: str | Path,
    *,
    data: object = None,
    per_image: str | Path | None = None,
    samples: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = lambda done, expected, text: None,
    say: Say = lambda text: None,
) -> Path:
    """Writes the page of a result with what its model draws: samples and their way from noise.

    model: the one that was measured, as `nelbo.load` or `nelbo.wrap` gave it, or what `load` takes.
    result: of `nelbo.evaluate`, or its file. data: the images that were measured, for
    reconstructions and for the easiest and the hardest of them. per_image: the table of a result
    that is a file, by default the one beside it. samples: how many are drawn, 64 or fewer by
    default, none for 0. steps: of the chain that draws them, which a model of infinitely many steps
    needs; by default its own.

    Raises:
        BadInput: no .html, a result of other weights or another chain, or data that are not those
            of the result.
        NonFinite: the network gave NaN or infinity.
        OSError: the disk refuses.
    """
    place = Path(path)
    if place.suffix.lower() not in PAGES:
        raise BadInput(f"{path}: a page is written as .html; got {place.suffix or 'none'}")
    drawing = Drawing(
        None if samples is None else whole("samples", samples, 0),
        seed_of(seed),
        None if steps is None else whole("steps", steps, 1),
        progress=progress,
    )
    html = model_page(as_model(model), result, data, per_image, drawing, say)
    return files.write(place, html.encode())


def model_page(
    model: Model,
    result: Evaluation | str | Path,
    data: object,
    per_image: str | Path | None,
    drawing: Drawing,
    say: Say = lambda text: None,
) -> str:
    """The HTML page, as `page` writes it."""
    shown, columns = _measured(result, per_image, say)
    _require_same(model, shown)
    images = None if data is None else _images(model, shown, data)
    why_not = always(shown) | _why_not(shown, images is None)
    pictures = pictures_of(model, images, columns, shown, drawing, why_not)
    return laid_out(Reported(shown, columns, pictures=pictures, why_not=why_not))


def model_of(source: str | Path, result: Evaluation, device: str | None) -> Model:
    """The model at the path, read by the options of the result and its chain as it was then.

    Raises:
        BadInput: as `nelbo.load`; other weights than those of the result.
    """
    options = formats.options_of(part_at(result.model, "options"))
    weights = result.model.get("weights")
    options["weights"] = weights if weights in ("ema", "raw") else None
    if formats.is_function(source):
        options = {}
    model = formats.load(source, device=device, **options)
    if result.model.get("time") == "continuous":
        return model if model.infinite else model.in_the_limit()
    steps = whole_at(result.model, "steps") if "steps" in result.model else model.T
    return model.every(steps) if model.infinite or steps != model.T else model


def _measured(
    result: object, per_image: str | Path | None, say: Say
) -> tuple[Evaluation, Mapping[str, Tensor] | None]:
    """The result as a page has it, and the columns of its table of images."""
    if isinstance(result, str | Path):
        if per_image is None:
            return measured(result, say)
        result = read(result, say)
    if not isinstance(result, Evaluation):
        raise BadInput(
            "a page of a model is of a result of nelbo.evaluate, or of its file; got a "
            f"{type(result).__name__}"
        )
    if per_image is not None:
        return result, columns_of(Path(per_image), result, say)
    return result, None if result.rows is None else result.rows.columns()


def _require_same(model: Model, result: Evaluation) -> None:
    """Refuses a model that is not the one that the result is of."""
    name = result.model["name"]
    if model.sha256() != result.model.get("sha256"):
        raise BadInput(f"the result is of other weights than {model.name} has, those of {name}")
    described = model.described()
    for key in ("steps", "time"):
        if described.get(key) != result.model.get(key):
            raise BadInput(
                f"the result is of {key} {result.model.get(key)} and {model.name} has "
                f"{described.get(key)}: give the model as it was measured"
            )


def _images(model: Model, result: Evaluation, data: object) -> Images | Tokens | None:
    """The images or windows of the result; None of points, which have no positions."""
    examples = examples_of(model, data)
    if not isinstance(examples, Images | Tokens):
        return None
    examples = examples.first(min(result.images, len(examples)))
    if examples.sha256 != result.data.get("sha256"):
        raise BadInput(f"{examples.name}: the result is of other images, {result.data['name']}")
    return examples


def _why_not(result: Evaluation, no_images: bool) -> dict[str, str]:
    """What a section says where it is empty."""
    what = result.unit.examples
    given = f"The {what} were not given: data= in Python, --data on the command line."
    table = f"The table of single {what} was not given: --per-image."
    return {
        "histogram": table,
        "extremes": given if no_images else table,
        "reconstructions": given if no_images else "The chain has no x̂₀.",
        "samples": "No samples were requested.",
        "training": "",  # elsewhere: there is no such section
    }
