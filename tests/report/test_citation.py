"""Laws of `nelbo cite`: BibTeX that a reader reads, an entry for each choice that needs one."""

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from nelbo.results.citation import bibtex, reasons

ROOT = Path(__file__).parent.parent.parent
REFERENCES = (files("nelbo.results") / "references.bib").read_text()
PLAIN = {
    "family": "gaussian",
    "T": 1000,
    "steps": 1000,
    "schedule": {"name": "linear", "T": 1000},
    "parametrization": "eps",
    "variance": "large",
    "decoder": "discretized-gaussian",
    "network": {"name": "resnet"},
}
ALWAYS = {"sohldickstein2015thermodynamics"}
FOREIGN = {"scheduler": "DDPMScheduler", "network": {"name": "UNet2DModel"}}


def model(**changes):
    return {"model": PLAIN | changes}


CASES = [
    (model(), {"ho2020ddpm"}),
    (model(family="categorical"), {"austin2021d3pm"}),
    (model(steps=50), {"ho2020ddpm", "nichol2021iddpm"}),
    (model(schedule={"name": "cosine"}), {"ho2020ddpm", "nichol2021iddpm"}),
    (model(schedule={"name": "scaled-linear"}), {"ho2020ddpm", "rombach2022ldm"}),
    (model(schedule={"name": "sigmoid"}), {"ho2020ddpm", "xu2022geodiff"}),
    (
        model(schedule={"name": "cosine-zero-snr"}),
        {"ho2020ddpm", "nichol2021iddpm", "lin2024flawed"},
    ),
    (model(schedule={"name": "log-snr-linear"}), {"ho2020ddpm", "kingma2021vdm"}),
    (model(schedule={"name": "learned", "first": 8.0}), {"ho2020ddpm", "kingma2021vdm"}),
    (model(time="continuous"), {"ho2020ddpm", "kingma2021vdm"}),
    (model(decoder="level-likelihood"), {"ho2020ddpm", "kingma2021vdm"}),
    (model(parametrization="v"), {"ho2020ddpm", "salimans2022distillation"}),
    (model(parametrization="levels"), {"ho2020ddpm", "austin2021d3pm", "kingma2021vdm"}),
    (model(variance="learned-range"), {"ho2020ddpm", "nichol2021iddpm"}),
    (
        model(improved={"steps": [1]}),
        {"ho2020ddpm", "bao2022analytic", "bao2022imperfect"},
    ),
    (
        model(improved={"steps": [1]}, steps=20),
        {"ho2020ddpm", "bao2022analytic", "bao2022imperfect", "watson2021learning"},
    ),
    (model(**FOREIGN), {"ho2020ddpm", "vonplaten2022diffusers"}),
    (
        model(**FOREIGN | {"scheduler": "DDIMScheduler, its q with the reverse steps of another"}),
        {"ho2020ddpm", "vonplaten2022diffusers", "song2021ddim"},
    ),
    (
        model(**FOREIGN | {"network": {"name": "DiTTransformer2DModel"}}),
        {"ho2020ddpm", "vonplaten2022diffusers", "peebles2023dit"},
    ),
    (
        model(**FOREIGN, sources={"latent": {"value": "sample"}}),
        {"ho2020ddpm", "vonplaten2022diffusers", "rombach2022ldm"},
    ),
    (
        model(**FOREIGN | {"network": {"name": "UNet2DConditionModel"}}),
        {"ho2020ddpm", "vonplaten2022diffusers", "rombach2022ldm"},
    ),
    (model() | {"estimator": {"controls": [{"name": "any"}]}}, {"ho2020ddpm", "owen2013mc"}),
    (model() | {"data": {"name": "digits"}}, {"ho2020ddpm", "alpaydin1998digits"}),
    (model() | {"data": {"name": "mnist:some/where:test"}}, {"ho2020ddpm", "lecun1998mnist"}),
    (
        model(family="categorical") | {"training": {"objective": "simple"}},
        {"austin2021d3pm", "ho2020ddpm"},
    ),
    (model() | {"training": {"objective": "hybrid"}}, {"ho2020ddpm", "nichol2021iddpm"}),
    (model() | {"training": {"times": "importance"}}, {"ho2020ddpm", "nichol2021iddpm"}),
    (
        {"schema": "nelbo.derivation/1", "model": None, "data": None},
        {"ho2020ddpm", "burda2016iwae"},
    ),
    (
        {"a": model(), "b": model(family="categorical")},
        {"ho2020ddpm", "austin2021d3pm"},
    ),
    (
        {"after_minus_before": {"a": model(improved={"steps": [1]}), "b": model()}},
        {"ho2020ddpm", "bao2022analytic", "bao2022imperfect"},
    ),
]


def read(text):
    """{key: {field: value}} of BibTeX, by counting braces; nothing of it may be left over."""
    entries, rest = {}, re.sub(r"^%.*$", "", text, flags=re.M).strip()
    while rest:
        head = re.match(r"@(\w+)\{(\w+),", rest)
        assert head, rest[:60]
        depth, place = 1, head.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(rest[place], 0)
            place += 1
        body, rest = rest[head.end() : place - 1], rest[place:].strip()
        assert head[2] not in entries
        entries[head[2]] = {"kind": head[1], **_fields(body)}
    return entries


def _fields(body):
    fields = {}
    while body.strip(" ,\n"):
        name = re.match(r"[\s,]*(\w+) = \{", body)
        assert name, body
        depth, place = 1, name.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(body[place], 0)
            place += 1
        assert name[1] not in fields
        fields[name[1]], body = body[name.end() : place - 1], body[place:]
    return fields


def test_the_references_are_bibtex_in_order_and_ascii():
    """Kills: a brace or comma lost, a key used twice, an entry without who, what and when."""
    entries = read(REFERENCES)
    assert list(entries) == sorted(entries)
    assert REFERENCES.isascii()
    assert len(entries) == REFERENCES.count("@")
    for key, entry in entries.items():
        assert {"author", "title", "year"} <= set(entry), key
        assert {"eprint", "doi", "url", "journal"} & set(entry), key
        assert entry["year"] in key
        family = re.split(r"[ ,]", entry["author"].removeprefix("von "))[0]
        assert key.removeprefix("von").startswith(re.sub(r"[^a-z]", "", family.lower()))


def test_a_preprint_is_not_younger_than_its_paper():
    """Kills: two identifiers swapped between papers of different years."""
    for key, entry in read(REFERENCES).items():
        if "eprint" in entry:
            assert re.fullmatch(r"\d{4}\.\d{5}", entry["eprint"]), key
            assert 0 <= int(entry["year"]) - 2000 - int(entry["eprint"][:2]) <= 1, key


@pytest.mark.parametrize(("result", "expected"), CASES)
def test_a_choice_leads_to_its_entry_and_to_no_other(result, expected):
    """Kills: a reference forgotten, or given for what was not used."""
    assert set(read(bibtex(result))) == expected | ALWAYS | {"nelbo"}


def test_every_reference_is_due_for_some_result():
    """Kills: an entry that nothing leads to, a reason whose entry is not there."""
    due = {key for result, _ in CASES for key, _ in reasons(result)}
    assert due == set(read(REFERENCES))


def test_equal_results_give_equal_bytes_and_every_reason_once():
    """Kills: an order that depends on that of the result's keys, a reason told twice."""
    changed = PLAIN | {"steps": 50, "variance": "learned-range"}
    other_order = dict(reversed(changed.items()))
    text = bibtex({"model": changed})
    assert text == bibtex({"a": {"model": other_order}, "b": {"model": changed}})
    assert "\n% the learned variance; the chain of some of the steps\n@" in text


def test_its_own_entry_is_that_of_the_citation_file():
    """Kills: a title, author or version that CITATION.cff no longer has."""
    own = read(bibtex(model()))["nelbo"]
    file = (ROOT / "CITATION.cff").read_text()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'title: "{own["title"]}"' in file
    assert f"  - name: {own['author'].strip('{}')}\n" in file
    assert f"version: {own['version']}\n" in file
    assert own["version"] == version
    older = bibtex(model() | {"environment": {"nelbo": "0.0.9"}})
    assert read(older)["nelbo"]["version"] == "0.0.9"


def test_results_and_runs_are_cited_as_they_are(nelbo, run, vdm_run, tmp_path):
    """Kills: a key of a result misread, training left out, the data's reference lost."""
    made = tmp_path / "result.json"
    assert nelbo("evaluate", run, "--budget", 2000, "--json", made)[0] == 0
    code, out, err = nelbo("cite", made)
    assert (code, err) == (0, "")
    keys = {"ho2020ddpm", "austin2021d3pm", "kingma2021vdm", "alpaydin1998digits", "owen2013mc"}
    assert set(read(out)) == keys | ALWAYS | {"nelbo"}
    assert read(nelbo("cite", run)[1]) == {k: x for k, x in read(out).items() if k != "owen2013mc"}
    assert "salimans2022distillation" in read(nelbo("cite", vdm_run)[1])
    assert nelbo("derive", "--json", tmp_path / "lines.json")[0] == 0
    assert "burda2016iwae" in read(nelbo("cite", tmp_path / "lines.json")[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("{", "is no JSON"),
        ("[]", "is no result: its schema is None"),
        (json.dumps({"schema": "nelbo.inspection/1"}), "its schema is nelbo.inspection/1"),
    ],
)
def test_what_is_no_result_is_refused_in_a_line(text, message, nelbo, tmp_path):
    """Kills: a traceback, or an empty bibliography, for a file that is not a result."""
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    code, out, err = nelbo("cite", path)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
