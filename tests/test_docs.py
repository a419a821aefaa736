"""Every command and example that the documentation shows is run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

ROOT = Path(__file__).parent.parent
QUICK = {"evaluate": ("--budget", 2000), "improve": ("--budget", 4000), "sample": ("--steps", 5)}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page):
    """The lines of a page's code blocks that call nelbo, without their comments."""
    lines = re.findall(r"^(?: {4}|\$ )?(nelbo .*)$", page.read_text(), re.M)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def others(folder):
    """What somebody else has: a pipeline of diffusers, and a folder of pictures."""
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    network = UNet2DModel(4, 1, 1, block_out_channels=(8,), norm_num_groups=4, **blocks)
    DDPMPipeline(network, DDPMScheduler(20, beta_end=0.3)).save_pretrained(folder / "my-ddpm")
    (folder / "my-images").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(256, size=(24, 4, 4))):
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "my-images" / f"{number}.png")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page, nelbo, run, vdm_run, class_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs" / "demo")
    shutil.copytree(vdm_run, tmp_path / "runs" / "digits-vdm")
    shutil.copytree(class_run, tmp_path / "runs" / "digits-classes")
    others(tmp_path)
    for arguments in commands(page):
        if arguments[0] in ("demo", "train"):  # minutes each; tested on small recipes
            continue
        code, _, err = nelbo(*arguments, *QUICK.get(arguments[0], ()))
        assert code == 0, f"{shlex.join(arguments)}: {err}"


def python(page):
    """The code blocks of a page as one script: later ones go on from earlier ones."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if python(page)], ids=lambda page: page.stem
)
def test_the_python_of_a_page_runs(page, run, tmp_path):
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs" / "demo")
    command = [sys.executable, "-c", python(page)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300, env=env)


def test_pages_with_python_are_found():
    assert {page.stem for page in PAGES if python(page)} >= {"README", "measuring-your-model"}


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda e: e.stem)
def test_an_example_runs(example, tmp_path):
    command = [sys.executable, str(example), "--smoke"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300, env=env)


def test_the_pages_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    assert (tmp_path / "index.html").exists()


def test_the_links_of_the_readme_lead_to_files():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
