"""diffusers' networks with their weights: what a config says of them, and reading them safely."""

import inspect
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, final

import psutil
import torch
from pydantic import Field
from torch import nn

from nelbo import files
from nelbo.errors import BadInput
from nelbo.formats.diffusers.condition import guidance_embedding, read_condition
from nelbo.formats.diffusers.folder import read_json
from nelbo.formats.weights import quiet, refuse_wrapped_keys, weights_files
from nelbo.model.settings import Setting, Source
from nelbo.networks.mode import single_precision
from nelbo.typed_json import Count, Json, Typed, as_typed, list_at, number_of, whole_at

__all__ = ["Network", "files_of", "load_module", "network_of", "read_network"]

CONDITIONAL = "UNet2DConditionModel"
READ = ("UNet2DModel", "DiTTransformer2DModel", CONDITIONAL)
LATENT_CHANNELS = 4  # of an autoencoder: images have 1 or 3


class _Keys(Typed):
    """What is read of a network's config, by type; what diffusers reads of it is checked by it."""

    sample_size: Count | Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    in_channels: Count | None = None
    out_channels: Count | None = None
    center_input_sample: bool | None = None
    num_class_embeds: Count | None = None
    num_embeds_ada_norm: Count | None = None
    cross_attention_dim: Count | list[Count] | None = None
    time_embedding_type: str | None = None
    class_embed_type: str | None = None
    addition_embed_type: str | None = None
    encoder_hid_dim_type: str | None = None
    time_cond_proj_dim: Count | None = None
    norm_type: str | None = None


@final
@dataclass(frozen=True, eq=False)
class Network:
    """A network in evaluation mode, and what its config says of its data.

    `doubled`: it gives a second half of channels, for a variance. `arguments`: what it is called
    with beside (x_t, t), one image's. `centred`: it expects images of [0, 1]. `latent`: it is made
    for latents, or has as many channels. `conditional`: on an embedding.
    """

    name: str
    module: nn.Module
    shape: tuple[int, int, int]
    doubled: bool
    centred: bool
    latent: bool
    conditional: bool
    arguments: Mapping[str, torch.Tensor]
    settings: Mapping[str, Setting]


def read_network(
    folder: Path,
    *,
    label: int | None = None,
    size: int | tuple[int, int] | None = None,
    condition: str | Path | None = None,
    guidance: float | None = None,
    variant: str | None = None,
) -> Network:
    """The UNet2DModel, DiTTransformer2DModel or UNet2DConditionModel in a folder.

    label: the class that the bound is conditional on; by default none, which a DiT has a class
    for. size: rows and columns of the images, where the config does not say. condition, guidance:
    see `read_condition` and `guidance_embedding`. variant: see `weights_files`.

    Raises:
        BadInput: another network, one that needs more than (x_t, t, a label, a condition), or
            weights that are missing, damaged, not tensors alone, or not of this config.
    """
    config = read_json(folder / "config.json")
    as_typed(_Keys, config, str(folder / "config.json"))
    kind = _class_of(config, folder)
    file = weights_files(folder, variant).file
    module = load_module(kind, folder, variant)
    network = network_of(module, config, folder, label, size, condition, guidance)
    weights_file = Setting(file.name, "config" if variant is None else "option")
    return replace(network, settings={**network.settings, "weights_file": weights_file})


def network_of(
    module: Any,  # noqa: ANN401
    config: Mapping[str, Json],
    folder: Path,
    label: int | None,
    size: int | tuple[int, int] | None,
    condition: str | Path | None,
    guidance: float | None,
) -> Network:
    """A module of diffusers' as a Network; config: the keys that its file or its maker gave.

    Raises:
        BadInput: another network, or one that needs more than (x_t, t, a label, a condition, a
            guidance scale).
    """
    kind, full = _class_of(config, folder), dict(module.config)
    if full.get("time_embedding_type") == "fourier":
        raise BadInput(
            f"{folder}: time_embedding_type fourier divides the output by sigma (score-SDE, "
            "NCSN++): it is no network of a DDPM chain"
        )
    arguments, own_settings = _label(kind, full, label, folder)
    if kind == CONDITIONAL:
        arguments["encoder_hidden_states"], own_settings["condition"] = read_condition(
            full, condition, folder
        )
    elif condition is not None:
        raise BadInput(f"{folder} is a {kind}, which takes no embedding: leave condition out")
    embedding = guidance_embedding(full, guidance, folder)
    if embedding is not None:
        arguments["timestep_cond"], own_settings["guidance"] = embedding
    elif arguments:
        own_settings["guidance"] = Setting("none", "default")
    shape, source = _shape(full, config, size, folder)
    settings = {
        "network": Setting(kind, "config", changes_bound=False),
        "image_shape": Setting(list(shape), source),
        **own_settings,
    }
    return Network(
        name=kind,
        module=module,
        shape=shape,
        doubled=_doubled(full, folder),
        latent=kind == CONDITIONAL or full["in_channels"] == LATENT_CHANNELS,
        conditional=kind == CONDITIONAL,
        centred=bool(full.get("center_input_sample")),
        arguments=arguments,
        settings=settings,
    )


def files_of(folder: Path, variant: str | None = None) -> list[Path]:
    """The config of the network in a folder and the files of its weights.

    Raises:
        BadInput: as `read_network`, where there are no weights that can be read.
    """
    weights = weights_files(folder, variant)
    return [folder / "config.json", weights.file, *weights.shards]


def _class_of(config: Mapping[str, Json], folder: Path) -> str:
    kind = str(config.get("_class_name"))
    if kind == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero":
        return "DiTTransformer2DModel"  # its name before diffusers 0.30
    if kind in READ:
        return kind
    raise BadInput(
        f"{folder} is a {kind}: nelbo reads {', '.join(READ)}; load any other network yourself and "
        "give it to nelbo.wrap"
    )


def load_module(kind: str, folder: Path, variant: str | None = None) -> Any:  # noqa: ANN401
    """The network of that class with its weights, all of them and no others, in float32.

    variant: see `weights_files`.

    Raises:
        BadInput: the file is damaged, holds more than tensors, or does not fit the config.
    """
    import diffusers  # seconds, so only where such a model is read

    weights = weights_files(folder, variant)
    _require_room(folder, weights.tensors)
    for file in weights.tensors:
        if file.suffix != ".safetensors":
            _refuse_code(file)
    _check_flags(getattr(diffusers, kind), folder / "config.json")
    try:
        with quiet(diffusers.utils.logging), single_precision():
            module, info = getattr(diffusers, kind).from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=not weights.pickled,
                variant=weights.variant,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
    except Exception as error:  # configs and files fail in every way there is
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{folder}: diffusers cannot load {kind}: {reason}") from error
    refuse_wrapped_keys(sorted(map(str, info["unexpected_keys"])), weights.file)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            raise BadInput(
                f"{weights.file} does not fit its config.json: {problem.replace('_', ' ')} "
                f"{', '.join(map(str, sorted(info[problem])[:3]))}"
            )
    return module.eval()


def _check_flags(network: type, file: Path) -> None:
    """Raises BadInput where a key that is true or false is another value: "false" is true."""
    config = read_json(file)
    for name, parameter in inspect.signature(network).parameters.items():
        if isinstance(parameter.default, bool) and name in config:
            value = config[name]
            values = value if isinstance(value, list) else [value]
            if not all(value is None or isinstance(value, bool) for value in values):
                raise BadInput(f"{file}: {name}: is true or false; got {config[name]!r}")


def _require_room(folder: Path, weights: Sequence[Path]) -> None:
    """Raises BadInput for files that would not fit into the memory, as files with holes may not."""
    try:
        size = sum(map(files.require_plain, weights))
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}") from None
    if 2 * size > psutil.virtual_memory().available:
        raise BadInput(
            f"{folder} takes {2 * size:,} bytes to read, more than is free of the memory"
        )


def _refuse_code(file: Path) -> None:
    """Raises BadInput for a pickle that holds more than tensors; nothing of it is run."""
    _require_stored(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is refused below anyway
            torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise BadInput(
            f"{file} is a pickle with more in it than tensors, which could run code and is not "
            "loaded: convert it to safetensors where you trust it"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{file} is damaged or no file of weights: {reason}") from None


def _require_stored(file: Path) -> None:
    """What torch.save writes is stored as it is: compressed, readers differ in what they read.

    Raises:
        BadInput: a member is compressed, or there is more of it than the file holds.
    """
    if not zipfile.is_zipfile(file):
        return  # of torch before 1.6, whose storages are in the file one after another
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BadInput(f"{file} is damaged or no file of weights: {error}") from None
    size = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or (
        size > file.stat().st_size
    ):
        raise BadInput(
            f"{file} is compressed, as torch.save writes none: what it holds depends on who reads "
            "it; save its weights again"
        )


def _doubled(config: Mapping[str, Json], folder: Path) -> bool:
    """Whether there are twice as many channels as the data have.

    Raises:
        BadInput: any other number than as many or twice as many.
    """
    channels = whole_at(config, "in_channels")
    stated = config["out_channels"] is not None
    outputs = whole_at(config, "out_channels") if stated else channels
    if outputs not in (channels, 2 * channels):
        raise BadInput(
            f"{folder} takes {channels} channels and gives {outputs}: a network of x_t alone "
            f"gives {channels}, or {2 * channels} with a learned variance; this one sees more than "
            "x_t"
        )
    return outputs == 2 * channels


def _shape(
    config: Mapping[str, Json],
    raw: Mapping[str, Json],
    size: int | tuple[int, int] | None,
    folder: Path,
) -> tuple[tuple[int, int, int], Source]:
    """(C, H, W) and where it is from."""
    sides: Json = config["sample_size"] if size is None else size
    if sides is None:
        raise BadInput(f"{folder} does not say how large its images are: give size= (--size)")
    source: Source = (
        "option" if size is not None else "config" if "sample_size" in raw else "default"
    )
    pair = [sides, sides] if isinstance(sides, int) else list_at(sides)
    height, width = (int(number_of(side)) for side in pair)
    return (whole_at(config, "in_channels"), height, width), source


def _label(
    kind: str, config: Mapping[str, Json], label: int | None, folder: Path
) -> tuple[dict[str, torch.Tensor], dict[str, Setting]]:
    """The class label to call the network with, as an argument and as a setting.

    Raises:
        BadInput: a label where there are none, none where one is needed, or one out of range.
    """
    if kind == "DiTTransformer2DModel":
        count, null = whole_at(config, "num_embeds_ada_norm"), True
    elif config.get("class_embed_type") in ("timestep", "identity"):
        raise BadInput(
            f"{folder} has class_embed_type {config['class_embed_type']}, whose argument is no "
            "label: load it yourself and give it to nelbo.wrap with arguments="
        )
    else:
        count, null = int(number_of(config.get("num_class_embeds") or 0)), False
    if count == 0:
        if label is not None:
            raise BadInput(f"{folder} has no classes: leave label out; got {label}")
        return {}, {}
    if label is None and not null:
        raise BadInput(
            f"{folder} is conditional on one of {count} classes, and its bound too: give label= "
            f"(--label), 0..{count - 1}"
        )
    # a DiT has one class more than the data, for "no class" (dropped labels in training)
    used, last = count if label is None else label, count if null else count - 1
    if not 0 <= used <= last:
        raise BadInput(f"the label of {folder} lies in 0..{last}; got {label}")
    shown = f"{used} (no class)" if used == count else used
    setting = Setting(shown, "default" if label is None else "option")
    return {"class_labels": torch.tensor(used)}, {"label": setting}
