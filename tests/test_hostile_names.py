"""Names with newlines, escapes and markup are text, from every command."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import small_recipe, toml
from nelbo import checkpoint
from nelbo.checkpoint import Checkpoint

HOSTILE = "x\nFORGED\x1b[2J\u202e$\\frac$[bold]%s}{_"
FEW = ("--max-images", "4", "--budget", "60")


@pytest.fixture(scope="module")
def there(run, tmp_path_factory):
    """A folder with a run and data of that name; the run's recipe has it, and a tag, for a name."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / HOSTILE).mkdir()
    stored = checkpoint.load(run / "model.safetensors")
    about = json.loads(json.dumps(stored.description))
    about["recipe"]["name"] = f"{HOSTILE}</script><script>alert(1)</script>"
    checkpoint.save(folder / HOSTILE / "model.safetensors", Checkpoint(stored.tensors, about))
    data = folder / f"data {HOSTILE}"
    data.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(17, size=(8, 8, 8))):
        Image.fromarray((15 * pixels).astype(np.uint8)).save(data / f"{number}{HOSTILE}.png")
    np.save(folder / "data.npy", np.zeros((8, 1, 8, 8), dtype=np.uint8))
    (folder / "data.npy").rename(folder / f"{HOSTILE}.npy")
    return folder


COMMANDS = {
    "nelbo": [],
    "evaluate": ["evaluate", HOSTILE, "--data", f"{HOSTILE}.npy", *FEW, "--json", "r.json",
                 "--per-image", "i.csv", "--plots", "p"],
    "evaluate --json -": ["evaluate", HOSTILE, "--data", f"{HOSTILE}.npy", *FEW, "--json", "-"],
    "evaluate a folder": ["-v", "evaluate", HOSTILE, "--data", f"data {HOSTILE}", *FEW],
    "compare": ["compare", HOSTILE, HOSTILE, "--data", f"{HOSTILE}.npy", *FEW, "--json", "c.json"],
    "report": ["report", "r.json", "--per-image", "i.csv", "-o", "r.html"],
    "report several": ["report", "r.json", "r.json", "-o", "c.html"],
    "derive": ["derive", HOSTILE, "--data", f"{HOSTILE}.npy", "--images", "1", "--paths", "2",
               "--steps", "2", "--html", "d.html"],
    "inspect": ["inspect", HOSTILE],
    "cite": ["cite", HOSTILE],
    "cite a result": ["cite", "r.json"],
    "sample": ["sample", HOSTILE, "-n", "2", "--steps", "2", "-o", "s.png"],
    "improve": ["improve", HOSTILE, "--data", f"{HOSTILE}.npy", "--held-out", "0.5", *FEW,
                "--steps", "2", "-o", f"{HOSTILE} better", "--json", "b.json"],
    "train": ["train", f"{HOSTILE}.toml", "-o", f"trained {HOSTILE}"],
    "a schema": ["cite", "schema.json"],
    "a misspelt option": ["evaluate", HOSTILE, f"--{HOSTILE}"],
    "a misspelt command": [HOSTILE],
    "a key": ["train", "digits", "--set", f"{HOSTILE}.a=1"],
    "a value": ["train", "digits", "--set", f"chain.schedule.name={HOSTILE}"],
    "a device": ["evaluate", HOSTILE, "--device", HOSTILE],
    "a class": ["inspect", "foreign"],
}  # fmt: skip


def test_a_hostile_name_is_text_from_every_command(nelbo, there, monkeypatch):
    """Kills: a name that forges a line, clears the screen, turns text round or is a tag."""
    monkeypatch.chdir(there)
    text = toml(small_recipe().model_dump()).replace(
        'name = "digits"', f"name = {json.dumps(HOSTILE)}", 1
    )
    (there / f"{HOSTILE}.toml").write_text(text, encoding="utf-8")
    (there / "schema.json").write_text(json.dumps({"schema": HOSTILE}))
    shutil.rmtree(there / "foreign", ignore_errors=True)
    (there / "foreign").mkdir()
    index = {"_class_name": HOSTILE, "unet": ["diffusers", HOSTILE], HOSTILE: [HOSTILE, HOSTILE]}
    (there / "foreign" / "model_index.json").write_text(json.dumps(index))
    failed = []
    for name, command in COMMANDS.items():
        code, out, err = nelbo(*command)
        hidden = [c for c in ("\x1b", "\u202e") if c in out + err]
        forged = any(line.startswith("FORGED") for line in (out + err).splitlines())
        if hidden or forged or "Traceback" in err or code not in (0, 2):
            failed.append((name, code, hidden, forged, out[-300:], err[-600:]))
    assert not failed
    for page in there.glob("*.html"):
        assert "<script>alert(1)" not in page.read_text(), page
