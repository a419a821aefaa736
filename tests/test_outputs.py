"""Files that go out: checked before the work, never replacing what the command does not make."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
import threading

import pytest

from nelbo import files
from nelbo.errors import BadInput
from nelbo.training import lock

FEW = ("--max-images", "5", "--budget", "100")
VICTIMS = {
    "weights": lambda run: (run / "model.safetensors").read_bytes(),
    "a text": lambda run: b"my thesis\n",
    "another's JSON": lambda run: b'{"schema": "mine/1"}',
    "a result of another command": lambda run: b'{\n "schema": "nelbo.other/1"}',
    "a page of another": lambda run: b"<!doctype html><title>mine</title>",
    "a picture of another": lambda run: b"\x89PNG\r\n\x1a\n" + bytes(40),
}
COMMANDS = {
    "evaluate": lambda run, path: ["evaluate", run, *FEW, "--json", path],
    "compare": lambda run, path: ["compare", run, run, *FEW, "--json", path],
    "derive --json": lambda run, path: ["derive", "--json", path],
    "derive --html": lambda run, path: ["derive", "--html", path.with_suffix(".html")],
    "inspect": lambda run, path: ["inspect", run, "--json", path],
    "per-image": lambda run, path: [
        "evaluate", run, *FEW, "--per-image", path.with_suffix(".csv")
    ],
    "report": lambda run, path: ["report", path.parent / "r.json", "-o", path.with_suffix(".html")],
    "sample": lambda run, path: ["sample", run, "-n", "2", "-o", path.with_suffix(".png")],
    "improve": lambda run, path: [
        "improve", run, *FEW, "-o", path.parent / "new", "--json", path
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def result(run, tmp_path_factory):
    """What evaluate wrote, with its table beside it."""
    from nelbo import evaluate, formats
    from nelbo.data import load
    from nelbo.results import per_image

    folder = tmp_path_factory.mktemp("result")
    evaluation = evaluate(formats.load(run), load("digits:test").first(40), budget=4000)
    (folder / "r.json").write_text(evaluation.to_json())
    per_image.write(evaluation.per_image, folder / "r.csv")
    per_image.write(evaluation.per_image, folder / "r.parquet")
    return folder


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be measured."""

    def worked(*arguments, **named):
        raise AssertionError("the work began")

    for name in ("evaluate.evaluate", "compare.compare", "derive.derive", "inspect.inspect"):
        monkeypatch.setattr(f"nelbo.tasks.{name}", worked)
    monkeypatch.setattr("nelbo.tasks.sample.sample", worked)
    monkeypatch.setattr("nelbo.tasks.report.report", worked)
    monkeypatch.setattr("nelbo.tasks.improve.improve", worked)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_another_kind_is_left_as_it_is(
    nelbo, run, result, no_work, tmp_path, command, victim
):
    """Kills: weights that become a page, a thesis that becomes a result."""
    content = VICTIMS[victim](run)
    (tmp_path / "r.json").write_bytes((result / "r.json").read_bytes())
    for suffix in (".json", ".html", ".csv", ".png"):
        (tmp_path / f"x{suffix}").write_bytes(content)
    code, out, err = nelbo(*COMMANDS[command](run, tmp_path / "x.json"))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert "left as it is" in err
    assert "--force" in err
    for suffix in (".json", ".html", ".csv", ".png"):
        assert (tmp_path / f"x{suffix}").read_bytes() == content


@pytest.mark.parametrize("name", ["model.safetensors", "page.eps", "page.docx", "page", "-"])
def test_a_report_has_a_suffix_that_is_made(nelbo, result, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for sources in ([result / "r.json"], [result / "r.json"] * 2):
        code, out, err = nelbo("report", *sources, "-o", name)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["p.pdf", "p.png"])
def test_plots_are_no_single_file(nelbo, run, no_work, tmp_path, name):
    code, _, err = nelbo("evaluate", run, "--plots", tmp_path / name)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_output_of_the_same_kind_is_replaced(nelbo, run, tmp_path, monkeypatch):
    """Every output of every command twice; and, by --force, over what another command made.

    Kills: a derivation's page that replaces a result's, samples in place of a plot.
    """
    monkeypatch.chdir(tmp_path)
    evaluate = ["evaluate", run, *FEW, "--per-image"]
    commands = [
        [*evaluate, "i.csv", "--json", "r.json", "--plots", "p"],
        [*evaluate, "i.parquet"],
        ["report", "r.json", "-o", "page.html"],
        ["report", "r.json", "r.json", "-o", "page.html"],
        ["derive", "--json", "d.json", "--html", "d.html"],
        ["inspect", run, "--json", "about.json"],
        ["sample", run, "-n", "2", "--steps", "2", "-o", "s.png"],
    ]
    for command in commands:
        for _ in range(2):
            code, _, err = nelbo(*command)
            assert code == 0, err
    others = {
        "page.html": "d.html",
        "d.html": "page.html",
        "s.png": next((tmp_path / "p").glob("*.png")),
    }
    contents = {name: (tmp_path / other).read_bytes() for name, other in others.items()}
    for name, command in zip(others, (commands[2], commands[4], commands[6]), strict=True):
        (tmp_path / name).write_bytes(contents[name])
        code, _, err = nelbo(*command)
        assert (code, "left as it is" in err) == (2, True), err
        assert (tmp_path / name).read_bytes() == contents[name]
        assert nelbo(*command, "--force")[0] == 0
    assert (tmp_path / "s.png").read_bytes()[1:4] == b"PNG"


def test_two_outputs_are_two_files(nelbo, run, no_work, tmp_path):
    """Kills: of `--json X.csv --per-image X.csv` the first is lost; also by a link."""
    (tmp_path / "link.csv").symlink_to(tmp_path / "x.csv")
    for other in ("x.csv", "link.csv"):
        where = ("--json", tmp_path / "x.csv", "--per-image", tmp_path / other)
        code, _, err = nelbo("evaluate", run, *where)
        assert (code, len(err.splitlines())) == (2, 1)
        assert "are one file" in err
    code, _, err = nelbo("derive", "--json", tmp_path / "a.html", "--html", tmp_path / "a.html")
    assert code == 2
    assert "are one file" in err


def test_what_cannot_be_written_is_known_before_the_work(nelbo, run, no_work, tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "circle.json").symlink_to("circle.json")
    (tmp_path / "dangling.json").symlink_to("no/such.json")
    for name in ("folder.json", "circle.json", "dangling.json", "x" * 300, "no/r.json"):
        code, out, err = nelbo("evaluate", run, "--json", tmp_path / name)
        assert (code, out, len(err.splitlines())) == (2, "", 1), (name, err)


def test_a_folder_without_permission_and_a_full_disk_are_known_before_the_work(
    nelbo, run, no_work, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    code, _, err = nelbo("evaluate", run, "--json", tmp_path / "r.json")
    assert (code, len(err.splitlines())) == (2, 1), err
    monkeypatch.undo()


@pytest.mark.parametrize("command", ["evaluate", "derive"])
def test_a_result_is_printed_even_where_its_file_fails(nelbo, run, tmp_path, monkeypatch, command):
    """Hours of work end on the screen at least, and the message says what was written."""
    write = files.write

    def full(path, content):
        if str(path).endswith(".json"):
            raise OSError(28, "No space left on device (99 bytes)", str(path))
        return write(path, content)

    monkeypatch.setattr(files, "write", full)
    other = {"evaluate": tmp_path / "x.csv", "derive": tmp_path / "x.html"}[command]
    arguments = {
        "evaluate": ("evaluate", run, *FEW, "--per-image", other),
        "derive": ("derive", "--html", other),
    }[command]
    code, out, err = nelbo(*arguments, "--json", tmp_path / "r.json")
    assert code == 1
    assert "bits/dim" in out or "D1" in out
    assert str(other) in out
    assert [line for line in err.splitlines() if line.startswith("nelbo:")] == [
        f"nelbo: cannot write {tmp_path / 'r.json'}: No space left on device (99 bytes); "
        f"written: {other}"
    ]


# ---- what stands at the path


def test_a_pipe_is_written_through_and_its_reader_is_served(nelbo, tmp_path):
    """Kills: a FIFO replaced by a file, whose reader waits for ever."""
    path, results = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: results.append(path.read_bytes()), daemon=True)
    reader.start()
    assert nelbo("derive", "--json", path)[0] == 0
    reader.join(10)
    assert json.loads(results[0])["schema"].startswith("nelbo.derivation")
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_the_null_device_stays_a_device(tmp_path):
    """In a folder of its own: as root a replaced /dev/null would be everybody's."""
    path = tmp_path / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.open("wb").close()
    except PermissionError:
        pytest.skip("only root makes devices")
    files.write(path, b"x")
    assert stat.S_ISCHR(path.lstat().st_mode)


def test_a_link_is_followed(tmp_path):
    """Kills: a link replaced by a file, its target as it was."""
    target, link = tmp_path / "deep" / "target", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to("deep/target")
    for content in (b"old", b"new"):
        files.write(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_modes_are_of_the_file_that_was_there_else_of_the_umask(tmp_path):
    """Kills: 0644 for everybody."""
    before = os.umask(0o077)
    try:
        new = files.write(tmp_path / "new", b"x")
        assert stat.S_IMODE(new.stat().st_mode) == 0o600
        with files.whole_folder(tmp_path / "folder") as folder:
            files.write(folder / "x", b"x")
        assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    finally:
        os.umask(before)
    for mode in (0o600, 0o640, 0o755):
        new.chmod(mode)
        files.write(new, b"y")
        assert stat.S_IMODE(new.stat().st_mode) == mode


def test_a_folder_is_whole_or_absent(tmp_path):
    def fail():
        with files.whole_folder(tmp_path / "x") as folder:
            (folder / "half").write_bytes(b"1")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x").mkdir()
    with pytest.raises(BadInput, match="exists already"):
        fail()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_a_name_does_not_say_that_it_is_taken(tmp_path, monkeypatch, number):
    """Kills: advice to remove what is not there, where the last rename fails; for both writers."""

    def rename(path, target):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(files.Path, "rename", rename)
    place = tmp_path / "x"
    why = re.escape(os.strerror(number))
    with pytest.raises(OSError, match=why) as raised, files.whole_folder(place) as folder:
        (folder / "a").write_text("a")
    assert raised.value.filename == str(place)
    why = f"cannot make the folder {re.escape(str(place))}: "
    with pytest.raises(BadInput, match=why), lock.made(place):
        raise AssertionError
    assert not list(tmp_path.iterdir())

    def taken(path, target):
        target.mkdir()
        raise OSError(errno.ENOTEMPTY, "")

    monkeypatch.setattr(files.Path, "rename", taken)
    for way in (files.whole_folder, lock.made):
        with pytest.raises(BadInput, match="exists already and is left as it is"), way(place):
            pass
        place.rmdir()


# ---- streams


STREAMS = """
import os, sys
from nelbo.__main__ import main
sys.argv = ["nelbo", "derive", "--json", "d.json"]
os._exit(main())
"""


def process(folder, redirect, **environment):
    command = f"\"{sys.executable}\" -c '{STREAMS}' {redirect}"
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("redirect", ["", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_streams_that_are_absent_full_or_of_ascii_lose_no_result(tmp_path, redirect):
    """Kills: a traceback or an exit 1 for a stream; a file that is given the number of stderr."""
    ended = process(tmp_path, redirect, PYTHONIOENCODING="ascii", NO_COLOR="1")
    message = ended.stderr.decode()
    lines = [line for line in message.splitlines() if line.startswith("nelbo:")]
    assert "Traceback" not in message
    assert json.loads((tmp_path / "d.json").read_text())["schema"].startswith("nelbo.")
    if redirect == ">/dev/full":
        assert (ended.returncode, len(message.splitlines())) == (1, 1), message
        assert lines == ["nelbo: cannot write to stdout: No space left on device"]
    else:
        assert (ended.returncode, lines) == (0, []), message
    if redirect in ("", "2>&-"):
        assert b"d.json" in ended.stdout


def test_ascii_gets_a_replacement(nelbo, run, monkeypatch):
    import io

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert nelbo("evaluate", run, *FEW)[0] == 0
    out.flush()
    assert b"bits/dim" in out.buffer.getvalue()
    assert b" ? " in out.buffer.getvalue()
