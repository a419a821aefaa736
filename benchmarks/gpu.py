"""What a GPU makes of training, evaluation and sampling, and of the recipes for real images.

    python benchmarks/gpu.py [--mnist DIR] [--cifar10 DIR] [--output benchmarks/results/NAME.json]
    python benchmarks/gpu.py --device cpu --quick      # does it run to its end? no figures

For each network in float32 and bfloat16, compiled and not: steps, evaluations and images per
second, and the share of the time that bare forwards, or forwards and backwards, of the same
batches take by themselves, by CUDA's events. Then `nelbo train mnist` to its end with its
test bound, and `nelbo train cifar10 --smoke`. What fails is written down with its reason, and
the rest goes on; the exit code is then 1. Without CUDA nothing is measured: exit code 2.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from networks import LEVELS, Case, T
from timing import write

import nelbo
from nelbo.data import Images
from nelbo.networks.unet import UNet
from nelbo.tasks.sample import sample
from nelbo.tasks.train import train

WARM = 5  # steps or calls before the clock starts, compilation among them
QUICK = "steps = 2"  # of training, in place of the recipe's


def cases(quick: bool) -> list[Case]:
    if quick:
        return [Case("U-Net, 8x8", lambda: UNet(1, 1, 8, (8, 8)), 8, 4, 3, 4)]
    wide = (128, 256, 256, 256)
    return [
        Case("U-Net 2.7M, 28x28x1", lambda: UNet(1, 1, 28, (32, 64, 104), 2), 28, 128, 200, 100),
        Case("U-Net 32x32x3, wide", lambda: UNet(3, 3, 32, wide, 2), 32, 128, 50, 100, 3),
    ]


def seconds(work, count: int, device: torch.device) -> float:
    """Of one call, once it is warm."""
    for _ in range(WARM):
        work()
    if device.type != "cuda":
        started = time.perf_counter()
        for _ in range(count):
            work()
        return (time.perf_counter() - started) / count
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / count


def bare(case: Case, device, dtype, compiled, learns: bool):
    """A forward of the network on a batch, or with its backward."""
    network = case.network().to(device)
    if compiled:
        network.compile()
    x = torch.randn(case.batch, *case.shape, device=device)
    time_input = torch.randint(T, (case.batch,), device=device)

    def forward():
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return network(x, time_input)

    def both():
        network.zero_grad()
        forward().float().square().mean().backward()

    return both if learns else torch.inference_mode()(forward)


def training(case: Case, device, dtype, compiled) -> dict:
    """The engine's own steps, of the bound, against the network's."""
    marks = []

    def progress(done, expected, text):
        if done in (WARM, expected - 1):  # the last step's end also writes the model
            if device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = case.recipe(
            *case.saved(folder, 1024), objective="bound", steps=WARM + case.turn + 1,
            precision=str(dtype).removeprefix("torch."), compile=compiled,
        )  # fmt: skip
        with case.in_recipes():
            train(recipe, folder / "run", device=device, progress=progress)
    step = (marks[1] - marks[0]) / case.turn
    network = seconds(bare(case, device, dtype, compiled, learns=True), case.turn, device)
    return {
        "steps per second": round(1 / step, 2),
        "images per second": round(case.batch / step, 1),
        "share of the network": round(network / step, 3),
    }


def prepared(case: Case, device, dtype, compiled):
    """The model with its weights in that dtype, which makes it another one."""
    model = case.model()
    model.network.to(device, dtype)
    if compiled:
        model.network.compile()
    return model


def counted(case: Case, device, dtype, compiled, work, evaluations: int) -> dict:
    """So many network evaluations by `work`, against bare forwards of full batches."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    took = time.perf_counter() - started  # what it gives is on the CPU: nothing is left to do
    forward = seconds(bare(case, device, dtype, compiled, learns=False), case.turn, device)
    return {
        "evaluations per second": round(evaluations / took, 1),
        "share of the network": round(forward * evaluations / case.batch / took, 3),
    }


def evaluation(case: Case, device, dtype, compiled) -> dict:
    model = prepared(case, device, dtype, compiled)
    images = Images("noise", None, case.levels(case.batch), LEVELS)
    work = partial(nelbo.evaluate, model, images, exhaustive=True, batch_size=case.batch)
    return counted(case, device, dtype, compiled, work, case.steps * case.batch)


def sampling(case: Case, device, dtype, compiled) -> dict:
    model = prepared(case, device, dtype, compiled)
    work = partial(sample, model, case.batch)
    figures = counted(case, device, dtype, compiled, work, case.steps * case.batch)
    figures["samples per second"] = round(figures["evaluations per second"] / case.steps, 2)
    return figures


def command(*arguments: str) -> dict:
    """What `nelbo` takes and says."""
    started = time.perf_counter()
    line = [sys.executable, "-m", "nelbo", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    figures = {"command": f"nelbo {' '.join(arguments)}"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["nothing was said"]
        return {**figures, "failed": f"exit code {done.returncode}: {lines[-1]}"}
    took = round(time.perf_counter() - started, 1)
    return {**figures, "seconds": took, "said": done.stdout.strip().splitlines()}


def recipes(chosen, folder: Path) -> dict:
    """The recipes for real images, by the command line."""
    on = ("--device", chosen.device)
    if chosen.quick:
        text = Path("recipes/digits.toml").read_text().replace("steps = 2400", QUICK)
        (folder / "digits.toml").write_text(text)
        run = str(folder / "digits")
        return {
            "training": command("train", str(folder / "digits.toml"), "-o", run, *on),
            "its test bound": command("evaluate", run, "--budget", "4000", *on),
        }
    run, small = str(folder / "mnist"), str(folder / "cifar10")
    data = f"mnist:{chosen.mnist}"
    return {
        "mnist": command("train", "mnist", "--data", data, "-o", run, *on),
        "mnist, test bound": command("evaluate", run, "--data", f"{data}:test", *on),
        "cifar10, smoke": command(
            "train", "cifar10", "--data", f"cifar10:{chosen.cifar10}", "--smoke", "-o", small, *on
        ),
    }


def row(work, *arguments) -> dict:
    try:
        return work(*arguments)
    except Exception as error:  # whatever it is, the other rows are worth having
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[:1]}"}


def networks(chosen, device: torch.device) -> dict:
    """A row for each work, network, dtype, and compilation or none."""
    kinds = {"training": training, "evaluation": evaluation, "sampling": sampling}
    dtypes, compiled = (torch.float32, torch.bfloat16), (False,) if chosen.quick else (False, True)
    rows = {}
    for case, dtype, whole in itertools.product(cases(chosen.quick), dtypes, compiled):
        for kind, work in kinds.items():
            name = f"{kind}, {case.name}, {str(dtype)[6:]}{', compiled' * whole}"
            rows[name] = row(work, case, device, dtype, whole)
            print(name, rows[name], file=sys.stderr, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks: no figures")
    parser.add_argument("--mnist", type=Path, default=Path("data/mnist"))
    parser.add_argument("--cifar10", type=Path, default=Path("data/cifar10"))
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured", file=sys.stderr)
        return 2
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    results = {"gpu": gpu, "figures": not chosen.quick, "networks": networks(chosen, device)}
    with tempfile.TemporaryDirectory() as name:
        results["recipes"] = recipes(chosen, Path(name))
    write(results, chosen.output)
    rows = [*results["networks"].values(), *results["recipes"].values()]
    return int(any("failed" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
