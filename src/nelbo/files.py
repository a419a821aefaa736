"""Files that are whole or absent: temporary name, sync, rename, sync of the folder."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nelbo.errors import BadInput, closest

__all__ = ["append", "near", "new_folder", "sweep", "sync", "write"]


def write(path: str | Path, content: bytes) -> Path:
    """Writes the file so that a reader sees the old content or the new, never a part.

    Raises:
        OSError: the disk refuses; the file at path is then as it was, or new and whole, and no
            litter is left. The error names the path and the bytes that are needed.
    """
    path = Path(path)
    with _naming(path, len(content)):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            try:
                _put(handle, content)
                os.fsync(handle)
            finally:
                os.close(handle)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_at(path.parent)
    return path


def append(path: str | Path, content: bytes) -> None:
    """Adds to the file's end, handing it to the operating system.

    Raises:
        OSError: the disk refuses; a part may have been added.
    """
    with _naming(path, len(content)):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            _put(handle, content)
        finally:
            os.close(handle)


def sync(path: str | Path) -> None:
    """Waits until what was added to the file is on the disk.

    Raises:
        OSError: the disk refuses.
    """
    with _naming(path, 0):
        _sync_at(Path(path))


def sweep(folder: str | Path, name: str = "") -> None:
    """Removes what killed writers of `name`, or of any file, left in a folder of no other writer.

    Raises:
        OSError: the disk refuses.
    """
    for path in Path(folder).glob(f".{name}.*" if name else ".*"):
        path.unlink(missing_ok=True)


@contextmanager
def _naming(path: str | Path, needed: int) -> Iterator[None]:
    """An error that says which file, and how many bytes there must be room for."""
    try:
        yield
    except OSError as error:
        why = f"{error.strerror} ({needed:,} bytes)" if needed else error.strerror
        raise OSError(error.errno, why, str(path)) from error


def _put(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _sync_at(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def new_folder(path: str | Path) -> Path:
    """Makes the folder, and is the only one that does: making it is the claim to it.

    Raises:
        BadInput: something is there already, or it cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except FileExistsError:
        raise BadInput(
            f"{path} exists already and is left as it is: choose another folder or remove it"
        ) from None
    except OSError as error:
        raise BadInput(f"cannot make the folder {path}: {error.strerror}") from None
    return path


def near(path: str | Path) -> Path | None:
    """The file or folder that is there and whose name is most like that of one that is not."""
    path = Path(path)
    _, folders, others = next(os.walk(path.parent), ("", [], []))
    name = closest(path.name, [*folders, *others])
    return None if name is None else path.parent / name
