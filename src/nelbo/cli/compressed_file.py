"""A file that nelbo compress wrote, as commands read it and say what it is."""

from pathlib import Path

from nelbo.cli.outputs import deliver, kind_of
from nelbo.errors import printable

__all__ = ["content_of", "inspect_file", "is_compressed"]

LARGEST = 2**34  # bytes of a file that is read at once


def content_of(path: str | Path) -> bytes:
    """Its bytes.

    Raises:
        BadInput: it cannot be read, or is larger than any that is read at once.
    """
    from nelbo import files

    return files.read(path, LARGEST, "compressed file")


def is_compressed(path: str) -> bool:
    """Whether a file is one that `compress` made, by its first bytes."""
    try:
        return Path(path).is_file() and kind_of(Path(path)) == "archive"
    except OSError:
        return False


def inspect_file(path: str, json: str | None) -> None:
    """Says what a compressed file is; its model is not needed."""
    import json as form

    from nelbo.tasks.compress import described

    about = described(content_of(path), path)
    content = form.dumps(about, indent=1) + "\n"
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in about.items()]
    shown = content if json == "-" else "\n".join([path, *lines[1:]]) + "\n"
    deliver(
        lambda: print(printable(shown, lines=True), end=""),
        (json, content.encode),
        stdout=json != "-",
    )
