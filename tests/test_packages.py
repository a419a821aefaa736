"""What is built of the sources: the sdist, the wheel of the sdist, the versions they require."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "nelbo"


def build(folder, kind, output):
    """The file of that kind that the sources in the folder are built into, without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(output)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (made,) = output.iterdir()
    return made


def test_the_wheel_of_the_sdist_holds_every_file_of_the_package(tmp_path):
    """Kills: the link `recipes`, packed in place of the folder it leads to: no recipe installed."""
    with tarfile.open(build(ROOT, "sdist", tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    with zipfile.ZipFile(build(sources, "wheel", tmp_path / "wheel")) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("nelbo/")}
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    names = {path.relative_to(PACKAGE.parent).as_posix() for path in files}
    assert packed == {name for name in names if "__pycache__" not in name}


def test_the_lowest_versions_that_are_tested_are_those_that_are_required():
    """Kills: a bound that no environment has held: typer 0.15 ends every --help with 1."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *extras["parquet"], *extras["text"]]
    bounds = dict(re.match(r"([\w-]+)>=([\d.]+)", one).groups() for one in required)
    held = re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "constraints/lowest.txt").read_text(), re.M)
    assert {name: release(v) for name, v in held} == {
        name: release(v) for name, v in bounds.items() if name != "torch"
    }


def release(version):
    """Numbers, without zeros at the end."""
    return tuple(map(int, re.sub(r"(\.0)+$", "", version).split(".")))
