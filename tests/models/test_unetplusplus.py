"""U-Net++: which maps each node of the triangle joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from formulas import noise, pointwise, stretched
from torch import nn

from segkit.models import build_model
from segkit.models.unetplusplus import Node

COLUMN = ["X00", "X10", "X20", "X30", "X40"]


class Clerk(nn.Module):
    """Stands in for a node: writes down what it is given, and gives its own name."""

    def __init__(self, name: str, book: dict[str, tuple[list[str], str]]) -> None:
        super().__init__()
        self.name, self.book = name, book

    def forward(self, row: Sequence[str], below: str) -> str:
        self.book[self.name] = ([*row], below)
        return f"X{self.name.replace('_', '')}"


def with_clerks() -> tuple[Any, dict[str, tuple[list[str], str]]]:
    network: Any = build_model("unetplusplus", feature_scale=64)
    book: dict[str, tuple[list[str], str]] = {}
    for name in network.nodes:
        network.nodes[name] = Clerk(name, book)
    return network, book


def test_a_node_joins_all_before_it_in_its_row_and_the_one_below() -> None:
    network, book = with_clerks()
    assert network.triangle(COLUMN) == ["X00", "X01", "X02", "X03", "X04"]
    assert book == {
        "0_1": (["X00"], "X10"),
        "1_1": (["X10"], "X20"),
        "2_1": (["X20"], "X30"),
        "3_1": (["X30"], "X40"),
        "0_2": (["X00", "X01"], "X11"),
        "1_2": (["X10", "X11"], "X21"),
        "2_2": (["X20", "X21"], "X31"),
        "0_3": (["X00", "X01", "X02"], "X12"),
        "1_3": (["X10", "X11", "X12"], "X22"),
        "0_4": (["X00", "X01", "X02", "X03"], "X13"),
    }


def test_the_bottlenecks_map_stands_in_place_of_the_encoders_last() -> None:
    network, book = with_clerks()
    assert network.decode(COLUMN, "deep") == ["X04", "X03", "X02", "X01"]
    assert book["3_1"] == (["X30"], "deep")


@pytest.mark.parametrize("upsampling", ["bilinear", "deconv"])
def test_a_node_brings_the_map_below_up_and_puts_it_behind_its_row(upsampling: str) -> None:
    row, below, node = [noise(2, 3, 4, 6), noise(2, 2, 4, 6, seed=1)], noise(2, 5, 2, 3, seed=2), Node(5, 3 + 2, 4, 2, upsampling, None)
    up = stretched(pointwise(below, node.up.conv), 2, corners=True) if upsampling == "bilinear" else node.up(below)  # type: ignore[arg-type]
    torch.testing.assert_close(node(row, below), node.conv(torch.cat([row[0], row[1], up], dim=1)), rtol=1e-4, atol=1e-4)
