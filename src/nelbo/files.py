"""Files that go out and come in.

Written: whole or absent (temporary name, sync, rename, sync of the folder), or written through
where no regular file is meant. Read: plain files, no larger than they may be.
"""

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nelbo.errors import BadInput, closest
from nelbo.stopping import held

__all__ = [
    "append",
    "handle_of",
    "naming",
    "near",
    "new_folder",
    "partial",
    "read",
    "require_plain",
    "sweep",
    "sync",
    "whole_folder",
    "write",
]

PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.nelbo-part", re.DOTALL)
LINKS = 40  # of a chain of symbolic links, as Linux has it
MiB = 2**20


def partial(path: Path) -> Path:
    """A name of its own beside the path, under which it is written until it is whole."""
    return path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.nelbo-part"


def write(path: str | Path, content: bytes) -> Path:
    """Writes the file so that a reader sees the old content or the new, never a part.

    A symbolic link is followed. The mode is that of the file that was there, else as the umask has
    it. A device, a pipe or an open descriptor (/dev/stdout) is written through and never replaced.

    Raises:
        OSError: the disk refuses; the file at path is then as it was, or new and whole, and no
            litter is left. The error names the path and the bytes that are needed.
    """
    path = Path(path)
    with naming(path, len(content)):
        handle, before = handle_of(path), _stat(path)
        if handle is not None:
            _put(handle, content)
        elif before is not None and not stat.S_ISREG(before.st_mode):
            _through(path, content)
        else:
            _replace(Path(os.path.realpath(path)), content, before)
    return path


def append(path: str | Path, content: bytes) -> None:
    """Adds to the file's end, handing it to the operating system.

    Raises:
        OSError: the disk refuses; a part may have been added.
    """
    with naming(path, len(content)):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            _put(handle, content)
        finally:
            os.close(handle)


def sync(path: str | Path) -> None:
    """Waits until what was added to the file is on the disk.

    Raises:
        OSError: the disk refuses.
    """
    with naming(path, 0):
        _sync_at(Path(path))


def sweep(folder: str | Path, name: str = "") -> None:
    """Removes what killed writers of `name`, or of any file, left in a folder of no other writer.

    Nothing is touched but files whose name is one that `write` gives to a part.

    Raises:
        OSError: the disk refuses.
    """
    _, _, names = next(os.walk(folder), ("", [], []))
    for entry in names:
        part = PART.fullmatch(entry)
        if part and name in ("", part["name"]):
            (Path(folder) / entry).unlink(missing_ok=True)


def read(path: str | Path, most: int, what: str = "file") -> bytes:
    """The content of a plain file of at most so many bytes, which messages call `what`.

    Raises:
        BadInput: it cannot be read, is no plain file (a folder, a device, a pipe), or is larger.
    """
    try:
        require_plain(path)
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise BadInput(f"cannot read the {what} {path}: {error.strerror}") from None
    except ValueError:  # a zero byte in the name
        raise BadInput(f"cannot read the {what} {path}: no file has such a name") from None
    if len(content) > most:
        raise BadInput(
            f"cannot read the {what} {path}: it is larger than {most // MiB:,} MiB, which none is"
        )
    return content


def require_plain(path: str | Path) -> int:
    """The size of a plain file; checked before it is opened, since a pipe would block.

    Raises:
        BadInput: it is something else.
        OSError: nothing is there, or it cannot be looked at.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"{path} is no plain file but a device or a pipe: give a file")
    return status.st_size


def handle_of(path: str | Path) -> int | None:
    """The open descriptor of this process that the path stands for: 1 for /dev/stdout.

    Also where the path names the very file that stdout or stderr go into.
    """
    place = Path(os.path.abspath(path))
    for _ in range(LINKS):
        if place.name.isdecimal() and os.path.realpath(place.parent) == f"/proc/{os.getpid()}/fd":
            return int(place.name)
        if not place.is_symlink():
            break
        place = Path(os.path.abspath(place.parent / os.readlink(place)))
    status = _stat(place)
    if status is not None and stat.S_ISREG(status.st_mode):
        for number in (1, 2):
            with contextlib.suppress(OSError):
                if os.path.samestat(status, os.fstat(number)):
                    return number
    return None


@contextmanager
def naming(path: str | Path, needed: int) -> Iterator[None]:
    """An error that says which file, and how many bytes there must be room for."""
    try:
        yield
    except OSError as error:
        why = f"{error.strerror} ({needed:,} bytes)" if needed else error.strerror
        raise OSError(error.errno, why, str(path)) from error


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _replace(path: Path, content: bytes, before: os.stat_result | None) -> None:
    if path.is_symlink():  # a circle, which realpath leaves
        raise OSError(40, "Too many levels of symbolic links")
    temporary = partial(path)
    with held():
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                _put(handle, content)
                if before is not None:
                    _as_before(handle, before)
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_at(path.parent)


def _as_before(handle: int, before: os.stat_result) -> None:
    """The owner, where that is allowed, and the mode of the file that was there."""
    with contextlib.suppress(PermissionError):
        os.fchown(handle, before.st_uid, before.st_gid)
    os.fchmod(handle, stat.S_IMODE(before.st_mode))


def _through(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        _put(handle, content)
    finally:
        os.close(handle)


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
        raise _exists(path) from None
    except OSError as error:
        raise BadInput(f"cannot make the folder {path}: {error.strerror}") from None
    return path


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill, which is at the path when all is in it, and nowhere if filling it fails.

    Raises:
        BadInput: something is there already, or it cannot be made.
        OSError: the disk refuses.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise _exists(path)
    with held():
        temporary = new_folder(partial(path))
        try:
            yield temporary
            with naming(path, 0):
                for file in temporary.iterdir():
                    _sync_at(file)
                _sync_at(temporary)
                try:
                    temporary.rename(path)
                except OSError:
                    if os.path.lexists(path):  # another came first
                        raise _exists(path) from None
                    raise
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError) and error.filename is not None:
                error.filename = str(error.filename).replace(str(temporary), str(path))
            raise
        _sync_at(path.absolute().parent)


def _exists(path: Path) -> BadInput:
    return BadInput(
        f"{path} exists already and is left as it is: choose another folder or remove it"
    )


def near(path: str | Path) -> Path | None:
    """The file or folder that is there and whose name is most like that of one that is not.

    A link that leads nowhere has its name in the folder, and is not there.
    """
    path = Path(path)
    _, folders, others = next(os.walk(path.parent), ("", [], []))
    name = closest(path.name, {*folders, *others} - {path.name})
    return None if name is None else path.parent / name
