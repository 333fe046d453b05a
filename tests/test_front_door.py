"""`import segkit`: what it offers, and what it does not load."""

from __future__ import annotations

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
