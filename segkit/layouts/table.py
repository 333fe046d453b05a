"""A table of pairs: CSV, TSV or JSON lines with the columns image, mask and perhaps split, group."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from segkit.errors import SettingsError
from segkit.io import Row, read_manifest
from segkit.io.sniff import as_read_error
from segkit.layouts.found import FoundCase, FoundDataset
from segkit.layouts.listing import pictures_in, read_json

NAME = "table of pairs"
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")


def find(root: Path) -> FoundDataset | None:
    """Such a file, or a folder with one: manifest.* before others.

    Raises
    ------
    SettingsError
        A folder with several tables, none of them called manifest.
    """
    if root.is_dir():
        tables = _tables(root)
        if not tables:
            return None
        return _read(root, tables[0])
    return _read(root, root) if root.suffix.lower() in ENDINGS else None


def _tables(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    except OSError as error:
        raise as_read_error(error, folder) from error
    manifests = [file for file in files if file.stem.lower() == "manifest"] or [file for file in files if _is_of_pairs(file)]
    if len(manifests) > 1:
        raise SettingsError(f"{folder}: holds {len(manifests)} tables of pairs ({', '.join(file.name for file in manifests[:3])}); name one of them")
    return manifests


def _is_of_pairs(file: Path) -> bool:
    """Whether the first line names both columns; other tables lie in folders of pictures too."""
    try:
        with open(file, encoding="utf-8-sig") as lines:
            first = lines.readline(65536)
    except (OSError, UnicodeDecodeError):
        return False
    if file.suffix.lower() in (".jsonl", ".ndjson"):
        try:
            record = json.loads(first)
        except json.JSONDecodeError:
            return False
        return isinstance(record, dict) and {"image", "mask"} <= record.keys()
    cells = {cell.strip().strip('"') for cell in first.split("\t" if file.suffix.lower() == ".tsv" else ",")}
    return {"image", "mask"} <= cells


def _read(root: Path, path: Path) -> FoundDataset:
    rows = read_manifest(path)
    pairs = [(row, row.mask) for row in rows if row.mask is not None]
    cases = [FoundCase((row.image,), (mask,), row.group or "", split=row.split) for row, mask in pairs]
    lonely = tuple(row.image for row in rows if row.mask is None)
    if not cases:
        raise SettingsError(f"{path}: none of its {len(rows)} rows has a mask; give a column mask with the names of files")
    labels, ignore = _labels(path.parent / "labels.json")
    notes = (
        *([f"rows of {path.name}"] if root.is_dir() else []),
        *_unlisted(rows),
        *([] if labels is None else ["labels.json names the classes"]),
    )
    return FoundDataset(root, NAME, tuple(cases), labels, ignore, notes=notes, unpaired_images=lonely)


def _unlisted(rows: Sequence[Row]) -> Iterator[str]:
    """A word about pictures that lie beside those of the table and stand in none of its rows."""
    listed = {os.path.normpath(path) for row in rows for path in (row.image, row.mask) if path is not None}
    folders = {row.image.parent for row in rows}
    beside = [path for folder in folders if folder.is_dir() for path in pictures_in(folder, recursive=False) if os.path.normpath(path) not in listed]
    if beside:
        yield f"{len(beside)} pictures beside those of the table stand in no row of it, such as {min(beside).name}"


def _labels(path: Path) -> tuple[dict[str, int] | None, int | None]:
    """``{"labels": {"background": 0, "nerve": 1}, "ignore": 255}`` beside a table, as `segkit check --fix` writes it."""
    if not path.is_file():
        return None, None
    told = read_json(path)
    labels = told.get("labels") if isinstance(told, dict) else None
    ignore = told.get("ignore") if isinstance(told, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(value, int) for value in labels.values()) or not isinstance(ignore, int | None):
        raise SettingsError(f'{path}: expected {{"labels": {{"background": 0, "nerve": 1}}, "ignore": 255}} with whole numbers; correct it or take it out')
    return {str(name): value for name, value in labels.items()}, ignore
