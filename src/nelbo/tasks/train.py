"""Training by the bound, from a recipe to a run folder, in one go or in several."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import torch

from nelbo import checkpoint
from nelbo import recipe as recipes
from nelbo.arguments import device_of, flag, instance, path
from nelbo.checkpoint import Checkpoint
from nelbo.data import Discrete, load
from nelbo.errors import BadInput
from nelbo.estimation import Processes
from nelbo.formats import described_by
from nelbo.model import Model
from nelbo.recipe import Recipe, Training
from nelbo.training.batches import Batches, apart
from nelbo.training.folder import RunFolder
from nelbo.training.held_out import HeldOut
from nelbo.training.learner import Learner
from nelbo.training.log import Log
from nelbo.training.loop import Loop, Progress
from nelbo.training.pictures import Pictures
from nelbo.training.signals import listening
from nelbo.training.state import Position, State, require_same
from nelbo.training.test_data import looked_at
from nelbo.training.times import TIMES
from nelbo.training.tracking import Tracker, check_trackers, tracking
from nelbo.typed_json import Json

__all__ = ["begun", "train"]

OTHER_RANK = 1_000_003  # dropout of another process is of another seed


def train(
    recipe: Recipe | str | Path,
    folder: str | Path,
    *,
    device: torch.device | str | None = None,
    resume: bool = False,
    processes: Processes | None = None,
    track: Sequence[str | Tracker] = (),
    warn: Callable[[str], None] = warnings.warn,
    progress: Progress = lambda done, expected, text: None,
) -> Path:
    """Trains the recipe's model into a new folder: model.safetensors and log.jsonl; its path.

    The same recipe gives the same weights on the same machine: images, times, noise and dropout
    are functions of the recipe's seed. With `resume` a run that was stopped or killed goes on from
    its last checkpoint, and ends with the bytes that it would have had. track: "tensorboard",
    "wandb", or trackers of accelerate that have been started, which show what the log holds. warn:
    told, as is the log, where test images are trained on, or pixels are a decoder's.

    Raises:
        BadInput: the folder exists or, with resume, holds another run or a damaged one; another
            process is training into it; the data, those of the test too, cannot be read or differ
            in shape or levels; the recipe's choices clash.
        NonFinite: a loss or gradient is NaN or infinite; the message names t and the images.
        Stopped: SIGTERM or SIGINT came, and what has been done is saved.
        OSError: the disk refuses; earlier checkpoints are as they were.
    """
    check_trackers(track)
    recipe = recipe if isinstance(recipe, Recipe) else recipes.read(recipe)
    processes = instance("processes", Processes() if processes is None else processes, Processes)
    device, resume = device_of("cpu" if device is None else device), flag("resume", resume)
    labels = recipe.network.classes is not None
    images = load(recipe.data.train, levels=recipe.data.levels, labels=labels)
    training, held_out = apart(images, recipe.training.held_out)
    model = recipes.build(recipe, tuple(images.levels.shape[1:]), images.n)
    model.condition(images.labels, images.name)  # refused before there is a folder
    objective = recipes.objective(recipe, model)
    notes = looked_at(recipe, images, model)
    model.network.to(device)
    about = _about(recipe, images)
    _agree(about, recipe.training, device, processes)
    every = recipe.training.samples_every
    drawn = Pictures(recipe, model.shape, images.n, device) if every else None
    place = RunFolder(path("folder", folder))
    with ExitStack() as opened:

        def begin() -> tuple[bool, Path | None]:
            opened.enter_context(place.owned(resume))
            return place.model.exists(), place.newest()

        finished, start = processes.once(begin)
        if finished:
            same = dict(checkpoint.load(place.model).description)
            require_same(f"{place.path} is finished and of another run: ", about, same)
            return place.path
        opened.enter_context(torch.random.fork_rng())
        torch.manual_seed(recipe.training.seed + OTHER_RANK * processes.rank)
        state = _state(about, recipe, model, len(training), place, processes)
        signals = opened.enter_context(listening())
        if start is not None:
            _restore(state, start, place)
        elif processes.first:
            state.log.begin(0, None)
            for text in notes:
                state.log.write({"step": 0, "warning": text})
                warn(text)
        held = None if held_out is None else HeldOut(recipe, held_out, device, processes)
        if processes.first:
            config = recipe.model_dump(mode="json")
            shown = tracking(track, place.path, state.position.step, config)
            state.log.trackers = opened.enter_context(shown)
        choice = recipe.training
        Loop(choice, model, objective, training, held, drawn, state, place, signals, progress).run()
        if processes.first:
            checkpoint.save(place.model, Checkpoint(place.weights(state), state.described()))
        processes.gather("written")  # a process that is done before the model is there would lie
    return place.path


def begun(folder: str | Path) -> Recipe:
    """The recipe of the run in a folder, to go on with it.

    Raises:
        BadInput: there is none, or no checkpoint yet that would hold it.
    """
    place = RunFolder(Path(folder))
    path = place.model if place.model.exists() else place.newest()
    if path is None:
        raise BadInput(
            f"{folder} has no checkpoint that would say what it is a run of: "
            f"nelbo train RECIPE -o {folder} --resume"
        )
    try:
        return described_by(checkpoint.load(path).description, path).recipe
    except BadInput as error:
        raise BadInput(f"{error}{place.earlier(path) if path != place.model else ''}") from None


def _restore(state: State, start: Path, place: RunFolder) -> None:
    """Puts the state back, or says which checkpoint is whole where this one is not."""
    try:
        state.restore(start)
    except BadInput as error:
        hint = place.earlier(start) if "damaged" in str(error) else ""
        raise BadInput(f"{error}{hint}") from None
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"cannot go on from {start}: its state is none: {reason:.200}") from error


def _about(recipe: Recipe, images: Discrete) -> dict[str, Json]:
    """What a run is of, as JSON."""
    data = {"name": images.name, "split": images.split, "sha256": images.sha256}
    if recipe.network.classes is not None:
        data["labels"] = images.labels_sha256
    return {
        "recipe": recipe.model_dump(mode="json"),
        "shape": list(images.levels.shape[1:]),
        "levels": images.n,
        "data": data,
    }


def _agree(
    about: Mapping[str, Json], choice: Training, device: torch.device, processes: Processes
) -> None:
    """Refuses what the processes cannot do together."""
    processes.require_same(
        {
            "nelbo": version("nelbo"),
            "recipe": json.dumps(about["recipe"]),
            "data": json.dumps([about["data"], about["shape"], about["levels"]]),
            "device": device.type,
        }
    )
    parts = processes.size * choice.accumulate
    if choice.batch_size < parts:
        raise BadInput(
            f"training.batch_size = {choice.batch_size} is for at most so many processes and "
            f"parts; got {processes.size} x {choice.accumulate}"
        )


def _state(
    about: Mapping[str, Json],
    recipe: Recipe,
    model: Model,
    count: int,
    place: RunFolder,
    processes: Processes,
) -> State:
    """The state before the first step."""
    choice = recipe.training
    return State(
        about,
        Learner(model, choice),
        TIMES[choice.times](model.T),
        Batches(count, choice.batch_size, choice.seed),
        Position(),
        Log(place.path),
        processes,
    )
