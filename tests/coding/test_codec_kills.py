"""A full disk or a kill at any write of compress and decompress leaves whole files, or none."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from nelbo.__main__ import main
from nelbo.tasks.compress import compress, decompress

GOLDEN = Path(__file__).parent.parent / "golden"
TWIN = GOLDEN / "twin.safetensors"
COUNT = 3  # images that are compressed, and that a file to be decompressed holds
WRITES = {"compress": 2, "decompress": COUNT}  # the file and the bill; a picture of each image


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A file of three images, its own levels."""
    import nelbo

    images = nelbo.data.load("digits:test").first(COUNT)
    path = tmp_path_factory.mktemp("few") / "few.nlb"
    path.write_bytes(compress(str(TWIN), images, calls=2, verify=False).content)
    return path, images.levels.long()


def command(name, folder, few):
    if name == "decompress":
        return ["decompress", TWIN, few[0], "-o", folder / "back"]
    options = ["--calls", 2, "--max-images", COUNT, "--no-verify", "--json", folder / "bill.json"]
    return ["compress", TWIN, "digits:test", "-o", folder / "out.nlb", *options]


def sound(name, folder, few):
    """Whether all that is there under its own name is whole."""
    if name == "decompress":
        from nelbo.data import load

        there = (folder / "back").exists()
        return not there or (load(f"{folder}/back", levels=17).levels.long() == few[1]).all()
    out, bill = folder / "out.nlb", folder / "bill.json"
    decodes = not out.exists() or bool(
        (decompress(str(TWIN), out.read_bytes()).levels == few[1]).all()
    )
    return decodes and (not bill.exists() or bill.read_text().endswith("}\n"))


def at_write(number, act):
    """os.write that acts in its call of this number, which it is given with what is written."""
    calls, own = iter(range(1, 10_000)), os.write
    return lambda handle, content: (
        act(handle, content) if next(calls) == number else own(handle, content)
    )


def full(handle, content):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_at_any_write_leaves_whole_files_or_none(
    name, nelbo, few, tmp_path, monkeypatch
):
    """One line, a code that is not 0, and no litter. Kills: a file that is written in place, a
    folder that is there before all is in it."""
    for number in range(1, WRITES[name] + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", at_write(number, full))
            code, _, err = nelbo("-q", *command(name, folder, few))
        assert code == 1, err
        assert "No space left on device" in err
        assert sound(name, folder, few)
        assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
        assert not (folder / "back").exists()


def begun(name, folder, few, number, act):
    """A process of its own that runs the command with this fault."""
    pid = os.fork()
    if pid == 0:
        os.write = at_write(number, act)
        sys.argv = ["nelbo", "-q", *map(str, command(name, folder, few))]
        main()
        os._exit(0)
    return pid


def half(handle, content):
    """Half of the bytes reach the disk, and the process is gone."""
    os.pwrite(handle, bytes(content)[: len(content) // 2], 0)
    os.kill(os.getpid(), signal.SIGKILL)


def slow(handle, content):
    """Half of the bytes reach the disk, and the rest takes longer than the test."""
    os.pwrite(handle, bytes(content)[: len(content) // 2], 0)
    time.sleep(60)


@pytest.mark.parametrize("name", WRITES)
def test_a_kill_at_any_write_leaves_whole_files_or_none(name, few, tmp_path):
    """kill -9 in each write, and once from outside while a file is half written. Kills: a file
    that is written in place, a folder that is renamed before its files are on the disk."""
    for number in range(1, WRITES[name] + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        _, status = os.waitpid(begun(name, folder, few, number, half), 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert sound(name, folder, few)
        assert not (folder / ("back" if name == "decompress" else "bill.json")).exists()
    folder = tmp_path / "outside"
    folder.mkdir()
    pid = begun(name, folder, few, 1, slow)
    while not any(path.is_file() and path.stat().st_size for path in folder.rglob("*")):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert sound(name, folder, few)
    assert not (folder / "back").exists()
    assert not (folder / "out.nlb").exists()
