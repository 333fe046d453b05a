"""The floors of the house: imports go down only, and each outside library has one room."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FLOORS = """
    __main__
    cli
    compare finetune
    train report
    calibrate
    tune
    folder evaluation check export
    attend
    predict
    pretrained
    dataset checkpoint score layouts
    config
    io preprocess augment patches engines models losses metrics postprocess plot confidence
    image labels interrupt ahead memory
    errors
"""
LEVEL = {room: -depth for depth, line in enumerate(FLOORS.strip().splitlines()) for room in line.split()}

ONE_ROOM = {"albumentations": "augment", "cv2": "augment", "nibabel": "io", "pydicom": "io", "tifffile": "io", "monai": "losses"}
ONE_ROOM |= {"openvino": "engines", "onnxruntime": "engines", "onnx": "engines"}
ONE_ROOM |= {"dask": "folder", "distributed": "folder"}
ONE_ROOM |= {"yaml": "config", "safetensors": "checkpoint", "click": "cli", "rich": "cli"}
NOWHERE = {"torchvision", "timm", "segmentation_models_pytorch"}  # no CPU build beside this torch: docs/decisions/0002-dependencies.md

PACKAGE = Path(__file__).parent.parent / "segkit"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]  # the front door knows every room


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: str) -> Iterator[str]:
    """Dotted names of all that is imported, also inside functions; ``from a import b`` is a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def breaches(here: str, source: str) -> list[str]:
    """What a file of room `here` imports against the rules."""
    found = []
    for name in imports(source):
        library, part = [*name.split("."), ""][:2]
        upward = library == "segkit" and part in LEVEL and part != here and LEVEL[part] >= LEVEL[here]
        if upward or library == "" or library in NOWHERE or ONE_ROOM.get(library, here) != here:
            found.append(name)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_only_from_the_floors_below(file: Path) -> None:
    assert breaches(room(file), file.read_text(encoding="utf-8")) == []


def test_every_room_stands_on_a_floor() -> None:
    assert {room(file) for file in FILES} - set(LEVEL) == set()


def test_no_room_has_a_name_that_takes_anything_in() -> None:
    names = {part.removesuffix(".py") for file in FILES for part in file.relative_to(PACKAGE).parts}
    assert names & {"utils", "util", "helpers", "common", "base", "misc"} == set()


@pytest.mark.parametrize(
    "source",
    [
        "from segkit.io import read_image",
        "from segkit import predict",
        "def later():\n    import segkit.plot",
        "import yaml",
        "from monai.losses import DiceLoss",
        "import torchvision",
        "from .hidden import thing",
    ],
)
def test_the_rules_notice_what_metrics_may_not_import(source: str) -> None:
    assert len(breaches("metrics", source)) == 1


@pytest.mark.parametrize("command", [["-c", "import segkit"], ["-c", "import segkit.io"], ["-m", "segkit", "--help"]], ids=" ".join)
def test_a_quick_start_waits_neither_for_torch_nor_for_monai(command: list[str]) -> None:
    run = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True, timeout=60)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
    assert "segkit" in loaded
    assert loaded & {"torch", "monai", "albumentations"} == set()
