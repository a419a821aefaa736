"""The record of an evaluation: what was kept comes back bit for bit, or not at all."""

import json

import pytest
import torch

from nelbo.errors import BadInput
from nelbo.estimation import Processes, Record

PLAN = {"model": "digits", "seed": 0, "settings": {"budget": 800, "share": 0.1}}


def entry(stage, batch):
    """Tensors of every shape and kind that an evaluation keeps, made from the numbers alone."""
    generator = torch.Generator().manual_seed(100 * stage + batch)
    values = torch.randn(batch + 1, 2, dtype=torch.float64, generator=generator)
    return values, torch.empty(batch + 1, 0, dtype=torch.float64), values.float()


KEYS = [(0, 0), (0, 1), (1, 0)]


def write(folder, keys=KEYS, rank=0):
    record = Record.open(folder, PLAN, Processes(rank=rank))
    for stage, batch in keys:
        record.put(stage, batch, entry(stage, batch))
    record.close()
    return folder


def keys_read(folder, keys=KEYS, plan=PLAN):
    """Which of the keys the record holds; those it holds are equal to the last bit."""
    record = Record.open(folder, plan, Processes())
    record.close()
    held = []
    for key in keys:
        got = record.get(*key)
        if got is None:
            continue
        held.append(key)
        for tensor, wanted in zip(got, entry(*key), strict=True):
            assert tensor.dtype == wanted.dtype
            assert torch.equal(tensor, wanted)
    return held


def only_file(folder):
    (path,) = folder.glob("values-*.bin")
    return path


def test_what_was_kept_comes_back_to_the_last_bit(tmp_path):
    folder = write(tmp_path / "deep" / "record")
    assert keys_read(folder) == KEYS
    assert keys_read(folder, [(0, 2), (2, 0), (1, 1)]) == []
    assert sorted(path.name for path in folder.iterdir()) == [
        "plan.json", "values-00001-0.bin", "values-00002-0.bin", "values-00003-0.bin",
    ]  # fmt: skip


def test_what_this_start_keeps_is_for_the_next(tmp_path):
    """Kills: an entry read back under another call's number in the run that wrote it."""
    record = Record.open(tmp_path / "record", PLAN, Processes())
    record.put(0, 0, entry(0, 0))
    assert record.get(0, 0) is None
    record.close()


def test_every_process_and_every_start_has_a_file_of_its_own(tmp_path):
    """The number of processes may change between starts."""
    folder = write(tmp_path / "record", [(0, 0)])
    write(folder, [(0, 1)], rank=2)
    write(folder, [(1, 0)], rank=1)
    assert keys_read(folder) == KEYS
    names = {path.name for path in folder.glob("values-*")}
    assert names >= {"values-00001-0.bin", "values-00002-2.bin", "values-00003-1.bin"}


def test_a_tail_cut_at_any_byte_is_left_out_and_nothing_else(tmp_path):
    """Kills: a part of an entry believed, or a whole one lost, after a kill in the middle."""
    folder = write(tmp_path / "record")
    path = only_file(folder)
    content, ends = path.read_bytes(), [0]
    for count in range(1, len(KEYS) + 1):
        ends.append(only_file(write(tmp_path / str(count), KEYS[:count])).stat().st_size)
    assert ends[-1] == len(content)
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = sum(end <= size for end in ends[1:])
        assert keys_read(folder) == KEYS[:whole], size
        for later in folder.glob("values-*.bin"):
            if later != path:
                later.unlink()


def test_any_flipped_bit_is_refused_by_the_name_of_the_file(tmp_path):
    """Never loaded, nor taken for a cut tail. Kills: a length believed before it is checked."""
    folder = write(tmp_path / "record")
    path = only_file(folder)
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match=r"values-00001-0\.bin is damaged at byte \d+: remove"):
            keys_read(folder)
    path.write_bytes(content)
    assert keys_read(folder) == KEYS


def test_any_flipped_bit_of_the_plan_is_refused(tmp_path):
    folder = write(tmp_path / "record")
    path = folder / "plan.json"
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match=r"is damaged|is the record of another evaluation"):
            keys_read(folder)
    path.write_bytes(b"[1, 2]")
    with pytest.raises(BadInput, match=r"plan\.json is damaged"):
        keys_read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "its seed is 0, this one's is 1"),
        ({"seed": 1, "model": "other"}, "its model is digits, this one's is other"),
        ({"settings": {"budget": 801, "share": 0.1}}, "its settings is .*800.* is .*801"),
        ({"added": 3}, "its added is None, this one's is 3"),
    ],
    ids=["seed", "the first of two", "nested", "added"],
)
def test_another_plan_is_refused_by_its_first_difference(tmp_path, change, message):
    folder = write(tmp_path / "record")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match=message):
        Record.open(folder, PLAN | change, Processes())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_second_writer_is_refused_until_the_first_ends(tmp_path):
    folder = tmp_path / "record"
    first = Record.open(folder, PLAN, Processes())
    with pytest.raises(BadInput, match="another evaluation is writing to"):
        Record.open(folder, PLAN, Processes())
    first.close()
    Record.open(folder, PLAN, Processes()).close()


def test_something_else_in_its_place_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    with pytest.raises(
        BadInput, match=r"photos is no record of an evaluation: it has no plan\.json"
    ):
        Record.open(folder, PLAN, Processes())
    assert [path.name for path in folder.iterdir()] == ["a.png"]
    with pytest.raises(BadInput, match=r"a\.png is no record"):
        Record.open(folder / "a.png", PLAN, Processes())


@pytest.mark.parametrize("left", [[], [".plan.json.k3x"]], ids=["empty", "half a plan"])
def test_a_kill_before_the_plan_was_written_is_no_obstacle(tmp_path, left):
    folder = tmp_path / "record"
    folder.mkdir()
    for name in left:
        (folder / name).write_bytes(b"{")
    assert keys_read(folder) == []
    assert json.loads((folder / "plan.json").read_text()) == PLAN
