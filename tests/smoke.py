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
    *("card", "check", "cite", "classify", "compare", "compress", "decompress", "demo", "derive"),
    *("evaluate", "improve", "inspect", "merge", "rank", "recipes", "recipes new", "recipes show"),
    *("report", "sample", "train"),
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
    "card run",
    "report run/result.json -o table.tex",
    "report run/result.json -o figure.pdf",
    "recipes new --data digits:train --test-data digits:test --no-estimate -o new.toml",
    "rank run --steps 10 --max-images 12 --first 8 --again 0",
    "evaluate run --ode --steps 8 --max-images 4 --precision 9",
    *(
        f"evaluate run --steps 4 --max-images 4 --exhaustive --part {part}/2 -o part-{part}.json"
        for part in (2, 1)
    ),
    "merge part-1.json part-2.json -o merged.json",
    "train digits-classes --smoke -o classes",
    "classify classes --steps 4 --max-images 4",
    "train digits-absorbing --smoke -o masked",
    "evaluate masked --calls 4 --max-images 4 --budget 200",
    "improve masked --integers --max-images 4 -o twin",
    "compress twin digits:test --max-images 4 -o digits.nlb",
    "decompress twin digits.nlb -o again",
    "train text --smoke -o text",
    "sample text -n 2 --steps 4 -o text.txt",
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
        assert len(list(Path("again").iterdir())) == 4
        assert Path("report.html").stat().st_size > 10_000
        assert Path("samples.png").read_bytes().startswith(b"\x89PNG")


if __name__ == "__main__":
    main()
