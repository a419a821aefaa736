"""Whose weights these are, by the keys of a state dict or of a training checkpoint."""

from collections.abc import Mapping, Sequence

import torch

from nelbo.typed_json import Json

__all__ = ["described_keys", "described_tree"]

TRAININGS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"pytorch-lightning_version", "state_dict"}), "a checkpoint of Lightning"),
    (
        frozenset({"step", "model", "opt", "ema"}),
        "a training checkpoint of lucidrains' denoising-diffusion-pytorch",
    ),
    (frozenset({"model", "model_ema", "step"}), "a training checkpoint of k-diffusion"),
    (frozenset({"model", "ema", "opt", "args"}), "a training checkpoint of DiT or SiT"),
    (frozenset({"optimizer", "model", "ema", "step"}), "a training checkpoint of score_sde"),
    (frozenset({"state", "param_groups"}), "the state of an optimizer"),
    (frozenset({"last_epoch", "_step_count"}), "the state of a learning rate's schedule"),
)
NETWORKS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("model.diffusion_model.",), "a latent diffusion model in one file (Stable Diffusion's own)"),
    (("lora_", ".lora"), "LoRA weights, a change of another network"),
    (("input_blocks.0.0.weight", "time_embed.0.weight"), "OpenAI's improved or guided diffusion"),
    (("x_embedder.proj.weight", "adaLN_modulation"), "DiT's own code"),
    (("denoise_fn.", "alphas_cumprod"), "a network with its chain (lucidrains' GaussianDiffusion)"),
    (("all_modules.",), "score_sde"),
    (("init_conv.weight", "time_mlp."), "lucidrains' Unet"),
    (("down_blocks.0.resnets.",), "a network of diffusers, which save_pretrained puts in a folder"),
)
WRAPPERS = {"_orig_mod.": "torch.compile", "module.": "DataParallel"}
SHOWN = 3


def described_tree(tree: Mapping[str, Json]) -> str:
    """What a dict that torch.save wrote is, in words."""
    keys = [str(key) for key in tree]
    for needed, what in TRAININGS:
        if needed <= set(keys):
            return _with_weights(what, tree)
    if all(isinstance(value, torch.Tensor) for value in tree.values()):
        return described_keys(keys)
    return _with_weights(f"a dict of {_listed(keys)}", tree)


def described_keys(keys: Sequence[str]) -> str:
    """Whose state dict has these keys, in words."""
    count = f"{len(keys):,} tensors"
    words = [count, *(text for text in (_wrapped(keys), _network(keys)) if text)]
    example = f"({min(keys)}, ...)" if keys else "(none)"
    return f"{'; '.join(words)} {example}"


def _network(keys: Sequence[str]) -> str:
    for marks, what in NETWORKS:
        if any(mark in key for mark in marks for key in keys):
            return f"the names are those of {what}"
    return ""


def _wrapped(keys: Sequence[str]) -> str:
    for prefix, wrapper in WRAPPERS.items():
        if keys and all(key.startswith(prefix) for key in keys):
            return f"each name begins with {prefix} of {wrapper}, to be taken off"
    return ""


def _with_weights(what: str, tree: Mapping[str, Json]) -> str:
    """With the keys that hold weights."""
    holds = [
        str(key)
        for key, value in tree.items()
        if isinstance(value, Mapping)
        and value
        and all(isinstance(x, torch.Tensor) for x in value.values())
    ]
    return f"{what}, weights under {_listed(holds)}" if holds else what


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
