"""Several processes are one evaluation: the same questions, the same answers, the same end."""

import json
import math
import os
import signal

import kill_evaluation
import pytest
import ranks
import several
import torch
from several import BATCH, COLUMNS, LONG

from nelbo.bound.noise import KeyedNoise

COUNT = 31  # a prime, so that no batch size and no number of processes divides it
MODES = {"sampled": {"budget": COUNT * 5}, "every t": {"exhaustive": True}}
SIZES = (1, 3, 20)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """{(world size, mode, batch size): ((columns, mean) by rank, how often each key was asked)}."""
    results = {}
    for world in (1, 2, 3):
        folder = tmp_path_factory.mktemp("ranks")
        by_rank = ranks.results(folder, several.tables, COUNT, MODES, SIZES, size=world)
        for mode, size in by_rank[0]:
            answers = [rank[mode, size][:2] for rank in by_rank]
            keys = {}
            for rank in by_rank:
                for key, times in rank[mode, size][2].items():
                    keys[key] = keys.get(key, 0) + times
            results[world, mode, size] = answers, keys
    return results


def test_batch_sizes_and_processes_do_not_change_the_table(settings):
    """Kills: H31 (a mean of batch means; an image padded or dropped), H34 (noise by rank)."""
    assert len(settings) == 3 * len(MODES) * len(SIZES)
    for (_, mode, _), (answers, _) in settings.items():
        reference = settings[1, mode, 20][0][0][0]
        assert len(set(reference["ids"].tolist())) == COUNT
        for columns, mean in answers:
            assert torch.equal(columns["ids"], reference["ids"])
            for name in COLUMNS:
                # Other batch shapes round the network otherwise, each processor by an amount of
                # its own: a part or an error that is small is off by what the whole is off.
                atol = 1e-6 * float(reference["total"].min())
                assert torch.allclose(columns[name], reference[name], rtol=1e-5, atol=atol), name
            assert mean == pytest.approx(math.fsum(columns["total"]) / COUNT, rel=1e-12)


def test_every_process_has_the_same_table_to_the_last_bit(settings):
    for (columns, mean), *others in (answers for answers, _ in settings.values()):
        for other, other_mean in others:
            assert mean == other_mean
            assert all(torch.equal(other[name], columns[name]) for name in columns)


def test_the_same_image_t_and_draw_are_evaluated_and_each_once(settings):
    """Kills: H34, a row asked by two processes or by none, a draw that counts batches."""
    for (world, mode, size), (_, keys) in settings.items():
        assert set(keys.values()) == {1}, (world, mode, size)
        assert keys.keys() == settings[1, mode, 20][1].keys(), (world, mode, size)
    key = KeyedNoise.of(0, several.images(COUNT).ids)
    one = torch.ones(COUNT, dtype=torch.int64)
    expected = [key.draw(draw * one).at(one) for draw in (0, 1)]
    expected += [key.draw(one).draw(0 * one).at(t * one) for t in range(2, LONG + 1)]
    _, keys = settings[3, "every t", 3]
    assert keys.keys() == set(torch.cat([noise.key for noise in expected]).tolist())


def test_a_nan_anywhere_stops_every_process_by_name_and_is_not_kept(tmp_path):
    """At t = 1, 2, T / 2 and T, in a first, middle and last batch, of either rank.

    Then the same record goes on without it to the same table. Kills: H39 (a NaN averaged away), a
    batch with a NaN in the record, a rank that is left waiting.
    """
    count = 6 * BATCH
    ids = several.images(count).ids.tolist()
    result = ranks.results(tmp_path, several.broken, tmp_path, count)
    assert result[0].keys() == result[1].keys()
    assert len(result[0]) == 4 * 2 * 3
    for (t, rank, which), (message, kept, same) in result[0].items():
        batch = rank + 2 * which  # of those with this t, which the ranks take in turn
        some = ", ".join(map(str, sorted(ids[BATCH * batch :][:BATCH])))
        place = f"t = {t} for images {some} of digits (rank {rank})"
        assert message == f"the bound is not finite at {place}: the network gave NaN or infinity"
        stage, first = (0, 0) if t == 1 else (3, 6 * (t - 2))
        assert (stage, first + batch) not in kept
        assert kept[:1] == ([(0, 0)] if (t, rank, which) != (1, 0, 0) else [(0, 1)])
        assert same
        assert result[1][t, rank, which][0] == message


def test_the_command_ends_with_3_in_every_process_and_leaves_no_result(run, tmp_path):
    """Nor a table; and the same command goes on when the network is well."""
    record, outputs = tmp_path / "record", [tmp_path / "a.json", tmp_path / "a.csv"]
    arguments = ("evaluate", run, "--max-images", "9", "--exhaustive", "--batch-size", "300")
    arguments += ("--record", record, "--json", outputs[0], "--per-image", outputs[1])
    ends = ranks.Ranks(tmp_path, several.nelbo_with_nan, 650, 1, *arguments).ended()
    assert [(end.code, end.out) for end in ends] == [(3, "")] * 2
    for end in ends:
        (line,) = (line for line in end.err.splitlines() if line.startswith("nelbo: "))
        assert line.startswith("nelbo: the bound is not finite at t = 650 for images 0, 1, 2")
        assert "of digits (rank 1)" in line
    assert not any(path.exists() for path in outputs)
    ends = ranks.Ranks(tmp_path, ranks.nelbo, *arguments).ended()
    assert [end.code for end in ends] == [0, 0]
    assert all(path.exists() for path in outputs)


def test_different_weights_or_data_are_refused_by_every_process(run, zero_run, tmp_path):
    """Kills: H34's cousin, ranks that average two models."""
    cases = {
        "model, sha256": ("evaluate", (run, zero_run), "--max-images", "9"),
        "data": ("evaluate", run, "--max-images", ("9", "8")),
        "budget": ("evaluate", run, "--max-images", "9", "--budget", ("90", "99")),
        "exhaustive": ("evaluate", run, "--max-images", "9", ("--exhaustive", "--budget=90")),
    }
    for what, arguments in cases.items():
        for end in ranks.Ranks(tmp_path, ranks.nelbo, *arguments).ended():
            assert (end.code, end.out) == (2, "")
            (line,) = end.err.splitlines()
            assert line.startswith(f"nelbo: rank 0 and rank 1 have different {what}: ")


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_when_one_rank_is_killed_the_others_end_and_name_it(run, tmp_path, victim):
    """Kills: a rank that waits for one that is gone, or ends as if all were well."""
    record = tmp_path / "record"
    arguments = ("evaluate", run, "--exhaustive", "--record", record, "--batch-size", "64")
    started = ranks.Ranks(tmp_path, ranks.nelbo, *arguments, size=3)
    ranks.wait_for(lambda: sum(path.stat().st_size for path in record.glob("values-*")))
    started.kill(victim)
    for rank, end in enumerate(started.ended(ranks.TOGETHER)):
        assert end.code == (-9 if rank == victim else 1)
        assert end.out == ""
        if rank != victim:
            assert f"nelbo: rank {rank} stops because rank" in end.err
            assert f" {victim}" in end.err.split("because rank")[1].split("ended")[0]


def test_when_one_rank_hangs_the_others_end_in_the_stated_time_and_name_it(run, tmp_path):
    """Kills: half an hour, or for ever, beside a process that was stopped."""
    record = tmp_path / "record"
    arguments = ("evaluate", run, "--exhaustive", "--record", record, "--batch-size", "64")
    started = ranks.Ranks(tmp_path, several.nelbo_within, 6, *arguments)
    ranks.wait_for(lambda: sum(path.stat().st_size for path in record.glob("values-*")))
    os.kill(started.processes[1].pid, signal.SIGSTOP)
    started.processes[0].join(ranks.TOGETHER)
    assert started.processes[0].exitcode == 1
    started.kill(1)
    end, _ = started.ended()
    (line,) = (line for line in end.err.splitlines() if line.startswith("nelbo: "))
    assert line == "nelbo: rank 0 stops because rank 1 did not answer for 6 seconds"


def test_the_seconds_to_wait_are_a_number(nelbo, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for text in ("soon", "-1", "nan", ""):
        monkeypatch.setenv("NELBO_RANK_TIMEOUT", text)
        code, out, err = nelbo("train", "digits")
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert "NELBO_RANK_TIMEOUT is no positive number" in err


@pytest.mark.parametrize(
    "command",
    [["improve", "x", "-o", "y"], ["demo"], ["sample", "x"], ["derive"], ["report", "x"],
     ["cite", "x"], ["inspect", "x"]],
)  # fmt: skip
def test_what_does_not_share_its_work_is_refused_in_every_rank(
    nelbo, monkeypatch, tmp_path, command
):
    """Kills: the same work in each, and two that write one folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, out, err = nelbo(*command)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert f"nelbo {command[0]} is the work of one process, and WORLD_SIZE = 2" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [kill_evaluation.SAMPLED, kill_evaluation.EVERY_T])
def test_an_evaluation_that_was_killed_goes_on_to_the_same_bytes(run, tmp_path, mode):
    """Of the table and of the result; NELBO_KILLS=20 for more. Kills: a batch lost or twice."""
    kills = int(os.environ.get("NELBO_KILLS", "4"))
    assert kill_evaluation.study(tmp_path, run, mode, kills).kills == kills


def test_torchrun_runs_the_command(nelbo, run, tmp_path):
    """To the bytes of one process of as many threads; what differs is how it came about."""
    arguments = ["evaluate", run, "--max-images", "20", "--budget", "200", "--batch-size", "16"]
    outputs = ("--json", "result.json", "--per-image", "images.csv")
    results = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        paths = [folder / x if "." in x else x for x in outputs]
        if world == 1:
            assert nelbo(*arguments, *paths)[0] == 0
        else:
            assert kill_evaluation.Torchrun(folder, *arguments, *paths).done()
        tree = json.loads((folder / "result.json").read_text())
        assert tree["environment"].pop("world_size") == world
        del tree["seconds"], tree["command"], tree["content_sha256"]
        results.append((tree, (folder / "images.csv").read_bytes()))
    assert results[0] == results[1]
