"""A small sample of `make faults`, by a fixed seed: nothing comes of a fault that must not."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
NAMES = ("disk", "doors", "files", "kills", "lines", "results", "starts", "values")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from fault_files import made

        yield made(tmp_path_factory.mktemp("faults"))
    sys.path[:] = path
    for name in ("faults", *(f"fault_{name}" for name in NAMES)):
        sys.modules.pop(name, None)


def outcomes(case, count, all_of_them=0):
    """What came of so many cases, spread over all of them."""
    from faults import GOOD

    every = max(1, (all_of_them or len(case)) // count)
    results = {number: case(number) for number in range(0, count * every, every)}
    assert {what for what in results.values() if what not in GOOD} == set(), results
    return set(results.values())


def test_damaged_files_are_refused_or_read_as_they_were(place):
    """By chance, cut, and bit by bit. Kills: another number in silence, a traceback, two lines."""
    from fault_files import BITS, CUTS, FILES, PLAIN
    from fault_results import RESULT_BITS, RESULT_CUTS, RESULTS

    some = ("comparison.json", "part.json", "plan.toml", f"log.jsonl{PLAIN}", "many.nlb")
    results = {name: RESULTS[name] for name in (*some, f"unet/config.json{PLAIN}")}
    cut = {f"cuts of {name}": RESULT_CUTS[f"cuts of {name}"] for name in ("part.json", "one.nlb")}
    for parts, count in ((FILES | results, 25), (CUTS | cut, 12), (BITS | RESULT_BITS, 40)):
        for name, (cases, make) in parts.items():
            assert "refused" in outcomes(make(place), count, cases), name


def test_a_disk_that_refuses_costs_no_file(place):
    """Kills: half a file, litter, an error that is swallowed."""
    from fault_disk import Writes

    result = outcomes(Writes(place, ("inspect", "evaluate", "decompress an array")), 24)
    assert result == {"stopped", "went on", "none fires"}


def test_what_is_restored_is_whole_and_one_start_owns_a_place(place):
    """Kills: a part of the state that is left out in silence, two owners, another's files."""
    from fault_starts import STARTS

    restored = STARTS["parts that are restored"][1](place)
    assert outcomes(restored, 40) == {"refused"}
    eight = STARTS["eight starts at once"][1](place)
    assert {eight(number) for number in range(5)} == {"refused"}


def test_nothing_of_a_file_is_run(place):
    """Kills: a pickle that is loaded at any door, a traceback for a file of another kind."""
    from fault_doors import Doors

    assert outcomes(Doors(place), 30) <= {"refused", "same"}


def test_a_network_that_breaks_is_named_by_every_command(place):
    """Kills: a NaN that is averaged, drawn or written."""
    from fault_values import Values

    assert "exit 3" in outcomes(Values(place), 12)


def test_random_command_lines_end_in_one_line(place):
    """Kills: a traceback, a wrong exit code, a file that is lost."""
    from fault_lines import LINES
    from faults import GOOD

    case = LINES["command lines"][1](place)
    results = {number: case(number) for number in range(10)}
    assert {what for what in results.values() if what not in GOOD} == set(), results


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
