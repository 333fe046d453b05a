"""Files and the grids that they lie on: every format in and out, every file found, every byte written.

Nothing above this room knows a file format.
"""

from __future__ import annotations

from segkit.io.atomic import atomic_path, write_bytes, write_csv, write_json, write_text
from segkit.io.files import Found, Source, find_sources
from segkit.io.manifest import Row, choose_split, pair_folders, read_manifest
from segkit.io.origin import Origin, ReadSettings
from segkit.io.raster_origin import write_channels, write_png
from segkit.io.read import mask_suffix, read_image, read_mask, read_series, read_source, write_mask
from segkit.io.sniff import Format, sniff

__all__ = [
    "Format",
    "Found",
    "Origin",
    "ReadSettings",
    "Row",
    "Source",
    "atomic_path",
    "choose_split",
    "find_sources",
    "mask_suffix",
    "pair_folders",
    "read_image",
    "read_manifest",
    "read_mask",
    "read_series",
    "read_source",
    "sniff",
    "write_bytes",
    "write_channels",
    "write_csv",
    "write_json",
    "write_mask",
    "write_png",
    "write_text",
]
