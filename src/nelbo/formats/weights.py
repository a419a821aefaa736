"""Which files of a folder hold a network's weights, in every layout that diffusers writes.

One file or shards with an index, safetensors or pickle, each plain or of a variant:

    diffusion_pytorch_model[.VARIANT].safetensors
    diffusion_pytorch_model.safetensors.index[.VARIANT].json
    diffusion_pytorch_model[.VARIANT]-00001-of-00002.safetensors

and the same with bin in place of safetensors.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, final

from pydantic import Field

from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import read_json, refuse_pointer
from nelbo.typed_json import Typed, as_typed

__all__ = ["STEM", "WeightsFiles", "quiet", "refuse_wrapped_keys", "weights_files"]

STEM = "diffusion_pytorch_model"
SINGLE = re.compile(rf"{STEM}(?:\.(?P<variant>[^.]+))?\.(?P<kind>safetensors|bin)")
INDEX = re.compile(rf"{STEM}\.(?P<kind>safetensors|bin)\.index(?:\.(?P<variant>[^.]+))?\.json")
SHARD = re.compile(r"-\d{5}-of-\d{5}(\.[^.]+)?\.(safetensors|bin)")
OTHERS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".onnx", ".h5", ".distcp")
WRAPPERS = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "module.": "DataParallel or DistributedDataParallel",
}


@final
@dataclass(frozen=True)
class WeightsFiles:
    """`file` has the weights, or is the index of the `shards` that have them."""

    file: Path
    shards: tuple[Path, ...]
    variant: str | None
    pickled: bool

    @property
    def tensors(self) -> tuple[Path, ...]:
        """The files that hold tensors."""
        return self.shards or (self.file,)


class _Index(Typed):
    """What is read of an index of shards."""

    weight_map: Annotated[dict[str, str], Field(min_length=1)]


def weights_files(folder: Path, variant: str | None = None) -> WeightsFiles:
    """The weights in a folder: without a variant where there are such, safetensors before pickle.

    variant: fp16, non_ema or another word of the files' names.

    Raises:
        BadInput: none, several variants and none named, two layouts of one variant, a shard that is
            not there, or a git-lfs pointer.
    """
    layouts = _layouts(folder)
    if not layouts:
        raise BadInput(_without_weights(folder))
    variants = sorted({v for v, _, _ in layouts if v is not None})
    plain = any(v is None for v, _, _ in layouts)
    if variant is not None and variant not in variants:
        known = ", ".join([*variants, *(["none"] if plain else [])])
        raise BadInput(f"{folder} has no weights of the variant {variant}: it has {known}")
    if variant is None and not plain:
        if len(variants) > 1:
            raise BadInput(
                f"{folder} has weights of the variants {', '.join(variants)} and none without a "
                "variant: say which (variant=, --variant)"
            )
        variant = variants[0]
    kinds = [(kind, path) for v, kind, path in layouts if v == variant]
    kind = "safetensors" if any(k == "safetensors" for k, _ in kinds) else "bin"
    files = [path for k, path in kinds if k == kind]
    if len(files) > 1:
        raise BadInput(
            f"{folder} has {files[0].name} and {files[1].name}, which may hold different weights: "
            "copy those that you mean and config.json into a folder of their own"
        )
    shards = _shards(files[0]) if files[0].suffix == ".json" else ()
    for path in (files[0], *shards):
        refuse_pointer(path)
    return WeightsFiles(files[0], shards, variant, kind == "bin")


def refuse_wrapped_keys(keys: list[str], file: Path) -> None:
    """Raises BadInput where all these keys begin as those of a wrapped network do."""
    for prefix, wrapper in WRAPPERS.items():
        if keys and all(key.startswith(prefix) or f".{prefix}" in key for key in keys):
            raise BadInput(
                f"{file}: its keys begin with {prefix}, as those of {wrapper} do, so they are not "
                "those of its config.json: save the network that is inside (accelerate's "
                f"unwrap_model), or the same tensors without {prefix} in their keys"
            )


def _layouts(folder: Path) -> list[tuple[str | None, str, Path]]:
    """(variant, safetensors or bin, file or index) of each, by name."""
    layouts = []
    for path in sorted(folder.iterdir()):
        match = INDEX.fullmatch(path.name) or SINGLE.fullmatch(path.name)
        if match and path.is_file() and not SHARD.search(path.name):
            layouts.append((match["variant"], match["kind"], path))
    return layouts


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names.

    Raises:
        BadInput: one is not there, or elsewhere.
    """
    named = as_typed(_Index, read_json(index), str(index)).weight_map
    names = sorted(set(named.values()))
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise BadInput(f"{index} names the file {name}, which is not beside it: download it")
    return tuple(index.parent / name for name in names)


def _without_weights(folder: Path) -> str:
    start = f"{folder} has no weights: no {STEM}.safetensors and no {STEM}.bin"
    others = sorted(path.name for path in folder.iterdir() if path.suffix in OTHERS)
    if not others:
        return start
    if all(SHARD.search(name) for name in others):
        return f"{start}; {others[0]} is a shard, whose index {STEM}.safetensors.index.json lacks"
    shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    return (
        f"{start}; {shown}: diffusers reads no such name. Where these are its weights, save them "
        "by save_pretrained, or copy the one file to the first name"
    )


@contextmanager
def quiet(logging: ModuleType) -> Iterator[None]:
    """Neither what diffusers or transformers logs of a config meanwhile, nor bars of shards.

    logging: the module of that name of the library. What changes the weights is checked instead.
    """
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
