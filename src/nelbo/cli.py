"""One command per task; no mathematics, and nothing heavy imported before a command runs."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from nelbo.errors import BadInput

if TYPE_CHECKING:
    import torch

    from nelbo.data import Images
    from nelbo.model import Model

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

Update = Callable[[int, int | None, str], None]
SECONDS_BETWEEN_LINES = 10.0


class Weights(StrEnum):
    """Which weights of a checkpoint."""

    ema = "ema"
    raw = "raw"


ModelArgument = Annotated[str, typer.Argument(help="A run folder or a checkpoint file.")]
DataOption = Annotated[
    str | None,
    typer.Option(help="digits, mnist:DIR, a folder, .npy or .npz; default the run's own."),
]
SplitOption = Annotated[str | None, typer.Option(help="train or test.")]
JsonOption = Annotated[
    str | None, typer.Option(help="Write the result to this file; - for stdout.")
]
Seed = Annotated[int, typer.Option(min=0, help="Decides every random number.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
WeightsOption = Annotated[Weights, typer.Option(help="Moving average, or last step.")]
Steps = Annotated[
    int | None, typer.Option(help="Use a chain of this many of the model's steps, evenly spread.")
]


def _version(asked: bool) -> None:
    if asked:
        from nelbo import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """The variational bound of diffusion models: train by it, measure with it, sample.

    \b
    nelbo demo                                    train, measure and sample on digits
    nelbo train digits -o runs/digits             train a recipe
    nelbo evaluate runs/digits --data digits:test bits/dim with intervals
    nelbo sample runs/digits -o samples.png
    nelbo derive runs/digits                      every line of the derivation, with its value
    """


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")] = Path(
        "runs/demo"
    ),
    with_control: Annotated[
        bool, typer.Option(help="Also train the plain eps DDPM, as a control.")
    ] = False,
    recipe: Annotated[str, typer.Option(help="Another recipe: a name or a .toml file.")] = "digits",
) -> None:
    """Train on 8x8 digits, measure on 500 held-out ones, draw 64 samples: about four minutes."""
    from nelbo.recipe import read
    from nelbo.tasks.demo import demo as run

    with _bars() as start:
        result = run(
            output,
            choices=read(recipe),
            control=with_control,
            command=_command(),
            progress=start,
        )
    heading, *rows = result.table
    _print_table(heading, rows)
    print(result.evaluation)
    for path in result.files:
        print(path)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a .toml file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new folder; default runs/NAME.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Train a recipe into a new run folder.

    \b
    nelbo train digits -o runs/digits
    nelbo train my-recipe.toml
    """
    from nelbo.recipe import read
    from nelbo.tasks.train import train as run

    choices = read(recipe)
    folder = output or Path("runs") / choices.name
    with _bars() as start:
        made = run(choices, folder, device=_device(device), progress=start(f"train {choices.name}"))
    print(made)


@app.command()
def evaluate(
    model: ModelArgument,
    data: DataOption = None,
    split: SplitOption = None,
    precision: Annotated[
        float, typer.Option(help="Stop at this 95 % Monte Carlo half-width, in bits/dim.")
    ] = 0.01,
    budget: Annotated[
        int | None, typer.Option(help="Spend this many network evaluations instead.")
    ] = None,
    exhaustive: Annotated[bool, typer.Option(help="Evaluate every t of every image.")] = False,
    steps: Steps = None,
    max_images: Annotated[int | None, typer.Option(help="Use the first so many images.")] = None,
    seed: Seed = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows in a batch; default by size.")
    ] = None,
    weights: WeightsOption = Weights.ema,
    device: Device = "auto",
    json: JsonOption = None,
) -> None:
    """Measure the bound of a data set: bits/dim, by term, with two intervals.

    \b
    nelbo evaluate runs/digits
    nelbo evaluate runs/digits --data my-images/ --precision 0.005
    nelbo evaluate runs/digits --steps 50 --json result.json
    """
    from nelbo import files
    from nelbo.tasks.evaluate import evaluate as run

    if budget is not None and exhaustive:
        raise BadInput("--budget and --exhaustive exclude each other: give one")
    _check_folders(("--json", json))
    found = _model(model, weights, device, steps)
    images = _data(model, found, data, split)
    if max_images is not None:
        images = images.first(max_images)
    with _bars() as start:
        result = run(
            found,
            images,
            precision=precision,
            budget=budget,
            exhaustive=exhaustive,
            seed=seed,
            batch_size=batch_size,
            command=_command(),
            progress=start(f"evaluate {found.name}"),
        )
    if json == "-":
        print(result.to_json(), end="")
        return
    print(result)
    if json is not None:
        print(files.write(json, result.to_json().encode()))


@app.command()
def sample(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png or .npy file.")] = Path(
        "samples.png"
    ),
    count: Annotated[int, typer.Option("-n", "--count", help="How many.")] = 64,
    steps: Steps = None,
    seed: Seed = 0,
    weights: WeightsOption = Weights.ema,
    device: Device = "auto",
) -> None:
    """Draw exact ancestral samples: a picture of all, or an array of levels.

    \b
    nelbo sample runs/digits -n 64 -o samples.png
    nelbo sample runs/digits -n 1000 -o samples.npy
    """
    from nelbo import files
    from nelbo.tasks.sample import encoder
    from nelbo.tasks.sample import sample as run

    encode = encoder(output)
    found = _model(model, weights, device, steps)
    with _bars() as start:
        levels = run(found, count, seed=seed, progress=start(f"sample {found.name}"))
    print(files.write(output, encode(levels, found.grid.n)))


@app.command()
def derive(
    model: Annotated[str | None, typer.Argument(help="Without one, three exact chains.")] = None,
    data: DataOption = None,
    split: SplitOption = None,
    images: Annotated[int, typer.Option(min=1, help="Use the first so many images.")] = 2,
    paths: Annotated[int, typer.Option(min=2, help="Paths of each image.")] = 256,
    steps: Steps = None,
    seed: Seed = 0,
    dtype: Annotated[str, typer.Option(help="Of states and p: float64 or float32.")] = "float64",
    weights: WeightsOption = Weights.ema,
    device: Device = "auto",
    json: JsonOption = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures here.")] = None,
) -> None:
    """Run the derivation: every line from log p(x_0) to the three terms, true and false ones.

    Exits with 3 if a line that must hold does not.

    \b
    nelbo derive                                  exactly, on three small chains
    nelbo derive runs/digits --steps 50 --html derivation.html
    """
    from nelbo import files
    from nelbo.report.derivation_table import print_derivation
    from nelbo.tasks.derive import derive as run

    _check_folders(("--json", json), ("--html", html))
    if model is None and (data, split, steps) != (None, None, None):
        raise BadInput("--data, --split and --steps are of a model: name one")
    found, chosen = None, None
    if model is not None:
        found = _model(model, weights, device, steps)
        chosen = _data(model, found, data, split)
    with _bars() as start:
        result = run(
            found,
            chosen,
            images=images,
            paths=paths,
            seed=seed,
            dtype=dtype,
            command=_command(),
            progress=start("derive"),
        )
    if json == "-":
        print(result.to_json(), end="")
    else:
        print_derivation(result)
        if json is not None:
            print(files.write(json, result.to_json().encode()))
    if html is not None:
        written = files.write(html, result.page().encode())
        print(written, file=sys.stderr if json == "-" else sys.stdout)
    if not result.holds:
        print(f"nelbo: {result.failures()[0]}", file=sys.stderr)
        raise typer.Exit(3)  # a check that was asked for


@app.command()
def inspect(model: ModelArgument, weights: WeightsOption = Weights.ema) -> None:
    """Say what a model is: every choice that changes its bound."""
    import json

    found = _model(model, weights, "cpu", None)
    facts = {
        "name": found.name,
        "sha256": found.sha256(),
        "weights": found.weights,
        "shape": list(found.shape),
        "levels": found.grid.n,
        "grid": [found.grid.lo, found.grid.hi],
        "parameters": sum(x.numel() for x in found.network.parameters()),
        "T": found.T,
        **found.facts,
    }
    print(json.dumps(facts, indent=1))


def _check_folders(*outputs: tuple[str, str | Path | None]) -> None:
    """Before hours of work: each output's folder is there."""
    for option, path in outputs:
        if path not in (None, "-") and not Path(path).absolute().parent.is_dir():
            raise BadInput(f"{option} {path}: its folder does not exist; make it first")


def _model(path: str, weights: Weights, device: str, steps: int | None) -> "Model":
    from nelbo.pretrained import load

    model = load(path, weights=weights.value, device=str(_device(device)))
    return model if steps is None else model.every(steps)


def _data(path: str, model: "Model", spec: str | None, split: str | None) -> "Images":
    """The images asked for, or else those that the model's recipe tests on."""
    from nelbo.data import load
    from nelbo.pretrained import recipe_of

    if spec is not None:
        return load(spec, split=split, levels=model.grid.n, grid=model.grid)
    if split is not None:
        raise BadInput("--split needs --data: say of which data it is the split")
    data = recipe_of(path).data
    return load(data.test, levels=model.grid.n)


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"no device {name}: {str(error).splitlines()[0]}") from None
    return device


def _command() -> str:
    return shlex.join(["nelbo", *sys.argv[1:]])


def _print_table(heading: tuple[str, str], rows: list[tuple[str, str]]) -> None:
    table = Table(*heading, box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@contextmanager
def _bars() -> Iterator[Callable[[str], Update]]:
    """Progress on stderr: a bar for each label in a terminal, else a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeRemaining

    text = TextColumn("{task.fields[text]}")
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    with Progress(*columns, TimeRemaining(), text, console=console) as progress:

        def start(label: str) -> Update:
            bar = progress.add_task(label, total=None, text="")
            started = time.monotonic()

            def update(done: int, expected: int | None, text: str) -> None:
                rate = f"{done / max(time.monotonic() - started, 1e-9):,.0f}/s  {text}"
                progress.update(bar, completed=done, total=expected, text=rate)

            return update

        yield start


def _lines(label: str) -> Update:
    started = last = time.monotonic()

    def update(done: int, expected: int | None, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES and done != expected:
            return
        last = now
        rate = done / max(now - started, 1e-9)
        left = "" if expected is None else f", {max(expected - done, 0) / rate:.0f} s left"
        of = "" if expected is None else f"/{expected:,}"
        print(f"{label}: {done:,}{of}, {rate:,.0f}/s{left}  {text}", file=sys.stderr)

    return update
