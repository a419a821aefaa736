"""The page of a run or of a result file: what is at hand is gathered, what is not is named."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from nelbo import checkpoint, formats
from nelbo.data import Images, Points, Tokens, load_for
from nelbo.errors import BadInput
from nelbo.model import Model
from nelbo.report.page import Reported, page, page_of
from nelbo.results import per_image
from nelbo.results.evaluation import Evaluation
from nelbo.results.loading import load as load_result
from nelbo.results.reading import read
from nelbo.tasks.report.drawing import Drawing, Progress, pictures_of
from nelbo.training.log import LOG, read_log
from nelbo.typed_json import whole_at
from nelbo.types import Grid

__all__ = [
    "IMAGES",
    "RESULT",
    "Say",
    "always",
    "columns_of",
    "measured",
    "report",
]

RESULT, IMAGES = "result.json", "images.csv"
"""What a run folder may hold beside its model; the names that a page looks for."""

DIGEST = "per_image_sha256"
SAME = 1e-9  # relative, of two means of one evaluation

Say = Callable[[str], None]


class Another(BadInput):
    """A whole table, and not that of the result."""


def report(
    source: str | Path,
    *,
    result: str | Path | None = None,
    data: str | None = None,
    images: str | Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: str | None = None,
    table: Sequence[Sequence[str]] = (),
    drawn: Callable[[Int64[Tensor, "N C H W"]], None] = lambda levels: None,
    progress: Progress = lambda done, expected, text: None,
    say: Say = lambda text: None,
) -> str:
    """The HTML page of a run folder with its result.json, or of a result file alone.

    A result is of an evaluation, or of another kind of which there is a page.

    result: of the run folder's model, by default its result.json. data: the images that were
    measured, as a data spec; by default the run's own test data.
    images: the per-image table of the result; in a run folder its images.csv by default.
    samples: how many to draw with the run's model, 64 or fewer by default, none for 0. seed: of all
    that is drawn. steps: of the chain that draws the samples, by default the model's own. table:
    rows of (what, bits/dim) beside other codes, the first one the heading.
    drawn: called with the samples, as levels, for whoever wants them elsewhere too. say: called
    with what should be known of the result and the table.

    Raises:
        BadInput: no run and no result, a run that was not measured, a result or a table of
            something else.
        NonFinite: the network gave NaN or infinity.
    """
    source = Path(source)
    if not source.is_dir():
        return _of_file(source, images, table, say)
    path = source / RESULT if result is None else Path(result)
    measured = _of_run(source, path, say)
    model = _model(source, path, measured, device)
    why_not = _in_run(source, measured)
    columns = _own_columns(source, images, measured, why_not, say)
    test = _data(source, model, measured, data, why_not)
    if (
        test is not None
        and columns is not None
        and set(test.ids.tolist()) != set(columns["id"].tolist())
    ):
        raise BadInput(f"{images or source / IMAGES} has other ids than the images of the result")
    drawing = Drawing(samples, seed, steps, drawn, progress)
    pictures = pictures_of(model, test, columns, measured, drawing, why_not)
    recipe = formats.recipe_of(source).model_dump(mode="json")
    log = read_log(source / LOG)
    return page(Reported(measured, columns, log, pictures, recipe, table, why_not))


def _of_file(
    source: Path, images: str | Path | None, table: Sequence[Sequence[str]], say: Say
) -> str:
    """The page of a result of any kind, without its model."""
    result = load_result(source, say)
    if not isinstance(result, Evaluation):
        return page_of(result)
    columns = None if images is None else columns_of(Path(images), result, say)
    return page(Reported(result, columns, table=table, why_not=_alone(result)))


def measured(
    source: str | Path, say: Say = lambda text: None
) -> tuple[Evaluation, dict[str, Tensor] | None]:
    """The result of a run folder or a file, and its per-image table where that is beside it.

    It is a run's images.csv; beside FILE.json FILE.csv or FILE.parquet, or images.csv. say: called
    with what should be known of the result and the table.

    Raises:
        BadInput: as `report`.
    """
    source = Path(source)
    if source.is_dir():
        path, table = source / RESULT, source / IMAGES
        result = _of_run(source, path, say)
        _model(source, path, result, None)  # says whether the result is of these weights
        return result, columns_of(table, result, say) if table.is_file() else None
    result = read(source, say)
    for path in (source.with_suffix(".csv"), source.with_suffix(".parquet")):
        if path.is_file():
            return result, columns_of(path, result, say)
    path = source.parent / IMAGES
    if path.is_file():
        try:
            return result, columns_of(path, result, say)
        except Another as error:  # it may be that of a result beside this one
            say(f"{source.name} is not paired by image: {error}")
    return result, None


def _of_run(folder: Path, path: Path, say: Say) -> Evaluation:
    """The result at the path, which is said to be of the model in the folder."""
    if not formats.says_all(folder):
        raise BadInput(
            f"{folder} is a model of another library, whose page is that of a result alone: "
            f"nelbo evaluate {folder} --data SPEC --json {RESULT}, and nelbo report {RESULT}"
        )
    if not (folder / checkpoint.NAME).is_file():
        formats.file_of(folder)  # says what the folder is not
    if not path.is_file() and path == folder / RESULT:
        raise BadInput(
            f"{folder} was not measured yet: nelbo evaluate {folder} --json {path} "
            f"--per-image {folder / IMAGES}"
        )
    return read(path, say)


def _model(folder: Path, path: Path, result: Evaluation, device: str | None) -> Model:
    """The model that was measured, its chain as short as it was then."""
    read_as: dict[str, Any] = {"weights": result.model.get("weights")}
    model = formats.load(folder, device=device, **read_as)
    if model.sha256() != result.model.get("sha256"):
        raise BadInput(
            f"{path} is of other weights than the run has: nelbo evaluate {folder} "
            f"--json {path} --per-image {folder / IMAGES}"
        )
    steps = whole_at(result.model, "steps") if "steps" in result.model else model.T
    return model if steps == model.T else model.every(steps)


def columns_of(path: Path, result: Evaluation, say: Say) -> dict[str, Tensor]:
    """The table of the very evaluation that the result is of.

    Raises:
        BadInput: it is not.
    """
    columns = per_image.read(path)
    per_image.check(path, columns)
    if not _belongs(columns, result):
        raise Another(
            f"{path} is of another evaluation than the result, or changed since: nelbo evaluate "
            "MODEL --json FILE --per-image FILE writes both"
        )
    if DIGEST not in result.tree:
        say(f"{path}: the result is of an older nelbo and has no digest of its table")
    return columns


def _belongs(columns: Mapping[str, Tensor], result: Evaluation) -> bool:
    """Whether the table is that of the result: by its digest, in older results by its means."""
    known = result.tree.get(DIGEST)
    if known is not None:
        return bool(known == per_image.digest(columns))
    wanted = {result.unit.key: result.per_dim, **{term.name: term.value for term in result.figures}}
    return all(
        name in columns
        and len(columns[name]) == result.images
        and abs(float(columns[name].mean()) - value) <= SAME * max(abs(value), abs(result.per_dim))
        for name, value in wanted.items()
    )


def _own_columns(
    folder: Path, images: str | Path | None, result: Evaluation, why_not: dict[str, str], say: Say
) -> dict[str, Tensor] | None:
    if images is not None:
        return columns_of(Path(images), result, say)
    if not (folder / IMAGES).is_file():
        return None
    try:
        return columns_of(folder / IMAGES, result, say)
    except BadInput as error:
        why_not["histogram"] = f"{error}."
        return None


def _data(
    folder: Path, model: Model, result: Evaluation, data: str | None, why_not: dict[str, str]
) -> Images | Tokens | None:
    """The images or windows that were measured, where they are given or the run's recipe has them.

    Raises:
        BadInput: those that were given are others, or cannot be read.
    """
    if not isinstance(model.support, Grid):
        return None
    spec = formats.recipe_of(folder).data.test if data is None else data
    stated = result.data
    try:
        labels = model.classes is not None
        images = load_for(
            model.support, spec, labels=labels, shape=model.shape, alphabet=model.alphabet
        )
        assert not isinstance(images, Points)  # of a model with a grid
        images = images.first(min(result.images, len(images)))
        if images.sha256 == stated.get("sha256"):
            return images
        reason = (
            f"The result is of {stated['name']}, which are not the run's own test data, {spec}."
        )
        if data is not None:
            raise BadInput(f"{data}: the result is of other images, {stated['name']}")
    except BadInput as error:
        if data is not None:
            raise
        reason = f"The run's test data cannot be read here: {error}."
    why_not["reconstructions"] = why_not["extremes"] = reason
    return None


def _alone(result: Evaluation) -> dict[str, str]:
    """Of a file alone: what it takes to show the rest."""
    needs = (
        "This takes the model: nelbo report RUN makes a page of a run folder that holds this "
        f"result as {RESULT}."
    )
    values = (
        f"A result file holds no single {result.unit.examples}: nelbo evaluate MODEL --json FILE "
        f"--per-image {IMAGES} writes them, and nelbo report FILE --per-image {IMAGES} shows them."
    )
    parts = ("reconstructions", "extremes", "samples", "training")
    return always(result) | dict.fromkeys(parts, needs) | {"histogram": values}


def _in_run(folder: Path, result: Evaluation) -> dict[str, str]:
    values = (
        f"There is no table of single {result.unit.examples}: nelbo evaluate {folder} "
        f"--json {folder / RESULT} --per-image {folder / IMAGES} writes it."
    )
    return always(result) | {
        "histogram": values,
        "extremes": values,
        "reconstructions": "The chain has no x̂₀.",
        "samples": "No samples were requested.",
        "training": f"The run has no {LOG}.",
    }


def always(result: Evaluation) -> dict[str, str]:
    """Of each chart of a result, why it is not there where it is not."""
    old = "The result does not hold it; nelbo evaluate of this version writes it."
    return {
        "steps": "The result holds no single step.",
        "rate": "The chain has no steps beside the last." if len(result.per_step) < 2 else old,
        "distortion": _no_distortion(result) if result.rate else old,
        "running": old,
    }


def _no_distortion(result: Evaluation) -> str:
    if result.model.get("family") == "categorical":
        return (
            "The states of this chain are levels and no numbers: no squared error of x̂₀ is read "
            "off its steps. A best guess, where one is shown, is the mean level of p(x₀|x_t)."
        )
    if result.model.get("time") == "continuous":
        return "In continuous time no error of x̂₀ is kept; a chain's steps have one (--steps N)."
    return "The reconstruction error was not requested: nelbo evaluate --json FILE writes it."
