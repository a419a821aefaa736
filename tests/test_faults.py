"""A small sample of `make faults`, by a fixed seed: nothing comes of a fault that must not."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SAMPLE = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from fault_files import made

        yield made(tmp_path_factory.mktemp("faults"))
    for name in ("fault_files", "fault_lines", "faults"):
        sys.modules.pop(name, None)


def test_damaged_files_are_refused_or_read_as_they_were(place):
    """Kills: another number in silence, a traceback, several lines."""
    from fault_files import FILES
    from faults import GOOD

    for name, (_, make) in FILES.items():
        case = make(place)
        found = {number: case(number) for number in range(SAMPLE)}
        assert {what for what in found.values() if what not in GOOD} == set(), (name, found)
        assert "refused" in found.values(), name


def test_random_command_lines_end_in_one_line(place):
    """Kills: a traceback, a wrong exit code, a file that is lost."""
    from fault_lines import LINES
    from faults import GOOD

    case = LINES["command lines"][1](place)
    found = {number: case(number) for number in range(10)}
    assert {what for what in found.values() if what not in GOOD} == set(), found


def test_the_campaign_goes_on_from_its_counts(place):
    """Kills: a case that is counted twice or left out, a hang and a death that end the campaign."""
    import os
    import time

    import faults

    def case(number):
        if number == 3:
            os._exit(1)
        if number == 5:
            time.sleep(60)
        return "refused" if number < 8 else "another number"

    parts = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "PARTS", {"x": (10, lambda place: case)})
        patch.setattr(faults, "LONGEST", 1.0)
        faults.campaign("x", place, 4, parts, lambda: None)
        assert parts["x"]["done"] == 4
        faults.campaign("x", place, None, parts, lambda: None)
    assert parts["x"]["counts"] == {"refused": 6, "died": 1, "hang": 1, "another number": 2}
    assert [number for number, _ in parts["x"]["bad"]] == [3, 5, 8, 9]
    assert faults.bad(parts["x"]) == 4
