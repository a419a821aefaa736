"""The command line as a person meets it: first steps, help, completion, progress, files."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from conftest import small_recipe
from nelbo.cli import app, completion, progress
from nelbo.cli.command_line import _general_first
from nelbo.cli.start import next_steps
from nelbo.cli.terminal import TerminalOptions, console, set_terminal_options
from nelbo.recipe import names

GROUP = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)
ESCAPE = "\x1b["


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    yield
    set_terminal_options(TerminalOptions())


def parsed(line):
    """Parses a command line that is shown somewhere, as far as it can be without running it."""
    words = shlex.split(line, comments=True)
    words = words[words.index("nelbo") + 1 :]
    command = GROUP.commands[words[0]]
    return command.make_context(words[0], _general_first(words[1:]))


# ---- first steps


def run_folder(path, *, ended=True, measured=None):
    path.mkdir(parents=True)
    if ended:
        (path / "model.safetensors").touch()
    else:
        (path / "checkpoints").mkdir()
        (path / "checkpoints" / "step-000100.safetensors").touch()
    if measured is not None:
        (path / "result.json").write_text(json.dumps(measured))


def one_measured(folder):
    run_folder(folder / "runs" / "demo", measured={"bits_per_dim": 1.79341})
    run_folder(folder / "runs" / "not ended", ended=False)
    run_folder(folder / "own", measured=[3])
    (folder / "own" / "result.json").write_text("no JSON")
    (folder / "runs" / "no run").mkdir()


PLACES = {
    "an empty folder": (lambda folder: None, ["No run folder", "nelbo demo"]),
    "a folder of runs": (
        one_measured,
        [
            "are 3 runs",
            "runs/demo  1.7934 bits/dim",
            "not ended  training has not ended",
            "nelbo train --resume 'runs/not ended'",
            "own  trained, not measured",
            "nelbo evaluate own --json own/result.json",
            "nelbo compare ",
        ],
    ),
    "a run folder": (
        lambda folder: (
            run_folder(folder / "x")
            or [p.rename(folder / p.name) for p in (folder / "x").iterdir()]
        ),
        [".  trained, not measured", "nelbo evaluate . --json result.json"],
    ),
    "a density": (
        lambda folder: run_folder(folder / "d", measured={"nats_per_dim": 0.5}),
        ["d  0.5000 nats/dim"],
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_nelbo_alone_says_what_is_here_and_what_to_do_next(nelbo, tmp_path, monkeypatch, place):
    """Kills: help for an error, a hint that is none of the commands, a name that needs quotes."""
    make, expected = PLACES[place]
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = nelbo()
    assert (code, err) == (0, "")
    for words in expected:
        assert words in out
    assert len(out.splitlines()) <= 16
    assert max(map(len, out.splitlines())) <= 80
    hints = [
        line.strip().split("  ")[0] for line in out.splitlines() if line.startswith("  nelbo ")
    ]
    assert hints
    for hint in hints:
        parsed(hint)


def test_only_commands_that_there_are_are_proposed(tmp_path):
    run_folder(tmp_path / "demo", measured={"bits_per_dim": 1.0})
    assert "nelbo report" not in next_steps(tmp_path, {"sample"})
    assert "nelbo report" in next_steps(tmp_path, {"sample", "report"})


# ---- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_examples_that_parse(nelbo, command):
    """Kills: an example whose option has been renamed, a summary that is cut off."""
    code, out, _ = nelbo(command, "--help")
    assert code == 0
    _, summary, block, *_ = out.split("\n\n")
    examples = block.splitlines()
    assert examples
    for example in examples:
        assert re.match(rf"  (torchrun .* -m )?nelbo {command}\b", example), example
        parsed(example)
    summary = " ".join(summary.split())
    assert summary.endswith(".")
    code, out, _ = nelbo("--help")
    assert code == 0
    assert re.search(rf"^  {command} +{re.escape(summary[:-1])}\.?$", out, re.M), out


# ---- what was meant


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evalute", "x"],
            "No such command 'evalute'. Did you mean 'evaluate'? (see nelbo --help)",
        ),
        (
            ["evaluate", "x", "--bugdet", "3"],
            "No such option: --bugdet. Did you mean --budget? (see nelbo evaluate --help)",
        ),
        (["evaluate", "runs/demmo"], "no model at runs/demmo: did you mean runs/demo?"),
        (["inspect", "Own"], "no model at Own: did you mean own?"),
        (["evaluate", "x", "--weights", "emma"], "'emma' is not one of 'ema', 'raw'"),
        (["train", "digit"], "no recipe digit: did you mean digits? The named ones are cifar10,"),
        (["sample", "own", "--quiet", "-v"], "--quiet and --verbose exclude each other"),
    ],
)
def test_a_misspelt_word_is_guessed_in_one_line(nelbo, tmp_path, monkeypatch, arguments, message):
    """Kills: a list of everything in place of a guess, a second line, a word on stdout."""
    one_measured(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = nelbo(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("nelbo: ")
    assert message in err


# ---- completion


def test_a_shell_is_offered_recipes_runs_data_and_folders(tmp_path, monkeypatch):
    """Kills: a list of recipes that is not the package's, a folder that is no model."""
    one_measured(tmp_path)
    for path in ("my-ddpm/model_index.json", "mine.toml", "idx/t10k-images-idx3-ubyte.gz"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)
    assert [r for r in completion.recipes("") if "/" not in r] == [*names(), "mine.toml"]
    assert completion.recipes("runs/") == ["runs/not ended"]
    assert set(completion.models("")) == {"own", "runs/demo", "runs/not ended", "my-ddpm"}
    assert completion.models("runs/d") == ["runs/demo"]
    assert completion.data("") == ["digits", "digits:train", "digits:test", "mnist:idx"]
    assert completion.splits("te") == ["test"]
    assert completion.devices("c") == ["cpu", "cuda"]


LIGHT = """
import os, sys
from nelbo.__main__ import main

def run(*words):
    sys.argv = ["nelbo", *words]
    try:
        main()
    except SystemExit:
        pass

run()
run("--help")
import typer
from nelbo.cli import app
for name, command in typer.main.get_command(app).commands.items():
    for more in ([], *([word] for word in getattr(command, "commands", ()))):
        run(name, *more, "--help")
run("evalute")
run("--version")
for words, position in (("nelbo ev", 1), ("nelbo train digits-", 2), ("nelbo sample ru", 2),
                        ("nelbo evaluate x --data dig", 4), ("nelbo evaluate x --weig", 3)):
    os.environ |= {"_NELBO_COMPLETE": "complete_bash", "COMP_WORDS": words}
    os.environ["COMP_CWORD"] = str(position)
    run()
del os.environ["_NELBO_COMPLETE"]
run("--show-completion", "bash")
heavy = {"torch", "numpy", "scipy", "matplotlib", "diffusers", "PIL", "rich.console"}
print("heavy:", sorted(heavy & set(sys.modules)))
"""


def test_what_is_not_work_imports_nothing_heavy(tmp_path):
    """And completion, as bash asks for it. Kills: torch, or a console, at the head of a module."""
    run_folder(tmp_path / "runs" / "demo")
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.endswith("heavy: []\n")
    assert done.stderr.count("\n") == 1  # of the misspelt command
    lines = done.stdout.splitlines()
    for offered in ("evaluate", "digits-vdm", "runs/demo", "digits:test", "--weights"):
        assert offered in lines
    assert "complete -o default -F _nelbo_completion nelbo" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "variable", "out", "err"),
    [
        (("--show-completion",), "/bin/bash", "_nelbo_completion", ""),
        (("--show-completion", "zsh"), None, "#compdef nelbo", ""),
        (("--show-completion",), None, "", "nelbo: --show-completion takes one of"),
        (("--show-completion", "csh"), None, "", "nelbo: --show-completion takes one of"),
        (("--install-completion", "csh"), None, "", "nelbo: --install-completion takes one of"),
    ],
)
def test_a_job_runner_without_a_shell_can_name_one(arguments, variable, out, err, monkeypatch):
    """setsid, nohup and cron leave no shell among the parents. Kills: a detected shell alone."""
    script = (
        "import shellingham, sys\n"
        "def nothing(*_): raise shellingham.ShellDetectionFailure\n"
        "shellingham.detect_shell = nothing\n"
        "from nelbo.__main__ import main\n"
        f"sys.argv = ['nelbo', *{arguments!r}]\n"
        "sys.exit(main())"
    )
    monkeypatch.delenv("SHELL", raising=False)
    if variable is not None:
        monkeypatch.setenv("SHELL", variable)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == (2 if err else 0)
    assert out in done.stdout
    assert done.stderr.startswith(err)
    assert done.stderr.count("\n") == bool(err)


# ---- colours and progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("variables", "option", "terminal", "coloured"),
    [
        ({}, (), False, False),
        ({}, (), True, True),
        ({}, ("--no-color",), True, False),
        ({"NO_COLOR": "1"}, (), True, False),
        ({"NO_COLOR": ""}, (), True, True),
        ({"FORCE_COLOR": "1"}, (), False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, (), False, False),
        ({"FORCE_COLOR": "1"}, ("--no-color",), False, False),
    ],
)
def test_colours_are_as_the_user_wants_them(
    nelbo, run, monkeypatch, variables, option, terminal, coloured
):
    """Kills: NO_COLOR obeyed only where it is set to something, FORCE_COLOR stronger than it."""
    for key, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(key, value)
    if terminal:
        monkeypatch.setattr(sys, "stdout", shown := Terminal())
    code, out, _ = nelbo("inspect", run, *option)
    out = shown.getvalue() if terminal else out
    assert code == 0
    assert (ESCAPE in out) == coloured
    assert "levels" in out


def test_there_is_no_bar_without_a_terminal_even_if_colours_are_forced(monkeypatch, capsys):
    """Kills: an animation in a log file; a rate without its unit, or no time left."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    clock = iter([100.0, 100.0, 101.0, 111.0, 151.0, 190.0, 201.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.bars() as start:
        update = start("train digits", "steps")
        for done in (10, 510, 2510, 3310, 5010):
            update(done, 5010, "bits/dim 1.8")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "train digits: 510/5,010, 50 steps/s, 1 min 30 s left  bits/dim 1.8",
        "train digits: 2,510/5,010, 50 steps/s, 50 s left  bits/dim 1.8",
        "train digits: 3,310/5,010, 37 steps/s, 46 s left  bits/dim 1.8",
        "train digits: 5,010/5,010, 50 steps/s, 0 s left  bits/dim 1.8",
    ]


def test_a_terminal_shows_a_bar_with_rate_and_time_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with progress.bars() as start:
        start("sample x", "steps")(5, 10, "")
    assert ESCAPE in shown.getvalue()
    assert re.search(r"sample x .*5/10.*[\d,.]+ steps/s", shown.getvalue())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (3599.7, "1 h 00 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_time_left_is_written_as_a_person_says_it(seconds, text):
    assert progress._duration(seconds) == text


def test_quiet_leaves_warnings_alone_and_verbose_says_what_is_read(nelbo, run):
    """Kills: quiet that also silences the result; general options before the command alone."""
    common = ("evaluate", run, "--max-images", "5", "--budget", "100", "--json", "-")
    code, out, err = nelbo(*common, "-q")
    warnings = json.loads(out)["warnings"]
    assert (code, err) == (0, "".join(f"warning: {warning}\n" for warning in warnings))
    code, again, err = nelbo("--verbose", *common)
    assert code == 0
    assert json.loads(out)["terms"] == json.loads(again)["terms"]
    assert f"{run}: T = 1000, ema weights, float32, on cpu" in err
    assert "digits: 500 images of 17 levels, sha256 " in err
    assert re.search(r"evaluate digits: 100/100, [\d,.]+ evaluations/s, 0 s left", err)


def test_a_console_of_stderr_writes_there(capsys):
    console(stderr=True).print("x")
    assert capsys.readouterr() == ("", "x\n")


# ---- files


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A run of few steps, of a chain of few steps."""
    from nelbo.tasks.train import train

    folder = tmp_path_factory.mktemp("quick") / "run"
    return train(small_recipe(**{"chain.schedule.T": 8, "network.blocks": 1}), folder)


FEW = ["--max-images", "5", "--budget", "100"]
WORK = {
    "train": ["{recipe}", "-o", "new"],
    "evaluate": ["{run}", *FEW, "--json", "r.json", "--per-image", "i.csv", "--record", "kept"],
    "evaluate to stdout": ["{run}", *FEW, "--json", "-", "--record", "kept", "--plots", "p"],
    "compare": ["{run}", "{run}", *FEW, "--weights-b", "raw", "--json", "c.json", "--record", "r"],
    "improve": ["{run}", *FEW, "-o", "new", "--json", "i.json", "--steps", "3"],
    "sample": ["{run}", "-n", "2", "-o", "s.npy"],
    "derive": ["{run}", "--paths", "2", "--json", "d.json", "--html", "d.html"],
    "inspect": ["{run}", "--json", "i.json"],
}


@pytest.mark.parametrize("work", WORK)
def test_every_file_that_is_written_is_named_at_the_end(
    nelbo, quick, recipe_file, tmp_path, monkeypatch, work
):
    """On stdout, or on stderr where stdout is JSON. Kills: a record or checkpoint not named."""
    recipe = recipe_file(**{"training.checkpoint_every": 1})
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    arguments = [word.format(run=quick, recipe=recipe) for word in WORK[work]]
    code, out, err = nelbo(work.split()[0], *arguments)
    assert code == 0, err
    if "-" in arguments:
        json.loads(out)
    lines = (err if "-" in arguments else out).splitlines()
    named = {Path(line) for line in lines if line and Path(line).exists()}
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:  # by itself or by its folder, but for the folder of a run
        assert path in named or (set(path.parents) - {Path("new")}) & named


@pytest.mark.parametrize(
    ("stated", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None)],
)
def test_waiting_threads_give_their_core_away_unless_the_user_says_otherwise(stated, spins):
    """Kills: threads that spin on cores of others, a choice of the user that is overridden."""
    own = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = (
        "import os, nelbo.__main__ as m; m.main = lambda: print(os.environ.get('GOMP_SPINCOUNT'))\n"
        "m.program()"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], env=own | stated, capture_output=True, text=True, check=True
    )
    assert made.stdout == f"{spins}\n"


@pytest.mark.parametrize(
    ("stated", "kept"), [({}, True), ({"MALLOC_MMAP_MAX_": "65536"}, False)], ids=["kept", "stated"]
)
def test_memory_that_is_freed_is_used_again_unless_the_user_says_otherwise(stated, kept):
    """Kills: pages that each batch asks for anew; a choice of the user that is overridden."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    code = (
        "import resource, nelbo.__main__ as m\n"
        "def pages():\n"
        "    for _ in range(9):\n"
        "        bytes(bytearray(2**26))\n"
        "        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)\n"
        "m.main = pages\n"
        "m.program()"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], env=own | stated, capture_output=True, text=True, check=True
    )
    first, *_, before, last = map(int, made.stdout.split())
    assert (last - before < first / 100) == kept  # `first` holds those of starting, too


def test_the_time_left_is_stated_once_something_is_done(monkeypatch, capsys):
    """Kills: millions of hours left at the start; a time that counts what was done before.

    A second part of the work, here of 64 again from 8 at 90 s on, has a rate of its own.
    """
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with progress.bars() as start:
        update = start("sample", "samples")
        for clock.now, done in ((20.0, 0), (40.0, 0), (60.0, 16), (80.0, 64), (90.0, 8), (102, 32)):
            update(done, 64, "")
    assert capsys.readouterr().err.splitlines() == [
        "sample: 0/64",
        "sample: 0/64",
        "sample: 16/64, 0.4 samples/s, 2 min 00 s left",
        "sample: 64/64, 1.1 samples/s, 0 s left",
        "sample: 8/64",
        "sample: 32/64, 2.0 samples/s, 16 s left",
    ]
