"""Which picture goes with which mask: from a table, or from two folders with the same names."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.errors import FormatError, PairingError, SettingsError
from segkit.io.files import is_named_like_a_picture, is_passed_over, stem
from segkit.io.sniff import as_read_error, open_file

COLUMNS = ("image", "mask", "split", "group")


@dataclass(frozen=True)
class Row:
    """One line of a manifest.

    Attributes
    ----------
    image, mask : files; a mask may be missing
    split : the part of the data that it belongs to, such as "train" or "test"
    group : the patient, or whatever must not lie on both sides of a split
    """

    image: Path
    mask: Path | None = None
    split: str | None = None
    group: str | None = None


def read_manifest(path: Path | str) -> list[Row]:
    """The rows of a .csv, .tsv or .jsonl file with a column `image`, and if wanted `mask`, `split` and `group`; others are left alone.

    Paths are relative to the folder of the manifest. Whether the pictures exist is found out when they are read.

    Raises
    ------
    SettingsError
        A column is missing or misspelt, a line has too few or too many fields, an image is left empty; no rows at all.
    PairingError
        An image stands in two rows.
    FormatError
        Not UTF-8, or an ending that is none of the three.
    EmptyFileError, VanishedError, DeniedError
        The manifest itself can't be read.
    """
    path = Path(path)
    readers = {".csv": _csv_records, ".tsv": _csv_records, ".jsonl": _jsonl_records, ".ndjson": _jsonl_records}
    if path.suffix.lower() not in readers:
        raise FormatError(f"{path}: a manifest ends in .csv, .tsv or .jsonl; save it as one of them")
    lines: dict[str, int] = {}
    rows = []
    for line, record in readers[path.suffix.lower()](_text(path), path):
        row = _row(record, f"{path}: line {line}", path.parent)
        key = os.path.normpath(row.image)
        if key in lines:
            raise PairingError(f"{path}: line {line}: column image: {row.image.name} stands in line {lines[key]} already; leave one of the two out")
        lines[key] = line
        rows.append(row)
    if not rows:
        raise SettingsError(f"{path}: has no rows; give one line for each picture")
    return rows


def choose_split(rows: Sequence[Row], split: str | None, name: Path | str) -> list[Row]:
    """The rows of a split, all of them for None; `SettingsError` that begins with `name` where no row has it."""
    if split is None:
        return list(rows)
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        known = sorted({row.split for row in rows if row.split})
        raise SettingsError(f"{name}: no row has split {split!r}; there are: {', '.join(known) or 'none'}")
    return chosen


def pair_folders(images: Path | str, masks: Path | str) -> list[Row]:
    """Pictures and masks of the same name in two folders; the endings may differ.

    Raises
    ------
    PairingError
        A picture without a mask, a mask without a picture, or two files of one name in a folder.
    SettingsError
        A folder without pictures.
    VanishedError, DeniedError
        A folder that can't be listed.
    """
    image_of, mask_of = _by_stem(Path(images)), _by_stem(Path(masks))
    lonely_images, lonely_masks = sorted(image_of.keys() - mask_of.keys()), sorted(mask_of.keys() - image_of.keys())
    if lonely_images or lonely_masks:
        told = [
            *([f"{len(lonely_images)} of {len(image_of)} pictures have no mask ({_few(lonely_images)})"] if lonely_images else []),
            *([f"{len(lonely_masks)} of {len(mask_of)} masks have no picture ({_few(lonely_masks)})"] if lonely_masks else []),
        ]
        raise PairingError(f"{images} and {masks}: {'; '.join(told)}; a pair has the same name but for the ending: rename them or take them out")
    return [Row(image_of[name], mask_of[name]) for name in sorted(image_of)]


def _text(path: Path) -> str:
    with open_file(path) as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path}: line {line}: is not UTF-8 text ({error.reason}); save the table as UTF-8") from error


def _csv_records(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _columns([cell.strip() for cell in next(reader, [])], path, delimiter)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise SettingsError(
                    f"{path}: line {reader.line_num}: has {len(cells)} fields, the header has {len(columns)} ({', '.join(columns)}); "
                    "put a name that holds the separator into double quotes"
                )
            yield reader.line_num, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise SettingsError(f"{path}: line {reader.line_num}: {error}; a double quote opens and closes a whole field") from error


def _columns(columns: list[str], path: Path, delimiter: str) -> list[str]:
    for name in columns:
        meant = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.75)
        if meant and name not in COLUMNS and meant[0] not in columns:
            raise SettingsError(f"{path}: line 1: unknown column {name!r}; did you mean {meant[0]}?")
    if "image" not in columns:
        others = " (is the separator another one?)" if len(columns) == 1 and any(mark in columns[0] for mark in ";,\t") else ""
        separator = "tabs" if delimiter == "\t" else "commas"
        raise SettingsError(f"{path}: line 1: no column image among {columns}{others}; begin with a header line like image,mask,split,group, with {separator}")
    doubled = sorted({name for name in COLUMNS if columns.count(name) > 1})
    if doubled:
        raise SettingsError(f"{path}: line 1: column {doubled[0]} stands there twice; leave one out")
    return columns


def _jsonl_records(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, words in enumerate(text.split("\n"), start=1):
        if not words.strip():
            continue
        try:
            record = json.loads(words)
        except (json.JSONDecodeError, RecursionError) as error:
            raise SettingsError(f"{path}: line {line}: is no JSON ({error}); each line holds one object like {{\"image\": \"a.png\"}}") from error
        if not isinstance(record, dict) or "image" not in record:
            raise SettingsError(f"{path}: line {line}: has no column image; each line holds one object like {{\"image\": \"a.png\"}}")
        yield line, record


def _row(record: dict[str, Any], place: str, folder: Path) -> Row:
    fields = {name: _field(record.get(name), f"{place}: column {name}") for name in COLUMNS}
    if fields["image"] is None:
        raise SettingsError(f"{place}: column image: is empty; name a file, relative to the manifest")
    mask = fields["mask"]
    return Row(_place(folder, fields["image"]), None if mask is None else _place(folder, mask), fields["split"], fields["group"])


def _place(folder: Path, text: str) -> Path:
    r"""``images\1.png`` is read as Windows means it, unless a file is called so: elsewhere a backslash may stand in a name."""
    place = folder / text
    return folder / text.replace("\\", "/") if "\\" in text and not place.exists() else place


def _field(value: object, place: str) -> str | None:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        text = "" if value is None else str(value).strip()
        if "\0" in text:
            raise SettingsError(f"{place}: holds a zero byte; write the name anew")
        return text or None
    raise SettingsError(f"{place}: is {value!r}; expected text")


def _by_stem(folder: Path) -> dict[str, Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if not is_passed_over(name) and is_named_like_a_picture(Path(name)))
    except OSError as error:
        raise as_read_error(error, folder) from error
    if not names:
        raise SettingsError(f"{folder}: no pictures found; name the folder that holds them")
    found: dict[str, Path] = {}
    doubled = []
    for name in names:
        if stem(Path(name)) in found:
            doubled.append(f"{found[stem(Path(name))].name} and {name}")
        found[stem(Path(name))] = folder / name
    if doubled:
        raise PairingError(f"{folder}: {len(doubled)} name{'s' * (len(doubled) > 1)} taken twice ({_few(doubled)}); take one of each out")
    return found


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
