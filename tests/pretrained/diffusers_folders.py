"""Tiny networks of diffusers, written to disk by diffusers itself."""

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


def dit(outputs=2, channels=1):
    """A DiT for 4x4 images of three classes, with random weights."""
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
    return network


def pipeline(folder, network=None, **scheduler):
    """A pipeline's folder as diffusers writes it."""
    pipe = DDPMPipeline(unet() if network is None else network, DDPMScheduler(**scheduler))
    pipe.save_pretrained(folder)
    return folder


def schedule_only(folder, **config):
    """The folder of a DDPMScheduler's config."""
    DDPMScheduler(**config).save_pretrained(folder)
    return folder
