"""The shelf: made once, fetched after that, and never believed when damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import nn

from segkit.engines import Shelf, build_engine, shelf
from segkit.errors import WriteError
from segkit.io import write_bytes


class Maker:
    """Makes the same graph each time and counts."""

    def __init__(self, graph: bytes = b"graph") -> None:
        self.graph = graph
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return self.graph


def test_a_graph_is_made_once(tmp_path: Path) -> None:
    kept, maker = Shelf(tmp_path / "new" / "graphs", write_bytes), Maker()
    assert [kept.fetch("a", maker), kept.fetch("a", maker)] == [b"graph", b"graph"]
    assert maker.made == 1
    assert kept.fetch("b", Maker(b"other")) == b"other"
    assert sorted(path.name for path in kept.folder.iterdir()) == ["a.graph", "b.graph"]


@pytest.mark.parametrize("damaged", [b"", b"short", b"0" * 32 + b"graph"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damaged: bytes) -> None:
    kept, maker = Shelf(tmp_path, write_bytes), Maker()
    (tmp_path / "a.graph").write_bytes(damaged)
    assert kept.fetch("a", maker) == b"graph"
    assert kept.fetch("a", maker) == b"graph"
    assert maker.made == 1


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    kept, maker, path = Shelf(tmp_path, write_bytes), Maker(), tmp_path / "a.graph"
    kept.fetch("a", maker)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert kept.fetch("a", maker) == b"graph"
    assert maker.made == 2


def test_a_folder_in_a_graphs_place_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "a.graph").mkdir()
    with pytest.warns(UserWarning, match="graph was not kept, so the next run will make it again"):
        assert Shelf(tmp_path, write_bytes).fetch("a", Maker()) == b"graph"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner here")
def test_a_file_of_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Shelf(tmp_path, write_bytes)
    kept.fetch("a", Maker(b"theirs"))
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert kept.fetch("a", Maker(b"mine")) == b"mine"


def test_a_full_disk_costs_a_warning_and_nothing_else(tmp_path: Path) -> None:
    def full(path: Path, content: bytes) -> None:
        raise WriteError(f"{path}: not written: the disk is full")

    with pytest.warns(UserWarning, match="was not kept.*a.graph: not written: the disk is full"):
        assert Shelf(tmp_path, full).fetch("a", Maker()) == b"graph"


def test_only_the_graphs_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "KEPT", 2)
    kept = Shelf(tmp_path, write_bytes)
    for age, key in ((300, "a"), (200, "b")):
        kept.fetch(key, Maker())
        os.utime(tmp_path / f"{key}.graph", (1e9 - age, 1e9 - age))
    kept.fetch("a", Maker())                                        # now b is the one that was not used for longest
    kept.fetch("c", Maker())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.graph", "c.graph"]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_second_engine_of_the_same_network_is_made_from_the_shelf(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    pytest.importorskip("onnx")
    network, kept = nn.Conv2d(1, 1, 1), Shelf(tmp_path, write_bytes)
    build_engine(name, network, shelf=kept)
    monkeypatch.setattr("segkit.engines.graph_engine.export_graph", lambda network: pytest.fail("exported again"))
    build_engine(name, network, shelf=kept)
    assert len(list(tmp_path.iterdir())) == 1
