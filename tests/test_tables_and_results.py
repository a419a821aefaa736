"""Results and tables on disk: what a hand or a bad disk has changed is refused, or said."""

import json
import random

import pytest
import torch

from nelbo import results
from nelbo.errors import BadInput
from nelbo.results import per_image
from nelbo.results.reading import read
from test_outputs import result  # noqa: F401

CSV = {
    "an id twice": lambda rows: [*rows[:2], rows[2].replace("1,", "0,", 1), *rows[3:]],
    "a NaN term": lambda rows: [*rows[:2], ",".join([*rows[2].split(",")[:3], "nan,nan,nan"])],
    "a term changed": lambda rows: [
        *rows[:2],
        ",".join([*rows[2].split(",")[:5], repr(float(rows[2].split(",")[5]) + 1e-6)]),
        *rows[3:],
    ],
    "shifted by a row": lambda rows: [
        rows[0],
        *(
            f"{i},{rest}"
            for i, rest in enumerate([row.split(",", 1)[1] for row in [rows[-1], *rows[1:-1]]])
        ),
    ],
    "other ids": lambda rows: [
        rows[0],
        *(f"{int(row.split(',')[0]) + 1},{row.split(',', 1)[1]}" for row in rows[1:]),
    ],
    "two rows exchanged": lambda rows: [
        rows[0],
        "0," + rows[2].split(",", 1)[1],
        "1," + rows[1].split(",", 1)[1],
        *rows[3:],
    ],
    "an id of 30 digits": lambda rows: [rows[0], "9" * 30 + rows[1][1:], *rows[2:]],
}


@pytest.fixture
def copied(result, tmp_path):  # noqa: F811
    for path in result.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("change", CSV)
def test_a_changed_table_makes_no_page(nelbo, copied, change, several):
    """Alone and where it would change a paired interval. Kills: a table known by its mean alone."""
    path = copied / "r.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(CSV[change](rows)) + "\n")
    others = [copied / "r.json"] if several else ["--per-image", path]
    code, out, err = nelbo("report", copied / "r.json", *others, "-o", copied / "page.html")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert not (copied / "page.html").exists()


def test_no_mutant_of_a_parquet_file_is_taken_for_another_table(copied):
    """Kills: pages of Parquet whose sums nobody checks; 42 of 120 were taken."""
    path, draw = copied / "r.parquet", random.Random(0)
    whole = path.read_bytes()
    known = json.loads((copied / "r.json").read_text())["per_image_sha256"]
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content[: draw.choice([None, None, None, draw.randrange(len(content))])])
        try:
            table = per_image.read(path)
        except BadInput:
            refused += 1
            continue
        refused += per_image.digest(table) != known
    assert refused > 200
    path.write_bytes(whole)
    assert per_image.digest(per_image.read(path)) == known


def test_both_formats_have_one_digest(copied):
    known = json.loads((copied / "r.json").read_text())["per_image_sha256"]
    for suffix in (".csv", ".parquet"):
        assert per_image.digest(per_image.read(copied / f"r{suffix}")) == known


def test_what_is_unknown_has_one_digest():
    """Kills: the bits of a NaN, which a CSV does not keep, in the digest."""
    bits = torch.tensor([0x7FF8000000000000, 0x7FF8000000000001])
    both = [per_image.digest({"id": bits, "se": one[None].view(torch.float64)}) for one in bits]
    assert both[0] == both[1]


@pytest.mark.parametrize("several", [False, True])
def test_an_older_result_is_read_and_what_it_lacks_is_reported(nelbo, copied, several):
    """Kills: figures that no digest vouches for, taken without a word."""
    path = copied / "r.json"
    tree = json.loads(path.read_text())
    del tree["per_image_sha256"], tree["figures_sha256"], tree["content_sha256"]
    path.write_text(json.dumps(tree))
    more = [path] if several else ["--per-image", copied / "r.csv"]
    output = (*more, "-o", copied / "page.html")
    code, _, err = nelbo("report", path, *output)
    assert code == 0
    for what in ("table", "figures"):
        assert err.count(f"the result is of an older nelbo and has no digest of its {what}") == (
            2 if several else 1
        )
    rows = (copied / "r.csv").read_text().splitlines()
    (copied / "r.csv").write_text("\n".join(CSV["a term changed"](rows)) + "\n")
    code, _, err = nelbo("report", path, *output)
    assert (code, "the terms do not add up" in err) == (2, True)


WRONG = {
    "a total": ("bits_per_dim", lambda x: x + 1e-6),
    "nats": ("nats_per_image", lambda x: x * (1 + 1e-6)),
    "an interval": ("ci95", lambda x: [x[0], x[1] + 1e-6]),
    "the other interval": ("ci95_monte_carlo", lambda x: [x[1], x[0]]),
    "dims": ("dims", lambda x: x + 1),
    "no dims": ("dims", lambda x: 0),
    "images": ("images", lambda x: x + 1),
    "a part of an image": ("images", lambda x: x + 0.5),
    "a term": (
        "terms",
        lambda x: x | {"L_0": x["L_0"] | {"bits_per_dim": x["L_0"]["bits_per_dim"] + 1e-6}},
    ),
    "a text": ("nats_per_image", str),
}


@pytest.mark.parametrize("change", WRONG)
def test_a_result_that_contradicts_itself_makes_no_page(nelbo, copied, change):
    """Of an older nelbo too, which kept no digests."""
    path = copied / "r.json"
    tree = json.loads(path.read_text())
    del tree["figures_sha256"], tree["content_sha256"]
    key, changed = WRONG[change]
    tree[key] = changed(tree[key])
    path.write_text(json.dumps(tree))
    code, out, err = nelbo("report", path, "-o", copied / "page.html")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert not (copied / "page.html").exists()


EDITED = {
    "a step": lambda tree: tree["per_step"][2],
    "a look": lambda tree: tree["looks"][-1],
    "a rate": lambda tree: tree["rate_distortion"][1],
    "an error": lambda tree: tree["terms"]["L_mid"],
}


def test_what_a_result_is_of_cannot_be_edited_and_an_older_one_reports_so(nelbo, copied):
    """Kills: the figures of one model under another's name, warnings that are gone."""
    path = copied / "r.json"
    whole = json.loads(path.read_text())
    output = ("report", path, "-o", copied / "page.html")
    for edit in (
        {"model": {**whole["model"], "name": "another"}},
        {"data": {**whole["data"], "name": "another"}},
        {"warnings": ["none"]},
        {"seconds": 1.0},
        {"more": 1},
    ):
        path.write_text(json.dumps(whole | edit))
        code, out, err = nelbo(*output)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert "damaged or was edited: it is not what it was written as" in err
    del whole["content_sha256"]
    path.write_text(json.dumps(whole))
    code, _, err = nelbo(*output)
    assert (code, err.count("of an older nelbo and has no digest of what it holds")) == (0, 1)


def test_an_older_inspection_with_a_digest_of_weights_is_read(nelbo, run, tmp_path):
    """Kills: every digest taken for the one of the file."""
    path = tmp_path / "inspection.json"
    assert nelbo("inspect", run, "--json", path)[0] == 0
    tree = json.loads(path.read_text())
    del tree["content_sha256"]
    tree["name"] = "f" * 64
    path.write_text(json.dumps(tree))
    assert results.load(path).to_dict()["sha256"] == tree["sha256"]


@pytest.mark.parametrize("command", ["report", "cite"])
@pytest.mark.parametrize("kind", ["evaluation", "derivation"])
def test_a_digest_whose_name_is_damaged_vouches_for_nothing(nelbo, copied, kind, command):
    """Kills: a damaged file that is taken for one of an older nelbo; a citation of one."""
    path = copied / "r.json"
    if kind == "derivation":
        assert nelbo("derive", "--json", path, "--force")[0] == 0
    text = path.read_text()
    assert text.count('"content_sha256"') == 1
    path.write_text(text.replace('"content_sha256"', '"content_shq256"').replace('"torch"', '"t"'))
    output = (copied / "page.html", "--force") if command == "report" else ()
    code, out, err = nelbo(command, path, *(["-o", *output] if output else []))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert "damaged or was edited: it is not what it was written as" in err


@pytest.mark.parametrize("change", EDITED)
def test_a_figure_that_was_edited_makes_no_page(nelbo, copied, change):
    """Where nothing else in the result tells of it. Kills: a curve that nobody measured."""
    path = copied / "r.json"
    tree = json.loads(path.read_text())
    assert nelbo("report", path, "-o", copied / "page.html")[0] == 0
    (copied / "page.html").unlink()
    figures = EDITED[change](tree)
    name = "se" if change == "an error" else "bits_per_dim"
    figures[name] *= 1 + 1e-6
    path.write_text(json.dumps(tree))
    code, out, err = nelbo("report", path, "-o", copied / "page.html")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert "its figures are not those that it was written with" in err
    assert not (copied / "page.html").exists()


CRAFTED = {
    "deep": b'{"schema": ' + b"[" * 100_000,
    "a surrogate": b'{"schema": "nelbo.evaluation/1", "command": "\\ud800"}',
    "a list": b"[]",
    "no UTF-8": b"\xff\xfe",
    "escapes": b'{"schema": "\\u001b[2J\\nnelbo: all is well"}',
    "a long number": b'{"schema": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("command", ["report", "cite"])
@pytest.mark.parametrize("content", CRAFTED)
def test_a_crafted_result_is_one_plain_line(nelbo, tmp_path, command, content):
    path = tmp_path / "r.json"
    path.write_bytes(CRAFTED[content])
    output = ["-o", tmp_path / "page.html"] if command == "report" else []
    code, out, err = nelbo(command, path, *output)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert "\x1b" not in err


@pytest.mark.parametrize("command", ["report", "cite", "train"])
def test_a_device_is_no_file(nelbo, tmp_path, command):
    """Kills: /dev/zero read without end."""
    output = ["-o", tmp_path / "x.html"] if command != "cite" else []
    code, out, err = nelbo(command, "/dev/zero", *output)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err


def test_a_version_does_not_leave_its_entry(nelbo, copied):
    path = copied / "r.json"
    tree = json.loads(path.read_text())
    tree["environment"]["nelbo"] = "1}\n}\n@misc{x,"
    path.write_text(json.dumps(tree))
    code, out, _ = nelbo("cite", path)
    assert (code, out) == (2, "")


def test_a_written_result_reads_back(result):  # noqa: F811
    assert read(result / "r.json").images == 40
