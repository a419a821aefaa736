"""Bits/dim of a diffusers folder, and of 50 of its steps: `python measure_diffusers_folder.py`."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

import nelbo


def untrained(folder: Path) -> Path:
    """A pipeline with random weights, in place of your own folder or a name of the hub."""
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    network = UNet2DModel(8, 1, 1, block_out_channels=(16, 16), norm_num_groups=8, **blocks)
    DDPMPipeline(network, DDPMScheduler(timestep_spacing="trailing")).save_pretrained(folder)
    return folder


def main(budget: int) -> None:
    images = nelbo.data.load("digits:test").first(100)
    with TemporaryDirectory() as place:
        model = nelbo.load(untrained(Path(place) / "ddpm"), levels=images.n)
        for setting, source in model.facts["sources"].items():
            print(f"{setting:24} {source['value']!s:24} {source['source']}")
        for chain in (model, model.every(50)):
            print(nelbo.evaluate(chain, images, budget=budget))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="a few evaluations only")
    main(400 if parser.parse_args().smoke else 20_000)
