"""What a UNet2DConditionModel receives beside x_t and t: an embedding, and a guidance scale.

Both are stated and never guessed.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from nelbo.data import as_points
from nelbo.data.arrays import opened
from nelbo.errors import BadInput
from nelbo.model.settings import Setting
from nelbo.typed_json import Json, whole_at

__all__ = ["ZERO", "guidance_embedding", "read_condition"]

ZERO = "zero"
MOST = 2**28  # bytes of a file


def read_condition(
    config: Mapping[str, Json], condition: str | Path | None, folder: Path
) -> tuple[Float[Tensor, "tokens width"], Setting]:
    """The embedding of one image, `encoder_hidden_states`, with its setting.

    condition: a .npy or .safetensors file with one tensor (tokens, width), or "zero": zeros, which
    attention answers alike for any number of tokens.

    Raises:
        BadInput: none is given, it does not fit, or the network needs more than it.
    """
    for key in ("addition_embed_type", "encoder_hid_dim_type", "class_embed_type"):
        if config.get(key) is not None:
            raise BadInput(
                f"{folder} has {key} {config[key]}, so it needs more than one embedding: load it "
                "yourself and give it to nelbo.wrap with arguments="
            )
    width = config["cross_attention_dim"]
    if not isinstance(width, int):
        raise BadInput(f"{folder} has a cross_attention_dim for each block: give it to nelbo.wrap")
    if condition is None:
        raise BadInput(
            f"{folder} is conditional on an embedding, and its bound too: give condition=, a .npy "
            f"or .safetensors file with one tensor (tokens, {width}), or zero (--condition)"
        )
    if condition == ZERO:
        return torch.zeros(1, width, dtype=torch.float32), Setting(ZERO, "option")
    embedding = _tensor(Path(condition))
    embedding = embedding[0] if embedding.ndim == 3 and len(embedding) == 1 else embedding
    if embedding.ndim != 2 or embedding.shape[1] != width:
        raise BadInput(
            f"{condition}: the embedding of {folder} is (tokens, {width}); "
            f"got {tuple(embedding.shape)}"
        )
    return embedding.float(), Setting(f"{Path(condition).name}, {tuple(embedding.shape)}", "option")


def _tensor(path: Path) -> Tensor:
    """The one tensor of a file."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file; a condition is a file or the word {ZERO}")
    if path.stat().st_size > MOST:
        raise BadInput(f"{path}: is larger than {MOST:,} bytes, which no embedding is")
    if path.suffix in (".npy", ".npz"):
        return as_points(opened(path), name=str(path)).values
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} is no .npy and no .safetensors file: {error}") from None
    if len(tensors) != 1:
        raise BadInput(f"{path} holds {len(tensors)} tensors: a condition is one")
    return as_points(next(iter(tensors.values())), name=str(path)).values


def guidance_embedding(
    config: Mapping[str, Json], guidance: float | None, folder: Path
) -> tuple[Float[Tensor, " width"], Setting] | None:
    """The sines and cosines of 1000 (guidance - 1), `timestep_cond`; None where there are none.

    As diffusers' LatentConsistencyModelPipeline makes them (Luo et al. 2023, section 4.1; Meng et
    al. 2022).

    Raises:
        BadInput: a network of such an input without a scale, or a scale without such a network.
    """
    if config.get("time_cond_proj_dim") is None:
        if guidance is not None:
            raise BadInput(
                f"{folder} takes no guidance scale: leave guidance out. Guidance by two calls of "
                "the network is another network, and its bound that of the guided chain"
            )
        return None
    if guidance is None:
        raise BadInput(
            f"{folder} is distilled and receives a guidance scale, on which its bound depends: "
            "give guidance= (--guidance), 1 for none"
        )
    width = whole_at(config, "time_cond_proj_dim")
    half = width // 2
    rates = torch.exp(-math.log(10_000) / max(half - 1, 1) * torch.arange(half))
    angles = 1000 * (guidance - 1) * rates
    embedding = torch.cat([angles.sin(), angles.cos(), torch.zeros(width % 2)])
    return embedding, Setting(guidance, "option")
