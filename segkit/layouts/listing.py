"""What lies in a folder: pictures, sorted, and the folders below."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from segkit.errors import FormatError
from segkit.io.files import is_named_like_a_picture, is_passed_over
from segkit.io.sniff import as_read_error, open_file


def pictures_in(folder: Path, recursive: bool = True) -> list[Path]:
    """Files that are named like pictures, in the order of their paths; links to folders are not followed.

    Raises
    ------
    VanishedError, DeniedError
        The folder can't be listed.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not is_passed_over(name)] if recursive else []
        found += (Path(place, name) for name in files if not is_passed_over(name) and is_named_like_a_picture(Path(name)))
    return sorted(found)


def holds_pictures(folder: Path) -> bool:
    """As soon as one is found, at any depth."""
    return any(
        is_named_like_a_picture(Path(name)) and not is_passed_over(name)
        for _, _, files in os.walk(folder)
        for name in files
    )


def folders_in(folder: Path) -> list[Path]:
    """Folders directly below, in the order of their names."""
    try:
        with os.scandir(folder) as listing:
            return sorted(Path(entry.path) for entry in listing if entry.is_dir() and not is_passed_over(entry.name))
    except OSError as error:
        raise as_read_error(error, folder) from error


def read_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises
    ------
    FormatError
        No JSON.
    EmptyFileError, VanishedError, DeniedError
        The file can't be read.
    """
    with open_file(path) as file:
        data = file.read()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{path}: is no JSON ({error}); repair it or take it out") from error


def _refuse(error: OSError) -> None:
    raise as_read_error(error, Path(error.filename)) from error
