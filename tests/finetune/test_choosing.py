"""How sure the model is, in words."""

from __future__ import annotations

import pytest

from segkit.calibrate import Calibration
from segkit.config import PredictSettings
from segkit.finetune.choosing import _told

MENDED = "calibration error 0.031, 0.012 with a temperature of 1.40; no expected Dice, too little was found"


@pytest.mark.parametrize(
    ("temperature", "cases", "words"),
    [
        (1.4, 12, MENDED),
        (1.0, 3, "calibration error 0.031; no temperature was found that mends it, it stays 1; no expected Dice, too little was found"),
        (1.4, 2, f"{MENDED}; learnt from 2 cases alone: don't rely on it"),
        (1.4, 1, f"{MENDED}; learnt from 1 case alone: don't rely on it"),
    ],
)
def test_a_temperature_that_says_nothing_is_not_sold_as_one_that_does(temperature: float, cases: int, words: str) -> None:
    assert _told(Calibration(PredictSettings(temperature=temperature), 0.031, 0.012, cases)) == f"how sure it is: {words}"
