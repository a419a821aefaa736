"""One owner per run folder: a file that names it, which the owner alone holds locked.

The operating system lets go of the lock when its holder ends, however it ends, so that a dead
owner is never in the way.
"""

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nelbo.errors import BadInput
from nelbo.files import partial
from nelbo.stopping import held

__all__ = ["OWNER", "claimed", "made"]

OWNER = "owner.json"
PATIENCE = 2.0  # seconds in which an owner that has just taken the lock writes its name


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Makes the folder, owned from its first moment on; it is gone if nothing came into it.

    Raises:
        BadInput: something is there already, or it cannot be made.
    """
    with held():
        handle = _made(folder)
    try:
        with _holding(handle, folder):
            yield
    except BaseException:
        with suppress(OSError):  # it holds what --resume goes on with
            folder.rmdir()
        raise


def _made(folder: Path) -> int:
    """The handle on the owner file of a folder that is there from now on."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = partial(folder)
        temporary.mkdir()
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror}") from None
    try:
        handle = _locked(temporary)
        try:
            if folder.exists():
                raise FileExistsError
            temporary.rename(folder)  # fails where another has come first: its name is inside
        except OSError as error:
            os.close(handle)
            _refuse_owned(folder)
            if not isinstance(error, FileExistsError) and not os.path.lexists(folder):
                raise BadInput(f"cannot make the folder {folder}: {error.strerror}") from None
            raise BadInput(
                f"{folder} exists already and is left as it is: choose another folder, or "
                "go on with the run in it by --resume"
            ) from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return handle


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Owns a folder that is there, also after an owner that has died.

    Raises:
        BadInput: another process owns it; the message names its pid and host.
    """
    with _holding(_locked(folder), folder):
        yield


@contextmanager
def _holding(handle: int, folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        # while it is locked: who has opened it by now sees that it is gone
        (folder / OWNER).unlink(missing_ok=True)
        os.close(handle)


def _locked(folder: Path) -> int:
    """A handle on the folder's owner file, which now names this process."""
    path = folder / OWNER
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                name = {"pid": os.getpid(), "host": socket.gethostname()}
                os.pwrite(handle, json.dumps(name).encode(), 0)
                return handle
        except BlockingIOError:
            os.close(handle)
            _refuse_owned(folder)
            continue  # the owner has ended in the meantime
        except OSError as error:
            os.close(handle)
            raise OSError(error.errno, error.strerror, str(path)) from error
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one at the path, and not one that its owner removed."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _refuse_owned(folder: Path) -> None:
    """Refuses by the owner's name, if there is a living one."""
    until, before = time.monotonic() + PATIENCE, None
    while _is_locked(folder / OWNER):
        try:
            owner = json.loads((folder / OWNER).read_text("utf-8"))
        except (OSError, ValueError):
            owner = {"pid": "unknown", "host": "unknown"}
        # an owner that has just come after a dead one may not have written its name yet
        here = owner["host"] == socket.gethostname()
        named = _is_alive(owner["pid"]) if here else owner == before and owner["pid"] != "unknown"
        if named or time.monotonic() > until:
            raise BadInput(
                f"{folder} is being trained into by process {owner['pid']} on {owner['host']}: "
                "wait for it, or choose another folder"
            )
        before = owner
        time.sleep(0.05)


def _is_locked(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
