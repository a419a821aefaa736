"""Tiny networks of diffusers, written to disk by diffusers itself."""

import json

import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiTTransformer2DModel, UNet2DModel


def unet(outputs=1, bias=None, channels=1, **config):
    """A UNet2DModel for 4x4 images with random weights, or one that always answers `bias`."""
    torch.manual_seed(0)
    network = UNet2DModel(
        **{
            "sample_size": 4,
            "in_channels": channels,
            "out_channels": outputs,
            "block_out_channels": (8,),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",),
            "norm_num_groups": 4,
            "attention_head_dim": 4,
            "add_attention": False,
        }
        | config
    )
    if bias is not None:
        torch.nn.init.zeros_(network.conv_out.weight)
        network.conv_out.bias.data = torch.tensor(bias)
    return network


def dit(outputs=2, bias=None, channels=1):
    """A DiT for 4x4 images of three classes with random weights, or one that answers `bias`."""
    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=channels,
        out_channels=outputs,
        num_layers=1,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=3,
        norm_num_groups=4,
    )
    for parameter in network.parameters():  # some start at zero, and would hide the label
        torch.nn.init.normal_(parameter, std=0.2)
    if bias is not None:  # of 2x2 pixels, channels last
        torch.nn.init.zeros_(network.proj_out_2.weight)
        network.proj_out_2.bias.data = torch.tensor(bias).repeat(4)
    return network


def pipeline(folder, network=None, **scheduler):
    """A pipeline's folder as diffusers writes it."""
    pipe = DDPMPipeline(unet() if network is None else network, DDPMScheduler(**scheduler))
    pipe.save_pretrained(folder)
    return folder


def bare(folder, network, **scheduler):
    """A model folder with its scheduler's config, as a pipeline that diffusers has no class for."""
    network.save_pretrained(folder)
    DDPMScheduler(**scheduler).save_pretrained(folder)
    return folder


def schedule_only(folder, **config):
    """The folder of a DDPMScheduler's config."""
    DDPMScheduler(**config).save_pretrained(folder)
    return folder


def training_folder(place):
    """checkpoint-N of accelerate: unet and unet_ema, and the pipeline's scheduler above."""
    for name, bias in (("unet", 0.25), ("unet_ema", 0.5)):
        unet(1, [bias]).save_pretrained(place / "checkpoint-500" / name)
    config = place / "checkpoint-500" / "unet_ema" / "config.json"
    # what EMAModel adds to the config
    config.write_text(json.dumps(json.loads(config.read_text()) | {"decay": 0.99, "power": 0.7}))
    DDPMScheduler().save_pretrained(place / "scheduler")
    return place / "checkpoint-500"
