"""A model of the Hugging Face hub, as a local folder."""

import re
from pathlib import Path

from nelbo.errors import BadInput

__all__ = ["is_hub_name", "place_of"]

PREFIX = "hf:"
NAME = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = ["model_index.json", "*/config.json", "*/scheduler_config.json", "config.json"]
WANTED += ["scheduler_config.json", "*diffusion_pytorch_model*"]


def is_hub_name(path: str) -> bool:
    """Whether it is hf:OWNER/NAME, or OWNER/NAME with nothing local that begins with OWNER."""
    if path.startswith(PREFIX):
        return True
    return bool(NAME.fullmatch(path)) and not Path(path.split("/")[0]).exists()


def place_of(path: str | Path) -> Path:
    """The path itself, or where the hub's model of that name is.

    Raises:
        BadInput: neither the hub nor its cache has it.
    """
    place = Path(path)
    return _download(str(path)) if not place.exists() and is_hub_name(str(path)) else place


def _download(name: str) -> Path:
    """The folder of the hub's cache that holds the model's configs and weights.

    HF_HUB_OFFLINE, HF_HOME and the token are huggingface_hub's own; offline, the cache is all.

    Raises:
        BadInput: neither the hub nor the cache has it, in one line with the reason.
    """
    from huggingface_hub import snapshot_download

    repository = name.removeprefix(PREFIX)
    try:
        return Path(snapshot_download(repository, allow_patterns=WANTED))
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise BadInput(
            f"no model at {repository}: no such file or folder here, and the Hugging Face hub "
            f"did not give it ({reason}); give a local path, or go online without HF_HUB_OFFLINE"
        ) from None
