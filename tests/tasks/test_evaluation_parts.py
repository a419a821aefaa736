"""An evaluation in parts: merged, they are the bytes of one process; what does not fit is named."""

import json
import random
from dataclasses import replace

import pytest

import nelbo as package
from nelbo import BadInput
from nelbo.data import load
from nelbo.estimation import evaluator
from nelbo.results.part import Part
from nelbo.results.saved import digest_of

N = 8
OPTIONS = {"exhaustive": True, "seed": 3, "distortion": True}
# All that merged results may differ in, and so the digest of all that they hold.
ELSEWHERE = ("seconds", "environment", "command", "content_sha256")


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 8 rows of digits."""
    monkeypatch.setattr(evaluator, "CELLS", 8 * 64)


class Killed(Exception):
    pass


def killed_and_resumed(model, images, part, folder):
    """A part whose process ends in the middle, in the middle of a write, and then goes on."""

    def die(done, expected, text):
        if done >= 0.7 * expected:
            raise Killed

    with pytest.raises(Killed):
        package.evaluate(model, images, part=part, record=folder, progress=die, **OPTIONS)
    (cut,) = folder.glob("values-*.bin")
    cut.write_bytes(cut.read_bytes()[:-5])
    resumed = []
    result = package.evaluate(
        model,
        images,
        part=part,
        record=folder,
        progress=lambda done, expected, text: resumed.append(done),
        **OPTIONS,
    )
    assert len(resumed) < len(result.entries)  # what was kept comes at once
    return result


def test_parts_in_any_order_and_twice_are_the_bytes_of_one_process(
    run, small_chunks, tmp_path, monkeypatch
):
    """Kills: batches dealt anew in each call, a batch of two parts or of none, a dealt batch's
    place lost, a killed part that begins again, an evaluation by merge.
    """
    model, images = package.load(run).every(6), load("digits:test").first(30)
    whole = package.evaluate(model, images, **OPTIONS)
    parts = [
        killed_and_resumed(model, images, (number, N), tmp_path / "record")
        if number == 5
        else package.evaluate(model, images, part=(number, N), **OPTIONS)
        for number in range(1, N + 1)
    ]
    assert sum(part.evaluations for part in parts) == whole.network_evaluations
    batches = [len(part.entries) for part in parts]
    assert max(batches) - min(batches) <= 1
    files = [part.save(tmp_path / f"{part.number}.json") for part in parts]
    files += files[:3]
    random.Random(0).shuffle(files)
    monkeypatch.setattr(model.network, "forward", None)  # merge evaluates nothing
    merged = package.merge(files, model, images)
    joint, alone = merged.to_dict(), whole.to_dict()
    assert [key for key in alone if joint[key] != alone[key]] == [
        "seconds",
        "environment",
        "content_sha256",
    ]
    assert json.dumps({k: joint[k] for k in joint if k not in ELSEWHERE}) == json.dumps(
        {k: alone[k] for k in alone if k not in ELSEWHERE}
    )
    (machine,) = joint["environment"].pop("parts")
    assert machine.pop("numbers") == list(range(1, N + 1))
    assert machine.pop("processor")
    assert machine == joint["environment"] == alone["environment"]
    assert joint["seconds"] == pytest.approx(sum(part.seconds for part in parts))
    refused(parts, model, images, tmp_path)


def refused(parts, model, images, folder):
    """What is no part of this evaluation is refused by its name."""
    other = replace(parts[1], plan={**parts[1].plan, "seed": 4}, source="b.json")
    (key, (first, *rest)), *_ = parts[1].entries.items()
    wrong = replace(
        parts[1], entries={**parts[1].entries, key: (first + 1, *rest)}, source="c.json"
    )
    longer = replace(parts[1], of=9, source="d.json")
    for given, message in (
        ([], "there is no part to merge: give the files of all"),
        (parts[:3] + parts[4:7], "2 of 8 parts are missing: 4, 8; evaluate them"),
        ([*parts, other], "b.json is a part of another evaluation than .*: its seed is 4, and th"),
        ([*parts, wrong], "part 2/8 and c.json are both part 2 and hold different values, of"),
        ([*parts, longer], "d.json is one of 9 parts and part 1/8 one of 8: merge the parts of"),
        ([parts[0], replace(parts[1], entries={}), *parts[2:]], "no part holds batch 1 of stage"),
    ):
        with pytest.raises(BadInput, match=message):
            package.merge(given, model, images)
    with pytest.raises(BadInput, match="part 1/8 was computed with another data: 30 images"):
        package.merge(parts, model, images.first(29))
    path = folder / "1.json"
    path.write_text(path.read_text().replace('"of": 8', '"of": 1'))
    with pytest.raises(BadInput, match=r"1\.json is damaged or was edited: compute this part"):
        Part.read(path)


def test_parts_by_the_command_line(run, small_chunks, tmp_path, nelbo):
    """Kills: a command of a missing part that makes another part, a record left or one lost."""
    options = ["--exhaustive", "--steps", 4, "--max-images", 12, "--seed", 1]
    files = [tmp_path / f"part{number}.json" for number in (1, 2, 3)]
    whole = tmp_path / "whole.json"
    assert nelbo("evaluate", run, *options, "--json", whole)[0] == 0
    for number in (1, 3):
        output = files[number - 1]
        code, out, _ = nelbo("evaluate", run, *options, "--part", f"{number}/3", "-o", output)
        assert code == 0
        assert out.splitlines()[0].startswith(f"part {number} of 3: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "part1.json", "part3.json", "whole.json",
    ]  # fmt: skip
    merged = tmp_path / "merged.json"
    code, _, err = nelbo("merge", files[2], files[0], "-o", merged)
    missing, refusal = err.splitlines()
    assert code == 2
    assert refusal == "nelbo: 1 of 3 parts are missing: 2; evaluate them, then merge all"
    assert missing.endswith(f"--part 2/3 -o {files[1]}")
    assert nelbo(*missing.split()[1:])[0] == 0
    assert nelbo("merge", *reversed(files), "-o", merged)[0] == 0
    crafted = Part.read(files[0]).with_arguments(["net.py:make"]).save(tmp_path / "net.json")
    code, _, err = nelbo("merge", crafted, *files[1:], "-o", merged)
    assert code == 2
    assert "names code as its model, net.py:make, and merge runs none" in err
    for arguments in ([run, f"--json={whole}", "--force"], ["--plan", "p.toml"], [run, "-ox.json"]):
        crafted = Part.read(files[0]).with_arguments(list(map(str, arguments)))
        code, _, err = nelbo("merge", crafted.save(tmp_path / "net.json"), *files[1:], "-o", merged)
        assert code == 2
        assert "net.json names files to write, which no part does: it was edited" in err
    crafted = replace(Part.read(files[0]), of=10**9).save(tmp_path / "net.json")
    code, _, err = nelbo("merge", crafted, "-o", merged)
    *_, more, refusal = err.splitlines()
    assert (code, len(err.splitlines()), more) == (2, 102, "and 999,999,899 more")
    assert refusal.startswith("nelbo: 999999999 of 1000000000 parts are missing: 2, 3, 4, 5, 6, 7,")
    for key, value in (("plan", {}), ("check", {"again": "x"}), ("entries", [{"stage": "x"}])):
        tree = json.loads(files[0].read_text()) | {key: value}
        tree["sha256"] = digest_of({k: v for k, v in tree.items() if k != "sha256"})
        (tmp_path / "net.json").write_text(json.dumps(tree))
        code, _, err = nelbo("merge", tmp_path / "net.json", *files[1:], "-o", merged)
        assert code == 2
        assert "net.json does not keep to nelbo.part/1: " in err
        assert len(err.splitlines()) == 1
    joint, alone = (json.loads(path.read_text()) for path in (merged, whole))
    assert [key for key in alone if joint[key] != alone[key]] == list(ELSEWHERE)
    for given, message in (
        (["--part", "3"], "--part is K/N with K from 1 to N, as in 3/64; got 3"),
        (["--part", "4/3", "-o", merged], "--part is K/N with K from 1 to N, as in 3/64; got 4/3"),
        (["--part", "3/3"], "--part 3/3 needs -o: name the file that this part is written to"),
        (["-o", files[0]], "-o is the file of a part: give --part K/N too, or --json for the"),
        (["--part", "1/3", "-o", files[0], "--json", "-"], "--part writes its part alone: leave"),
        (["--part", "1/3", "-o", files[0]], "parts need a plan that no value decides: give exh"),
        (["--part", "1/3", "-o", whole], "-o .*: the file there is no part that nelbo made"),
    ):
        code, _, err = nelbo("evaluate", run, "--max-images", 4, *given)
        assert code == 2
        assert message.split(".*")[-1] in err
