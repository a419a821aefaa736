"""Arrow by a spec: `images.arrow`, or a folder of .arrow files as datasets saves it; options."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from nelbo.data.arrow import Table, read
from nelbo.data.arrow_files import ENDING
from nelbo.data.images import shown
from nelbo.data.options import options
from nelbo.errors import BadInput
from nelbo.typed_json import list_at, read_object, rows_at, text_at

__all__ = ["arrow_table", "without_options"]

KEYS = ("column", "labels")
STATE = "state.json"  # of a set that datasets saved: its files in their order
SHARD = re.compile(r"(?P<name>.*)-(?P<number>\d+)-of-(?P<count>\d+)\.arrow")
BESIDE = (ENDING, ".json", ".lock", ".md")  # what stands beside the shards of a set
INDICES = ("_indices_files", "_indices_data_files")


def without_options(spec: str) -> tuple[str, dict[str, str]]:
    """The path of a spec and its options, which are none where the spec itself is a path.

    Raises:
        BadInput: an unknown option of a .arrow file or a folder, or one twice.
    """
    path = spec.partition(",")[0]
    is_ours = path.endswith(ENDING) or os.path.isdir(os.path.expanduser(path))
    if os.path.exists(os.path.expanduser(spec)) or not is_ours:
        return spec, {}
    return options(spec, KEYS, "a .arrow file")


def _files(path: Path) -> list[Path]:
    """The Arrow files of a path: itself, or those of a folder in the order of their rows.

    Of a folder without .arrow files, none.

    Raises:
        BadInput: files whose order is not known, or some that are not there.
    """
    if path.is_file():
        return [path] if path.suffix == ENDING else []
    if not path.is_dir():
        return []
    there = sorted(each for each in path.glob(f"*{ENDING}") if not each.name.startswith("."))
    if not there:
        return []
    return _of_state(path) if (path / STATE).exists() else _of_names(path, there)


def _of_state(folder: Path) -> list[Path]:
    state = folder / STATE
    tree = read_object(state)
    try:
        names = [text_at(row, "filename") for row in rows_at(tree, "_data_files")]
        mixed = any(list_at(tree, key) for key in INDICES if tree.get(key) is not None)
    except (ValueError, KeyError) as error:
        raise BadInput(
            f"{shown(state)}: does not list the files of the set ({error}); save it again with "
            "save_to_disk of datasets"
        ) from None
    if mixed:
        raise BadInput(
            f"{shown(folder)}: its rows are chosen by indices beside them; save it again with "
            "flatten_indices() of datasets"
        )
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise BadInput(
                f"{shown(state)}: lists {shown(name)}, which is not in {shown(folder)}; copy all "
                "files of the set"
            )
    if len(set(names)) != len(names) or not names:
        raise BadInput(
            f"{shown(state)}: lists {len(names)} files, {len(set(names))} of them different; save "
            "it again with save_to_disk of datasets"
        )
    return [folder / name for name in names]


def _of_names(folder: Path, there: list[Path]) -> list[Path]:
    """One file, or all of a series NAME-00000-of-00002.arrow: others may be splits or caches."""
    others = [each.name for each in sorted(folder.iterdir()) if each.suffix not in BESIDE]
    others = [name for name in others if not name.startswith(".")]
    if others:
        raise BadInput(
            f"{shown(folder)}: holds .arrow files and also {shown(others[0])}; give one of them, "
            "or a folder with images of one kind"
        )
    if len(there) == 1 and not SHARD.fullmatch(there[0].name):
        return there
    parts = [match for path in there if (match := SHARD.fullmatch(path.name))]
    series = {(part["name"], int(part["count"])) for part in parts}
    numbers = sorted(int(part["number"]) for part in parts)
    if len(parts) != len(there) or len(series) != 1 or numbers != list(range(series.pop()[1])):
        raise BadInput(
            f"{shown(folder)}: holds {len(there)} .arrow files and no state.json, and they are no "
            f"whole series NAME-00000-of-0000N.arrow: give one of them, as {shown(there[0])}, or a "
            "folder that save_to_disk of datasets made"
        )
    return there


def arrow_table(path: Path, chosen: Mapping[str, str], *, labels: bool = False) -> Table | None:
    """The rows of an Arrow file or of a folder of them; None where there is none.

    Raises:
        BadInput: what `nelbo.data.arrow.read` refuses, or options of what is no Arrow.
    """
    files, where = _files(path), shown(path)
    if not files and chosen:
        raise BadInput(f"{where}: holds no .arrow file, whose options {' and '.join(KEYS)} are")
    column, label = chosen.get("column"), chosen.get("labels")
    return read(files, where, column=column, labels=labels, label=label) if files else None
