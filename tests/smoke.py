"""The main commands of the nelbo that is installed beside this Python, from training to the page.

Run by `make compat` in an environment without the dev extras; --help comes first: it ends with
1 where typer and click do not go together.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELPED = (
    "demo",
    "train",
    "sample",
    "report",
    "improve",
    "evaluate",
    "compare",
    "derive",
    "inspect",
)
DIFFUSERS = """
import torch, diffusers
network = diffusers.UNet2DModel(
    sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
    block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
)
scheduler = diffusers.DDPMScheduler(num_train_timesteps=20)
diffusers.DDPMPipeline(network, scheduler).save_pretrained("ddpm")
"""
COMMANDS = (
    "train digits --smoke -o run",
    "train digits-d3pm --smoke -o d3pm",
    "train digits-vdm --smoke -o vdm",
    "train --resume run",
    "evaluate run --steps 20 --max-images 8 --budget 400 --json run/result.json "
    "--per-image run/images.csv --plots plots",
    "evaluate run --steps 20 --max-images 8 --budget 400 --per-image images.parquet",
    "evaluate d3pm --steps 10 --max-images 4 --budget 200",
    "evaluate vdm --continuous --max-images 4 --budget 200",
    "evaluate ddpm --data digits --levels 17 --max-images 4 --budget 200",
    "compare run run --steps 10 --max-images 4 --budget 200 --weights raw --weights-b ema",
    "report run -o report.html --samples 0",
    "sample run --steps 5 -n 4 -o samples.png",
    "improve run -o better --steps 5 --max-images 4 --budget 400",
    "derive --html derivation.html",
    "inspect ddpm",
    "cite run",
)


def nelbo(arguments: str) -> None:
    """Runs one command; its output is shown where it fails."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "nelbo", *arguments.split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = f"{time.perf_counter() - started:6.1f} s"
    print(f"{seconds}  exit {ended.returncode}  nelbo {arguments}", flush=True)
    if ended.returncode:
        sys.exit(ended.stdout + ended.stderr)


def main() -> None:
    """Everything in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for command in HELPED:
            nelbo(f"{command} --help")
        subprocess.run([sys.executable, "-c", DIFFUSERS], check=True)
        for command in COMMANDS:
            nelbo(command)
        assert Path("report.html").stat().st_size > 10_000
        assert Path("samples.png").read_bytes().startswith(b"\x89PNG")


if __name__ == "__main__":
    main()
