"""The integer twin of a run's network, in the place of its weights: a checkpoint like any other."""

from pathlib import Path

from nelbo import checkpoint, files
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput
from nelbo.formats.hub import place_of
from nelbo.formats.run import file_of
from nelbo.model import Model
from nelbo.typed_json import object_at

__all__ = ["keep_integers"]


def keep_integers(path: str | Path, twin: Model, folder: str | Path) -> Path:
    """Makes the folder: the run at the path with this twin of its network; the folder.

    Raises:
        BadInput: the folder exists, or the path holds another kind of model.
    """
    if twin.settings.foreign:
        raise BadInput(f"{path} is no run of this library, and only such a run has a twin")
    stored = checkpoint.load(file_of(place_of(path)))
    tensors = {f"integers.{name}": x for name, x in twin.network.state_dict().items()}
    about = {**object_at(twin.settings.notes, "integers"), "weights": twin.weights}
    made = Checkpoint(tensors, {**stored.description, "integers": about})
    with files.whole_folder(folder) as part:
        checkpoint.save(part / checkpoint.NAME, made)
    return Path(folder)
