"""A model of the Hugging Face hub, as a local folder, and what its cache is made of."""

import re
from pathlib import Path
from typing import NamedTuple, final

from nelbo.errors import BadInput

__all__ = ["Snapshot", "is_hub_name", "place_of", "refuse_cache", "snapshot_of"]

PREFIX = "hf:"
NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?P<part>(?:/[\w.-]+)*)(?:@(?P<revision>.+))?")
BARE = re.compile(r"[\w.-]+/[\w.-]+(?:@.+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")
WANTED = ["model_index.json", "*/config.json", "*/scheduler_config.json", "config.json"]
WANTED += ["scheduler_config.json", "*diffusion_pytorch_model*"]
WANTED += ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
WANTED += ["model*.safetensors*"]


@final
class Snapshot(NamedTuple):
    """One commit of a repository of the hub, and the folder of it that is meant, "" for all."""

    repository: str
    revision: str
    part: str

    @property
    def name(self) -> str:
        """OWNER/NAME/PART@COMMIT, the commit by its first digits."""
        part = f"/{self.part}" if self.part else ""
        return f"{self.repository}{part}@{self.revision[:8]}"


def is_hub_name(path: str) -> bool:
    """Whether it is hf:OWNER/NAME[/FOLDER][@REVISION], or OWNER/NAME[@REVISION] and nothing local.

    Nothing local: no file or folder here has the name OWNER.
    """
    if path.startswith(PREFIX):
        return True
    return bool(BARE.fullmatch(path)) and not Path(path.split("/")[0]).exists()


def place_of(path: str | Path) -> Path:
    """The path itself, or where the hub's model of that name is.

    Raises:
        BadInput: neither the hub nor its cache has it.
    """
    place = Path(path)
    return _download(str(path)) if not place.exists() and is_hub_name(str(path)) else place


def snapshot_of(place: Path) -> Snapshot | None:
    """The repository and commit of a folder in the hub's cache, by its path; None elsewhere."""
    for path in (place, *place.absolute().parents):
        folder = path.parent
        if not COMMIT.fullmatch(path.name) or folder.name != "snapshots":
            continue
        cached = CACHED.fullmatch(folder.parent.name)
        if cached:
            part = place.absolute().relative_to(path.absolute()).as_posix()
            repository = f"{cached['owner']}/{cached['name']}"
            return Snapshot(repository, path.name, "" if part == "." else part)
    return None


def refuse_cache(path: Path) -> None:
    """Raises BadInput for a folder of the hub's cache above the snapshots, with what to give."""
    root = path.parent if path.name in ("snapshots", "blobs", "refs") else path
    cached = CACHED.fullmatch(root.absolute().name)
    if cached is None or not (root / "snapshots").is_dir():
        return
    name = f"{cached['owner']}/{cached['name']}"
    snapshots = sorted((root / "snapshots").iterdir())
    which = (
        f"one of its snapshots, such as {snapshots[-1]}"
        if snapshots
        else "no snapshot is in it yet"
    )
    raise BadInput(f"{path} is the hub's cache of {name}: give hf:{name}, or {which}")


def _download(name: str) -> Path:
    """The folder of the hub's cache that holds the model's configs and weights.

    HF_HUB_OFFLINE, HF_HOME and the token are huggingface_hub's own; offline, the cache is all.

    Raises:
        BadInput: neither the hub nor the cache has it, in one line with the reason.
    """
    from huggingface_hub import snapshot_download

    match = NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None or ".." in name.split("/"):
        raise BadInput(f"{name}: a model of the hub is hf:OWNER/NAME[/FOLDER][@REVISION]")
    repository, revision = match["repository"], match["revision"]
    requested = repository if revision is None else f"{repository}@{revision}"
    try:
        whole = Path(snapshot_download(repository, revision=revision, allow_patterns=WANTED))
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise BadInput(
            f"no model at {requested}: no such file or folder here, and the Hugging Face hub "
            f"did not give it ({reason}); give a local path, or go online without HF_HUB_OFFLINE"
        ) from None
    place = whole / match["part"].strip("/")
    if not place.is_dir():
        folders = sorted(path.name for path in whole.iterdir() if path.is_dir())
        raise BadInput(
            f"{requested} has no folder {match['part'].strip('/')}: it has "
            f"{', '.join(folders) or 'none'}"
        )
    return place
