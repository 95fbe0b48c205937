"""The folder of an export: complete or absent, and never in the way of files that are not ours.

A folder holds a record, export.json, of the files in it with their SHA-256. A folder that is
exactly what its record says is an earlier export, which a new one replaces; anything else in it
(a foreign file, one that was edited) is a reason to stop.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RECORD = "export.json"


@contextmanager
def complete_or_absent(directory: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """A fresh folder to fill; it takes its place under `directory` when the block ends well.

    Raises FileExistsError where `directory` holds anything but an unchanged earlier export, and
    FileNotFoundError where its parent is no folder.
    """
    place = Path(os.path.abspath(directory))
    if not place.parent.is_dir():
        raise FileNotFoundError(f"directory: {place.parent} is not a folder")
    refuse_foreign(place)
    fresh = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    fresh.mkdir()
    try:
        yield fresh
        files = {path.name: _digest(path) for path in sorted(fresh.iterdir())}
        record = json.dumps({**about, "files": files}, indent=2, ensure_ascii=False) + "\n"
        (fresh / RECORD).write_text(record, encoding="utf-8")
        for path in fresh.iterdir():
            _sync(path)
        refuse_foreign(place)  # something may have come in the meantime
        if not place.exists():
            os.replace(fresh, place)
        elif not any(place.iterdir()):
            _move_in(fresh, place)  # not in place of it: somebody may stand there
        else:
            _swap(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, place: Path) -> None:
    """The new folder in place of the old one, which goes only when the new one is there."""
    old = fresh.with_name(fresh.name + ".old")
    os.replace(place, old)
    try:
        os.replace(fresh, place)
    except BaseException:
        os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _move_in(fresh: Path, place: Path) -> None:
    """All files into an empty folder, the record last; out again where one does not go."""
    moved = []
    try:
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == RECORD):
            moved.append(place / path.name)
            os.replace(path, moved[-1])
    except BaseException:
        for path in moved:
            path.unlink(missing_ok=True)
        raise


def refuse_foreign(directory: Path) -> None:
    """FileExistsError unless the folder is absent, empty, or an earlier export as it was made.

    An export in the working folder, or in one above it, is not replaced either: whoever runs this
    would stand in a folder that is gone.
    """
    if not directory.exists() and not directory.is_symlink():
        return
    if directory.is_symlink() or not directory.is_dir():
        raise FileExistsError(f"directory: {directory} is a file or a link, wanted a folder")
    names = {path.name for path in directory.iterdir()}
    if not names:
        return
    try:
        files = dict(json.loads((directory / RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise FileExistsError(
            f"directory: {directory} holds {sorted(names)[0]!r} and is no earlier export; "
            "give a new folder or an empty one"
        ) from None
    odd = {path.name for path in directory.iterdir() if path.is_symlink() or not path.is_file()}
    foreign = sorted(odd | (names - {RECORD, *files}))
    changed = [n for n in sorted(names & set(files) - odd) if _digest(directory / n) != files[n]]
    for found, what in ((foreign, "is not of the export in"), (changed, "was changed since")):
        if found:
            raise FileExistsError(
                f"directory: {found[0]!r} {what} {directory}; move it away or give a new folder"
            )
    if Path.cwd().is_relative_to(directory.resolve()):
        raise FileExistsError(
            f"directory: {directory} is the working folder and holds an export; change to another "
            "folder to replace it, or give a new one"
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
