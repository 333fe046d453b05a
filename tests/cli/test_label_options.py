"""--labels and --mask-threshold: what is typed, and what it means; each command reads them here."""

from __future__ import annotations

import pytest

from segkit.cli.labels import parse_labels
from segkit.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "mapping", "ignore"),
    [
        ("nerve=1, vessel=2", {"background": 0, "nerve": 1, "vessel": 2}, None),
        ("nerve=1,background=7", {"background": 7, "nerve": 1}, None),
        ("nerve=1,ignore=255", {"background": 0, "nerve": 1}, 255),
        ("nerve=#ff0000", {"background": "#000000", "nerve": "#ff0000"}, None),
    ],
)
def test_the_background_goes_first_and_is_0_or_black_unless_it_is_named(text, mapping, ignore):
    labels = parse_labels(text)
    assert labels is not None
    assert list(labels.mapping.items()) == list(mapping.items())
    assert labels.ignore == ignore


def test_what_is_0_can_be_the_background_by_another_name():
    labels = parse_labels("vessel=255,ground=0", zero_is_background=True)
    assert labels is not None and labels.names == ("ground", "vessel")
    with pytest.raises(SettingsError, match="ground has the value that the background has"):
        parse_labels("vessel=255,ground=0")


def test_a_background_that_is_named_is_it_also_where_something_else_is_0():
    labels = parse_labels("membrane=0,background=255", zero_is_background=True)
    assert labels is not None and labels.values == (255, 0)


def test_a_threshold_goes_with_labels_and_not_without():
    labels = parse_labels("vessel=255", 100.0)
    assert labels is not None and labels.threshold == 100
    assert parse_labels(None) is None
    with pytest.raises(SettingsError, match="--mask-threshold 0: needs two labels"):
        parse_labels(None, 0.0)
