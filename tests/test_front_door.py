"""`import segkit`: what it offers, and what it does not load."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import segkit


def test_every_name_that_is_offered_is_there_and_stays_what_it_is() -> None:
    for _ in range(2):
        for name in segkit.__all__:
            assert name == "__version__" or callable(getattr(segkit, name)), name
    assert set(segkit.__all__) <= set(dir(segkit))


def test_a_name_that_is_not_offered_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'segkit' has no attribute 'segment'"):
        _ = segkit.segment


def test_every_room_is_there_without_an_import_of_its_own() -> None:
    rooms = {"io", "labels", "losses", "metrics", "models", "predict", "preprocess", "train"}
    assert rooms <= set(dir(segkit))
    assert "__main__" not in dir(segkit)
    code = (
        "import sys, segkit\n"
        "assert dir(segkit) and 'torch' not in sys.modules\n"                      # asking what there is loads nothing
        "print(segkit.io.ReadSettings.__name__, 'torch' in sys.modules, segkit.models.build_model.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ReadSettings False build_model\n"


def test_an_editable_install_is_found_from_the_folder_above_a_checkout_named_segkit() -> None:
    """There Python meets the checkout first, as a package without __init__.py, and only a folder on the path comes before that: setuptools puts it
    there where package_dir is given. The finder that it writes otherwise is asked last.
    """
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")
    assert settings["options"]["package_dir"].strip() == "= ."
