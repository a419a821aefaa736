"""Latents of images by the autoencoder of a folder: the data of a latent diffusion model."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field, StrictFloat

from nelbo.bound.noise import KeyedNoise
from nelbo.data import Images, Points
from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import read_json
from nelbo.formats.diffusers.networks import load_module
from nelbo.formats.weights import STEM
from nelbo.gaussian.distribution import Gaussian
from nelbo.model import Encoder as AnyEncoder
from nelbo.model import digest
from nelbo.model.settings import Setting, Source
from nelbo.networks.mode import without_gradients
from nelbo.typed_json import Finite, Json, Typed, as_typed
from nelbo.types import Grid

__all__ = ["Encoder", "Latent", "read_encoder"]

Latent = Literal["sample", "mean"]
READ = "AutoencoderKL"
PIXELS = 2**18  # numbers in a batch of images


class _Keys(Typed):
    """What is read of an autoencoder's config."""

    scaling_factor: Annotated[StrictFloat, Field(gt=0)] | None = None
    shift_factor: Finite | None = None


@final
@dataclass(frozen=True)
class Encoder(AnyEncoder):
    """z = (e - shift) scale, e from q(e | x) of an AutoencoderKL: a sample of it, or its mean.

    The noise of a sample is a function of (seed, image id). The weights are read when images are
    first encoded; latents that are given need none.
    """

    folder: Path
    kind: Latent
    scale: float
    shift: float
    variant: str | None = None

    @cached_property
    def module(self) -> Any:  # noqa: ANN401
        """The autoencoder, in evaluation mode.

        Raises:
            BadInput: it is of another class, or its weights cannot be read.
        """
        name = read_json(self.folder / "config.json").get("_class_name")
        if name != READ:
            raise BadInput(
                f"{self.folder} is a {name}: images are encoded by {READ} alone; give the latents, "
                "already scaled, as a .npy file"
            )
        return load_module(READ, self.folder, self.variant)

    def encode(self, images: Images, seed: int, device: torch.device) -> Points:
        """The latents of images, whose levels stand for [-1, 1].

        Raises:
            BadInput: images with other channels than the autoencoder's.
        """
        channels = self.module.config["in_channels"]
        if images.levels.shape[1] != channels:
            raise BadInput(
                f"{self.folder} encodes images of {channels} channels; {images.name} has "
                f"{images.levels.shape[1]}"
            )
        module, key = self.module.to(device), KeyedNoise.of(seed, images.ids)
        grid, latents = Grid(images.n), []
        for rows in torch.arange(len(images)).split(max(1, PIXELS // images.dims)):
            x = grid.values(images.levels[rows].to(device), torch.float32)
            with without_gradients(device):
                q = module.encode(x).latent_dist
                # t = 0, which no term of the bound draws
                noise = key.rows(rows).at(torch.zeros_like(rows))
                e = q.mean if self.kind == "mean" else Gaussian(q.mean, q.logvar).sample(noise)
            latents.append(((e - self.shift) * self.scale).cpu())
        made_of: dict[str, Json] = {
            "images": images.sha256,
            "autoencoder": digest(self.module),
            "latent": self.kind,
            "scaling_factor": self.scale,
            "shift_factor": self.shift,
        }
        made_of |= {"seed": seed} if self.kind == "sample" else {}
        name = f"latents of {images.name}"
        return Points(
            name,
            images.split,
            torch.cat(latents),
            made_of,
            images.sources,
            images.ids,
            images.origin,
            images.labels,
            images.conditions,
        )


def read_encoder(
    folder: Path, kind: Latent | None, variant: str | None = None
) -> tuple[Encoder, dict[str, Setting]]:
    """The encoder of an autoencoder's folder, with its settings.

    variant: that of the network's weights, which the autoencoder's may have too.

    Raises:
        BadInput: a kind that is none, or a scaling per channel.
    """
    if kind not in (None, "sample", "mean"):
        raise BadInput(f"latent is sample or mean, of q(latent | image); got {kind!r}")
    config = read_json(folder / "config.json")
    keys = as_typed(_Keys, config, str(folder / "config.json"))
    if config.get("latents_mean") is not None or config.get("latents_std") is not None:
        raise BadInput(
            f"{folder}: latents_mean and latents_std scale each channel apart, which is not read: "
            "give the latents, already scaled, as a .npy file, and the network's own folder"
        )
    scale, scaled_by = _with_source(keys.scaling_factor, 0.18215)
    shift, shifted_by = _with_source(keys.shift_factor, 0.0)
    used: Latent = kind or "sample"
    settings = {
        "latent": Setting(used, "default" if kind is None else "option"),
        "scaling_factor": Setting(scale, scaled_by),
        "shift_factor": Setting(shift, shifted_by),
    }
    shared = variant if any(folder.glob(f"{STEM}*{variant}*")) else None
    return Encoder(folder, used, scale, shift, shared), settings


def _with_source(value: float | None, default: float) -> tuple[float, Source]:
    """What the config says, or the default of diffusers' classes."""
    return (default, "default") if value is None else (value, "config")
