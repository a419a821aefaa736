"""Files that are whole or absent: temporary name, sync, rename, sync of the folder."""

import os
import tempfile
from pathlib import Path

from nelbo.errors import BadInput

__all__ = ["new_folder", "write"]


def write(path: str | Path, content: bytes) -> Path:
    """Writes the file so that a reader sees the old content or the new, never a part.

    Raises:
        OSError: the disk refuses; the file at path is then as it was, and no litter is left.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


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
