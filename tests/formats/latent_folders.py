"""Tiny latent pipelines: an autoencoder beside a network of its latents, written by diffusers."""

import json

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers_folders import pipeline, unet


def autoencoder(channels=1, **config):
    """An AutoencoderKL with random weights: 8x8 images to 4x4x4 latents."""
    torch.manual_seed(1)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        norm_num_groups=2,
        **config,
    )


def with_autoencoder(folder, network, vae=None, part="unet", **scheduler):
    """A latent pipeline's folder; part names the network in it."""
    network.save_pretrained(folder / part)
    (autoencoder() if vae is None else vae).save_pretrained(folder / "vae")
    DDPMScheduler(**scheduler).save_pretrained(folder / "scheduler")
    parts = {
        "vae": ["diffusers", "AutoencoderKL"],
        part: ["diffusers", type(network).__name__],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }
    index = {"_class_name": "LDMPipeline", **parts}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def latent_unet(bias=0.0, outputs=4):
    """A UNet2DModel of 4x4x4 latents that always answers `bias`."""
    return unet(outputs, [bias] * outputs, channels=4)


def bare(folder, bias=0.0, **scheduler):
    """Such a network without an autoencoder."""
    return pipeline(folder, latent_unet(bias), **scheduler)


def training_folder(folder):
    """A training folder of accelerate with the average of a network that is zero."""
    latent_unet().save_pretrained(folder / "unet_ema")
    DDPMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    return folder


def conditional(**config):
    """A UNet2DConditionModel of 4x4x4 latents with random weights and embeddings of width 6."""
    torch.manual_seed(2)
    return UNet2DConditionModel(
        **{
            "sample_size": 4,
            "block_out_channels": (8,),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D",),
            "up_block_types": ("CrossAttnUpBlock2D",),
            "mid_block_type": None,
            "norm_num_groups": 4,
            "attention_head_dim": 4,
            "cross_attention_dim": 6,
        }
        | config
    )
