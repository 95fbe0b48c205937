"""A folder is complete or absent, and nothing of the user's is ever lost in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hybridmodel import HybridModel
from hybridmodel.export import export, folder, functions
from hybridmodel.export.folder import complete_or_absent
from physics import Pendulum


def fill(directory: Path, **files: str) -> None:
    with complete_or_absent(directory, {"target": "c"}) as folder:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")


def content(directory: Path) -> dict[str, str]:
    return {p.name: p.read_text(encoding="utf-8") for p in directory.iterdir()}


def test_the_record_names_all_files(tmp_path: Path) -> None:
    fill(tmp_path / "out", one="1", two="2")
    record = json.loads(content(tmp_path / "out").pop("export.json"))
    assert record["target"] == "c"
    assert sorted(record["files"]) == ["one", "two"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]  # nothing is left beside it


def test_a_failure_leaves_nothing_or_the_old_export(tmp_path: Path) -> None:
    def half() -> None:
        with complete_or_absent(tmp_path / "out", {}) as folder:
            (folder / "half").write_text("1", encoding="utf-8")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        half()
    assert not list(tmp_path.iterdir())
    fill(tmp_path / "out", whole="1")
    before = content(tmp_path / "out")
    with pytest.raises(RuntimeError, match="in the middle"):
        half()
    assert content(tmp_path / "out") == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_unchanged_export_is_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "out", old="1", both="1")
    fill(tmp_path / "out", new="2", both="2")
    assert content(tmp_path / "out").keys() == {"new", "both", "export.json"}
    assert content(tmp_path / "out")["both"] == "2"


@pytest.mark.parametrize("kind", ["foreign", "changed", "no export", "file", "link", "damaged"])
def test_what_is_not_ours_stops_it(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind in ("foreign", "changed", "damaged"):
        fill(out, ours="1")
        name = {"foreign": "notes.txt", "changed": "ours", "damaged": "export.json"}[kind]
        (out / name).write_text("mine", encoding="utf-8")
    elif kind == "no export":
        out.mkdir()
        (out / "notes.txt").write_text("mine", encoding="utf-8")
    elif kind == "file":
        out.write_text("mine", encoding="utf-8")
    else:
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    before = out.read_text(encoding="utf-8") if kind == "file" else content(out)
    message = {
        "foreign": "'notes.txt' is not of the export in",
        "changed": "'ours' was changed since",
        "no export": "holds 'notes.txt' and is no earlier export; give a new folder",
        "file": "is a file or a link, wanted a folder",
        "link": "is a file or a link, wanted a folder",
        "damaged": "is no earlier export",
    }[kind]
    with pytest.raises(FileExistsError, match=message):
        fill(out, new="2")
    assert (out.read_text(encoding="utf-8") if kind == "file" else content(out)) == before


def test_an_empty_folder_will_do_and_a_missing_parent_will_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out", new="1")
    with pytest.raises(FileNotFoundError, match="missing is not a folder"):
        fill(tmp_path / "missing" / "out", new="1")


def test_what_comes_in_meanwhile_is_not_lost(tmp_path: Path) -> None:
    def late() -> None:
        with complete_or_absent(tmp_path / "out", {}) as folder:
            (folder / "new").write_text("1", encoding="utf-8")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "notes").write_text("mine", encoding="utf-8")

    with pytest.raises(FileExistsError, match="notes"):
        late()
    assert content(tmp_path / "out") == {"notes": "mine"}


def test_an_export_that_fails_leaves_no_folder(tmp_path: Path, monkeypatch) -> None:
    def fails(*_: object, encoding: str) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(functions.Path, "write_text", fails)
    with pytest.raises(OSError, match="no space left"):
        export(HybridModel(Pendulum(), dt=0.1), tmp_path / "out", target="casadi")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_not_exchanged(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "out").mkdir()
    before = (tmp_path / "out").stat().st_ino
    monkeypatch.chdir(tmp_path / "out")
    export(HybridModel(Pendulum(), dt=0.1), ".", target="casadi", name="m")
    assert (tmp_path / "out").stat().st_ino == before
    assert Path("m_step.casadi").is_file()
    assert json.loads(Path("export.json").read_text(encoding="utf-8"))["target"] == "casadi"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(FileExistsError, match="is the working folder and holds an export; change"):
        export(HybridModel(Pendulum(), dt=0.1), ".", target="casadi", name="n")
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "out", new="2")
    assert content(tmp_path / "out").keys() == {"new", "export.json"}


def test_a_file_that_does_not_go_in_leaves_the_folder_empty(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "out").mkdir()
    replace, calls = os.replace, []

    def fails(source: Path, target: Path) -> None:
        calls.append(Path(target).name)
        if len(calls) == 3:
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(folder.os, "replace", fails)
    with pytest.raises(OSError, match="no space left"):
        fill(tmp_path / "out", one="1", two="2")
    assert calls == ["one", "two", "export.json"], "the record goes last"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").iterdir())


def test_the_old_export_survives_where_it_cannot_be_put_back(tmp_path: Path, monkeypatch) -> None:
    fill(tmp_path / "out", whole="1")
    replace = os.replace

    def fails(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "out":
            raise OSError("no way in")
        replace(source, target)

    monkeypatch.setattr(folder.os, "replace", fails)
    with pytest.raises(OSError, match="no way in"):
        fill(tmp_path / "out", new="2")
    [kept] = tmp_path.iterdir()
    assert content(kept)["whole"] == "1"


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_foreign_whatever_the_record_says(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "thesis").mkdir()
    if kind == "folder":
        (out / "sub").mkdir()
        (out / "sub" / "thesis.txt").write_text("mine", encoding="utf-8")
    else:
        (out / "sub").symlink_to(tmp_path / "thesis")
    record = json.dumps({"files": {"sub": "no file"}})
    (out / "export.json").write_text(record, encoding="utf-8")
    with pytest.raises(FileExistsError, match="'sub' is not of the export in"):
        fill(out, new="2")
    assert (out / "sub").exists()
