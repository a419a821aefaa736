"""Every command, script, table and message that the documentation shows is run, read or found."""

import ast
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

import nelbo as package
from conftest import VDM, changed, toml
from nelbo import recipe as recipes
from nelbo.model import parts

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
QUICK = {
    "classify": ("--max-images", 6, "--most", 8),
    "rank": ("--max-images", 12, "--first", 8, "--again", 8),
    "evaluate": ("--budget", 128, "--max-images", 16),
    "compare": ("--budget", 256, "--max-images", 16),
    "compress": ("--max-images", 6),
    "improve": ("--budget", 256, "--max-images", 6),
    "report": ("--samples", 0),
    "sample": ("--steps", 5),
}
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
RUN, READ = ("python", "sh", ""), ("toml", "text")
NOT_RUN = {
    "make": "a target of the Makefile: the suite itself, or minutes of training",
    "torchrun": "two processes, which tests/estimation and tests/tasks start themselves",
    "source": "the shell's own",
    "nelbo demo": "minutes; tests/test_cli.py runs it on a small recipe",
}
"""What a block may show and this file does not run, by how its line begins, and why."""


@dataclass(frozen=True)
class Block:
    """A block of code, or an indented one of the README; `excuse` says why it is not run."""

    language: str
    text: str
    excuse: str = ""

    def __iter__(self):
        """The commands, without prompts, comments and empty lines."""
        lines = (line.removeprefix("$ ") for line in self.text.splitlines())
        return (line for line in lines if shlex.split(line, comments=True))


def blocks(page):
    """The blocks of a page; only the README has indented ones."""
    text = page.read_text()
    fenced = r"^(?:<!-- not run: (.+?) -->\n)?```(\w*)\n(.*?)^```$"
    results = [Block(m[2], m[3], m[1] or "") for m in re.finditer(fenced, text, re.M | re.S)]
    if page.name == "README.md":
        outside = re.sub(fenced, "", text, flags=re.M | re.S)
        indented = re.findall(r"(?<=\n\n)((?: {4}.*\n)+)", outside)
        results += [Block("sh", re.sub("^ {4}", "", x, flags=re.M)) for x in indented]
    return results


def is_shell(block):
    return block.language in ("sh", "") and not block.excuse


def excuse(line):
    """Why the line is not run; None where it is."""
    return next((why for start, why in NOT_RUN.items() if line.startswith(f"{start} ")), None)


def commands(page):
    """The arguments of every `nelbo` that a page shows."""
    lines = [line for block in blocks(page) if is_shell(block) for line in block]
    return [shlex.split(line, comments=True)[1:] for line in lines if excuse(f"{line} ") is None]


def python(page):
    """The code blocks of a page as one script: later ones go on from earlier ones."""
    return "\n".join(block.text for block in blocks(page) if block.language == "python")


PLAN = next(block.text for block in blocks(DOCS / "plans.md") if block.language == "toml")
"""The plan of the page of plans, which its commands measure, with a small budget."""


@pytest.fixture
def elsewhere(run, vdm_run, class_run, tmp_path, monkeypatch):
    """A folder with what the pages take for granted: three runs, a pipeline, pictures, a twin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nelbo.tasks.improve.IMAGES", 30)  # of 300: 75,000 calls
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs" / "demo")
    shutil.copytree(vdm_run, tmp_path / "runs" / "digits-vdm")
    shutil.copytree(class_run, tmp_path / "runs" / "digits-classes")
    layers = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    network = UNet2DModel(4, 1, 1, block_out_channels=(8,), norm_num_groups=4, **layers)
    DDPMPipeline(network, DDPMScheduler(20, beta_end=0.3)).save_pretrained(tmp_path / "my-ddpm")
    (tmp_path / "my-images").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(256, size=(24, 4, 4))):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "my-images" / f"{number}.png")
    (tmp_path / "my-test-images").mkdir()
    for number, pixels in enumerate(np.random.default_rng(1).integers(256, size=(8, 4, 4))):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "my-test-images" / f"{number}.png")
    page = blocks(DOCS / "measuring-your-model.md")
    function = next(block.text for block in page if "def my_model" in block.text)
    (tmp_path / "my_model.py").write_text(function)
    shutil.copy(ROOT / "tests" / "golden" / "twin.safetensors", tmp_path)
    (tmp_path / "plan.toml").write_text(PLAN.replace("precision = 0.02", "budget = 64"))
    return tmp_path


def quick(arguments, folder):
    """The same command, with less to do: small budgets, and small recipes of the same name."""
    if arguments[0] == "train" and arguments[1] in recipes.names():
        small = VDM if arguments[1] == "digits-vdm" else {"network.width": 8, "training.steps": 2}
        path = folder / f"small-{arguments[1]}.toml"
        path.write_text(toml(changed(arguments[1], small).model_dump()))
        output = () if "-o" in arguments else ("-o", f"runs/{arguments[1]}")
        return [arguments[0], str(path), *arguments[2:], *output]
    if "--plan" in arguments:  # which says how much is evaluated
        return arguments
    if "--orders" in arguments:
        return [*arguments, "--max-images", 2]
    if "--order" in arguments or "--part" in arguments:  # every t, so without a budget
        return [*arguments, "--max-images", 4]
    if arguments[:2] == ["sample", "runs/text-ar"]:  # whose chain has one step
        return arguments
    if {"--ode", "--ode-against-bound"} & set(arguments):
        steps = [] if "rk45" in arguments else ["--steps", 6]  # which it chooses itself
        return [*arguments, "--max-images", 3, "--precision", 9, *steps]
    return [*arguments, *QUICK.get(arguments[0], ())]


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page, nelbo, elsewhere):
    """Kills: a command, option or folder that is shown and is not there."""
    for arguments in commands(page):
        code, _, err = nelbo(*quick(arguments, elsewhere))
        assert code == 0, f"{shlex.join(arguments)}: {err}"


@pytest.mark.parametrize("page", [p for p in PAGES if python(p)], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, elsewhere):
    """Kills: a name, argument or law of a page that no longer holds."""
    with torch.random.fork_rng():
        exec(compile(python(page), str(page), "exec"), {"__name__": page.stem})


def test_every_block_is_run_or_read_or_says_why_not():
    """Kills: a block in a language that nothing looks at, a command passed over in silence."""
    seen = [(page.name, block) for page in PAGES for block in blocks(page)]
    assert {block.language for _, block in seen} <= {*RUN, *READ}
    for name, block in seen:
        assert block.excuse or "not run" not in block.text
        for line in block if is_shell(block) else ():
            assert line.startswith("nelbo ") or excuse(f"{line} "), f"{name}: {line}"
    excused = [(name, block.excuse) for name, block in seen if block.excuse]
    assert excused == [
        ("recipes.md", "the images are not part of the project"),
        ("reproducing.md", "a download of the checkpoint and of CIFAR-10, and a GPU"),
        ("text.md", "tests/formats/test_masked_lm.py does so on a folder that transformers writes"),
    ]
    indented = [page.name for page in PAGES[1:] if re.search(r"\n\n {4}nelbo ", page.read_text())]
    assert not indented, "fence it, so that it is seen"


def test_pages_with_python_are_collected():
    assert {page.stem for page in PAGES if python(page)} >= {
        *("README", "index", "measuring-your-model", "extending", "conventions", "comparing"),
        *("densities", "paths", "reproducing", "report", "plans"),
    }


@pytest.fixture(autouse=True)
def words_as_they_were():
    """What a page or an example registers is a word in it alone."""
    registries = (parts.SCHEDULES, parts.PARAMETRIZATIONS, parts.DECODERS)
    before = [dict(registry) for registry in registries]
    yield
    for registry, words in zip(registries, before, strict=True):
        registry.clear()
        registry.update(words)


TABLES = [
    (page.stem, block.text)
    for page in PAGES
    for block in blocks(page)
    if block.language == "toml" and not block.excuse and block.text != PLAN
]


@pytest.mark.parametrize(("page", "text"), TABLES, ids=lambda x: x if "\n" not in x else "")
def test_a_piece_of_a_recipe_fits_into_one_of_the_package(page, text):
    """Kills: a key of a recipe that is shown and is refused."""
    fits = []
    for name in recipes.names():
        tree = recipes.read(name).model_dump()
        for table, values in tomllib.loads(text).items():
            tree[table] = {**tree[table], **values}
        try:
            fits.append(recipes.Recipe.model_validate(tree))
        except ValueError:
            continue
    assert fits, f"{page}: no recipe takes this"


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda e: e.stem)
@pytest.mark.filterwarnings("default")  # Lightning's advice on loaders and cores
def test_an_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(example), "--smoke"])
    with torch.random.fork_rng():
        runpy.run_path(str(example), run_name="__main__")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages as `make docs` makes them, where a warning is an error."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(place)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    made = subprocess.run(
        command, cwd=ROOT, check=True, timeout=300, env=env, capture_output=True, text=True
    )
    assert (made.stdout, made.stderr) == ("", "")
    return place


def test_the_site_refers_to_no_other_host(site):
    """What a browser fetches by itself is beside the pages: scripts, styles, pictures, fonts.

    Kills: a web font, a script from a CDN, a link to a renderer of formulas. Links to click on, and
    the canonical names of XML, are fetched by nobody.
    """
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 25
    fetched = re.compile(
        r"<(?:script|img|iframe|source|video|audio|embed|object|track|image|use)\b[^>]*?"
        r"\b(?:src|srcset|href|data|xlink:href)=[\"']?((?:https?:)?//[^\"'\s>]+)"
        r"|<link\b[^>]*?\bhref=[\"']?((?:https?:)?//[^\"'\s>]+)",
        re.I,
    )
    for page in pages:
        assert not fetched.findall(page.read_text()), page.name
    for style in site.rglob("*.css"):
        text = style.read_text()
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", text), style.name


def test_links_within_the_site_lead_to_files(site):
    """Kills: a script, style or search index that the pages ask for and that is not built."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links begin at the root of a server
            continue
        for link in re.findall(
            r"<(?:script|link)\b[^>]*?(?:src|href)=\"([^\"#?]+)", page.read_text()
        ):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    assert (site / "search" / "search_index.js").exists()


def test_formulas_are_drawn_by_the_browser(site):
    """Kills: a formula left as TeX, or one that needs a script."""
    for name in ("derivation.html", "index.html"):
        text = (site / name).read_text()
        assert "$$" not in text
        assert "<math" in text
    lines = re.findall(r"^\$\$$", (DOCS / "derivation.md").read_text(), re.M)
    assert (site / "derivation.html").read_text().count("<math") == len(lines) // 2


def test_the_reference_has_every_public_name(site):
    """Kills: a public name that no page of the reference has."""
    text = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    homes = {name: f"{home}.{name}" for name, home in vars(package)["_HOME"].items()}
    names = set(re.findall(r'id="(nelbo\.[\w.]+)"', text))
    for name in package.__all__:
        if name in vars(package)["_MODULES"]:
            continue
        place = getattr(package, name)
        assert {homes[name], f"{place.__module__}.{place.__qualname__}"} & names, name


def test_a_docstring_becomes_markdown():
    """Kills: the arguments of a docstring run together, a star of a shape read as emphasis."""
    sys.path.insert(0, str(DOCS / "hooks"))
    try:
        from docstrings import as_markdown
    finally:
        sys.path.pop(0)
    text = (
        "q: a chain, (B, *dims).\n\na: one\n    and more.\nb, c: two.\n\nRaises:\n    E: a * b.\n"
    )
    assert as_markdown(text) == (
        "q: a chain, (B, \\*dims).\n\n\n- `a`: one\n    and more.\n\n- `b, c`: two.\n\n"
        "Raises:\n    E: a * b.\n"
    )


def test_the_links_of_the_readme_lead_to_files():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


ERRORS = ("BadInput", "NonFinite", "Stopped")


def template(node):
    """A text of the source with … for what it names."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    return "…"


def texts(path):
    """(all texts of a module, the messages that it raises itself)."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    calls = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") in ERRORS]
    whole = [template(n) for n in nodes if isinstance(n, ast.Constant | ast.JoinedStr)]
    return whole, [template(call.args[0]) for call in calls if call.args]


def occurs(message, text):
    """Whether the parts of the message between … are in the text, in their order."""
    place = 0
    for part in message.split("…"):
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def letters(message):
    return len(re.sub(r"\W", "", message.replace("…", "")))


MESSAGES = re.findall(r"^`([^`\n]+)`$", (DOCS / "troubleshooting.md").read_text(), re.M)


@pytest.fixture(scope="module")
def sources():
    """The texts of every module: read where a test needs them, since each worker collects."""
    paths = sorted((ROOT / "src").rglob("*.py"))
    return {str(path.relative_to(ROOT)): texts(path) for path in paths}


def test_the_messages_of_the_page_are_those_of_the_source(sources):
    """Kills: a message on the page that nothing says any longer."""
    everything = [text for whole, _ in sources.values() for text in whole if letters(text) > 5]
    gone = [m for m in MESSAGES if not any(occurs(m, text) for text in everything)]
    assert not gone
    assert len(MESSAGES) == len(set(MESSAGES)) > 300


def test_every_message_of_the_source_is_on_the_page(sources):
    """Kills: an error without a cause on the page (one without words of its own has a helper's)."""
    long = [message for message in MESSAGES if letters(message) > 5]
    missing = [
        f"{name}: {text}"
        for name, (_, raised) in sources.items()
        for text in raised
        if letters(text) > 12 and not any(occurs(message, text) for message in long)
    ]
    assert not missing, "put each into docs/troubleshooting.md, with its cause"
