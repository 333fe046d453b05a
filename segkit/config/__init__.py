"""One run's settings, gathered from the rooms; the only reader of YAML."""

from __future__ import annotations

from segkit.config.load import load_run, validate_run
from segkit.config.names import explain
from segkit.config.overrides import check_overrides, parse_override
from segkit.config.plain_yaml import parse_yaml
from segkit.config.settings import (
    IMAGENET,
    DataSettings,
    PredictSettings,
    RunConfig,
    Settings,
    TrainSettings,
    is_path,
    is_url,
    replaced_parts,
)

__all__ = [
    "IMAGENET",
    "DataSettings",
    "PredictSettings",
    "RunConfig",
    "Settings",
    "TrainSettings",
    "check_overrides",
    "explain",
    "is_path",
    "is_url",
    "load_run",
    "parse_override",
    "parse_yaml",
    "replaced_parts",
    "validate_run",
]
