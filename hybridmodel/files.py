"""Writing files so that a crash leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` into the file `path` all at once: new file beside it, fsync, rename.

    A file already there keeps its content until the rename, and altogether if anything fails.
    Raises FileNotFoundError where the folder does not exist.
    """
    target = Path(path).resolve()  # through a link, so that the link itself survives
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target.name!r}: {target.parent} is not a folder")
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with open(fresh, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the platform can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
