"""The report in a real browser, as wide as a phone. Chromium does not make its own window that narrow, so that the page lies in a frame of 390 px."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segkit.report import write_report

PHONE, LONG = 390, 3000
"""Pixels of the frame."""

NAMES = ("chromium", "chromium-browser", "google-chrome")

CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1")

MEASURE = """
onload = () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const right = one => one.getBoundingClientRect().right;
  const wide = [...page.querySelectorAll("body *")].filter(one => !one.closest(".scroll, pre, svg") && right(one) > root.clientWidth + 1);
  const broken = [...page.images].filter(one => !one.naturalWidth && one.checkVisibility());
  document.title = [root.clientWidth, root.scrollWidth, root.scrollHeight, wide.length, broken.length].join(" ");
}
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"needs a browser: none of {', '.join(NAMES)} is installed")


def frame(text: str, place: Path) -> Path:
    """A page around the page, that writes into its title how large it is inside."""
    inner = f'<iframe style="border:0;width:{PHONE}px;height:{LONG}px" srcdoc="{html.escape(text, quote=True)}"></iframe>'
    place.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{inner}<script>{MEASURE}</script>', "utf-8")
    return place


def browse(*arguments: str, night: bool = False) -> str:
    colours = f"--blink-settings=preferredColorScheme={0 if night else 1}"
    command = [str(CHROMIUM), *FLAGS, colours, f"--window-size=500,{LONG}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def measure(text: str, place: Path) -> list[int]:
    """Width of the screen, width and height of what is on it, elements that reach beyond it, pictures that don't show."""
    found = re.search(r"<title>([\d ]+)</title>", browse("--dump-dom", frame(text, place).as_uri()))
    assert found is not None
    return [int(one) for one in found[1].split()]


@pytest.fixture(scope="module")
def text(finetuned: Path) -> str:
    return write_report(finetuned).read_text("utf-8").replace("<details>", '<details open="">')       # what is folded counts too


def test_nothing_is_wider_than_a_phone_and_every_picture_shows(text: str, tmp_path: Path) -> None:
    screen, width, height, wide, broken = measure(text, tmp_path / "frame.html")
    assert (screen, width, wide, broken) == (PHONE, PHONE, 0, 0)
    assert height > LONG                                                                               # the style was taken, and all is there


def test_the_measure_notices_what_is_too_wide(text: str, tmp_path: Path) -> None:
    spoilt = text.replace("<main>", '<main><div style="width:600px">wide</div><img alt="" src="data:image/jpeg;base64,AAAA">')
    _, width, _, wide, broken = measure(spoilt, tmp_path / "frame.html")
    assert (width > 600, wide, broken) == (True, 1, 1)


@pytest.mark.parametrize("night", [False, True])
def test_a_screenshot_is_no_blank_page_by_day_and_by_night(text: str, tmp_path: Path, night: bool) -> None:
    picture = tmp_path / "shot.png"
    browse(f"--screenshot={picture}", frame(text, tmp_path / "frame.html").as_uri(), night=night)
    pixels = np.asarray(Pillow.open(picture).convert("L"))[:, :PHONE].astype(int)
    ground = int(pixels[5, 5])
    assert ground < 60 if night else ground > 240
    assert (np.abs(pixels[:, -8:] - ground) < 6).all()                                                # the margin on the right is kept
    inked = (np.abs(pixels - ground) > 60).any(axis=1).reshape(-1, 250).mean(axis=1)                  # share of rows with something on them, by quarter screens
    assert (inked > 0.1).all()
    assert (np.abs(pixels[:300] - ground) > 120).mean() > 0.01                                         # letters of the heading
