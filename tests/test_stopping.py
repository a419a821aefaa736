"""SIGINT and SIGTERM: 130 and 143 at every moment, one line, and no litter."""

import signal
import subprocess
import sys

import pytest

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SWALLOWED = """
import os, runpy, sys

class Swallows:
    '''An importer of nothing, in which a signal comes when a module is looked for.'''
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            try:
                os.kill(os.getpid(), {number})
                sum(range(1000))
            except:
                print("swallowed", flush=True)

sys.meta_path.insert(0, Swallows())
sys.argv = ["nelbo", *{arguments!r}]
{start}
"""
STARTS = {
    "-m": "runpy.run_module('nelbo', run_name='__main__', alter_sys=True)",
    "script": "from nelbo.__main__ import main; sys.exit(main())",
}


def heard():
    """As in a terminal: who started the tests in the background has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(code, preexec_fn=heard):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        preexec_fn=preexec_fn, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("module", "start", "number"),
    [
        ("typer", "-m", signal.SIGINT),
        ("nelbo.cli", "script", signal.SIGTERM),
        ("nelbo.cli.evaluate", "script", signal.SIGINT),
        ("torch.nn", "script", signal.SIGINT),  # as numpy inside torch, but always
        ("numpy", "-m", signal.SIGTERM),
    ],
)
def test_a_signal_in_an_import_is_not_swallowed(module, start, number):
    """By a bare except round it. Kills: an exception for a signal, a handler that comes late."""
    arguments = ["evaluate", "nothing", "--data", "digits"]
    code = SWALLOWED.format(
        module=module, number=int(number), arguments=arguments, start=STARTS[start]
    )
    done = ended(code)
    assert (done.returncode, done.stdout) == (CODES[number], ""), done.stderr
    assert done.stderr.splitlines() == [
        "nelbo: interrupted" if number == signal.SIGINT else "nelbo: terminated"
    ]


WRITING = """
import os, signal, sys, time
from nelbo import files, stopping
before, real = stopping.begin(), os.replace

def replace(*names):
    os.kill(os.getpid(), signal.SIGTERM)
    {more}
    real(*names)

os.replace = replace
files.write({path!r}, b"all of it")
print("went on")
"""


def test_a_signal_while_a_file_is_written_waits_for_it(tmp_path):
    """Kills: a part that stays; and a second signal that waits too."""
    path = tmp_path / "x"
    done = ended(WRITING.format(path=str(path), more="pass"))
    assert (done.returncode, done.stdout) == (143, ""), done.stderr
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"all of it"]
    path.unlink()
    more = "time.sleep(0.6); os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    assert ended(WRITING.format(path=str(path), more=more)).returncode == 130
    assert not path.exists()


def test_a_signal_that_training_did_not_hear_is_heard_after_it():
    """Kills: one that comes in the last step, after which a demo would go on for minutes."""
    code = """
import os, signal
from nelbo.training.signals import listening
from nelbo import stopping
stopping.begin()
with listening():
    os.kill(os.getpid(), signal.SIGTERM)
print("went on")
"""
    done = ended(code)
    assert (done.returncode, done.stdout) == (143, ""), done.stderr


def test_the_line_says_how_it_goes_on_and_the_cursor_is_there_again():
    code = """
import os, signal
from nelbo import stopping
stopping.begin()
with stopping.leaving("; as before"), stopping.leaving(restoring="<cursor>"):
    os.kill(os.getpid(), signal.SIGINT)
"""
    done = ended(code)
    assert (done.returncode, done.stderr) == (130, "<cursor>nelbo: interrupted; as before\n")


def test_what_a_command_does_to_signals_ends_with_it(nelbo):
    before = [signal.getsignal(number) for number in CODES]
    nelbo("--version")
    assert [signal.getsignal(number) for number in CODES] == before


def test_a_job_in_the_background_does_not_hear_the_interrupt_of_its_terminal():
    code = "import os; from nelbo import stopping; stopping.begin(); os.kill(os.getpid(), 2)"

    def ignoring():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    assert ended(code, preexec_fn=ignoring).returncode == 0
