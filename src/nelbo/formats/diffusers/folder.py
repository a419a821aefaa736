"""Where things are in a folder that diffusers or accelerate wrote.

Pipeline: model_index.json, unet/ or transformer/, scheduler/. Bare model: config.json beside the
weights. Training folder of accelerate: checkpoint-N/ with unet/ and unet_ema/. The scheduler's
config may be in the folder, in its scheduler/, or in that of the folder above.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from nelbo.errors import BadInput
from nelbo.files import require_plain
from nelbo.typed_json import Json, read_object

__all__ = [
    "AUTOENCODERS",
    "NETWORKS",
    "Folder",
    "find",
    "is_diffusers",
    "read_json",
    "refuse_pointer",
]

NETWORKS = ("unet", "transformer")
AUTOENCODERS = ("vae", "vqvae", "movq", "vqmodel")
POINTER = b"version https://git-lfs.github.com/spec/"
CONFIG = "scheduler_config.json"


@final
@dataclass(frozen=True)
class Folder:
    """A network's folder, its scheduler's config file, and what is known of its weights.

    `weights` is ema or raw where the folder keeps both apart, else "as saved"; `autoencoder` is
    the folder of what makes the latents that the network is over, None for a network of pixels.
    """

    network: Path
    scheduler: Path
    weights: str
    lacks_ema: bool = False
    autoencoder: Path | None = None


def is_diffusers(path: Path) -> bool:
    """Whether the folder is of one of the kinds above."""
    if any((path / name).is_file() for name in ("model_index.json", "config.json")):
        return True
    folders = (path / f"{name}{suffix}" for name in NETWORKS for suffix in ("", "_ema"))
    return any((folder / "config.json").is_file() for folder in folders)


def find(
    path: Path,
    weights: Literal["ema", "raw"] | None = None,
    scheduler: str | Path | None = None,
) -> Folder:
    """The network and the scheduler in a diffusers folder.

    weights: None takes the moving average where there is one, and the only weights where not.
    scheduler: another config file, or the folder that holds one.

    Raises:
        BadInput: a network of another kind, weights or a scheduler not there.
    """
    if (path / "config.json").is_file():
        return Folder(path, _scheduler(path, scheduler), _only_weights(path, weights))
    pipeline = (path / "model_index.json").is_file()
    name, autoencoder = _of_pipeline(path) if pipeline else (_of_training(path), None)
    scheduler_path, raw, ema = _scheduler(path, scheduler), path / name, path / f"{name}_ema"
    if pipeline and not ema.is_dir():
        return Folder(raw, scheduler_path, _only_weights(raw, weights), autoencoder=autoencoder)
    kind = weights or ("ema" if ema.is_dir() else "raw")
    folder = ema if kind == "ema" else raw
    if not folder.is_dir():
        raise BadInput(f"{path} has no {folder.name}/, which the {kind} weights would be in")
    return Folder(folder, scheduler_path, kind, not ema.is_dir(), autoencoder)


def read_json(path: Path) -> dict[str, Json]:
    """The JSON object in a config file.

    Raises:
        BadInput: it is a git-lfs pointer, or no JSON object.
    """
    refuse_pointer(path)
    return read_object(path)


def refuse_pointer(path: Path) -> None:
    """Raises BadInput where a file is what git leaves in place of one that git-lfs keeps."""
    require_plain(path)
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise BadInput(
                f"{path} is a git-lfs pointer and not the file itself: run `git lfs pull` there, "
                "or download the file"
            )


def _only_weights(path: Path, weights: str | None) -> str:
    """What the weights are, in a folder that has one set of them."""
    known = "ema" if path.name.endswith("_ema") else "as saved"
    if weights not in (None, known):
        raise BadInput(
            f"{path} holds one set of weights and does not say that they are {weights}: "
            "leave that choice out"
        )
    return known


def _of_training(path: Path) -> str:
    """The name of the network in a training folder, by its folder or that of its average."""
    there = (
        name for name in NETWORKS for suffix in ("", "_ema") if (path / f"{name}{suffix}").is_dir()
    )
    return next(there)


def _of_pipeline(path: Path) -> tuple[str, Path | None]:
    """The name of the pipeline's network, and the folder of its autoencoder.

    Raises:
        BadInput: no network that is known.
    """
    index = read_json(path / "model_index.json")
    for part in (*NETWORKS, *AUTOENCODERS):
        if not _is_entry(index.get(part)):
            raise BadInput(
                f"{path / 'model_index.json'}: {part}: is [library, class]; got {index[part]!r:.60}"
            )
    parts = {name: entry for name, entry in index.items() if _is_part(entry)}
    name = next((name for name in NETWORKS if name in parts), None)
    if name is None:
        raise BadInput(
            f"{path} is a {index.get('_class_name')} without a unet or transformer: load its "
            "network yourself and give it to nelbo.wrap"
        )
    autoencoder = next((part for part in AUTOENCODERS if part in parts), None)
    for part in filter(None, (name, autoencoder)):
        if not (path / part / "config.json").is_file():
            raise BadInput(f"{path} has no {part}/config.json, though model_index.json names it")
    return name, None if autoencoder is None else path / autoencoder


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, list):
        return entry is None
    return len(entry) == 2 and all(name is None or isinstance(name, str) for name in entry)


def _is_part(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and None not in entry


def _scheduler(path: Path, given: str | Path | None) -> Path:
    """The file of the scheduler's config.

    Raises:
        BadInput: there is none where it may be.
    """
    folders = [path, path / "scheduler", path.parent / "scheduler"]
    if given is not None:
        if Path(given).is_file():
            return Path(given)
        folders = [Path(given), Path(given) / "scheduler"]
    for folder in folders:
        if (folder / CONFIG).is_file():
            return folder / CONFIG
    raise BadInput(
        f"{given or path} has no {CONFIG}, which says what the chain is: put it there or in "
        "scheduler/, or name it (scheduler=, --scheduler)"
    )
