"""A model as one ONNX file: the same logits as torch's, and a script beside it that needs nothing of segkit."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as Pillow
from torch import nn

from segkit import export as room
from segkit.checkpoint import Card, join_models, load_model, save_model
from segkit.cli import main
from segkit.config import RunConfig
from segkit.engines.graph import CARD, AnySize, export_graph, with_card
from segkit.engines.standalone import __file__ as SCRIPT
from segkit.engines.standalone import read
from segkit.errors import MissingExtraError, SettingsError
from segkit.export import Agreement, compare, export
from segkit.io import read_image
from segkit.models import build_model
from segkit.predict import load

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TREE: dict[str, Any] = {
    "preprocess": {"channels": 1},
    "model": {"feature_scale": 32},
    "data": {"labels": {"background": 0, "nerve": 7, "vessel": 200}},
}
ISOLATED = """
import runpy, sys
sys.modules["torch"] = sys.modules["segkit"] = None           # an import of either raises ImportError
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def changed(**rooms: Any) -> dict[str, Any]:
    return {**TREE, **{room: {**TREE.get(room, {}), **settings} for room, settings in rooms.items()}}


def write(path: Path, tree: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """An untrained model whose last biases are such that no class is everywhere."""
    torch.manual_seed(seed)
    run = RunConfig.model_validate(tree or TREE)
    network = build_model(run.model).eval()
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(2, run.preprocess.in_channels, 32, 48))
        network.eval()
        network.head.bias -= network(torch.randn(1, run.preprocess.in_channels, 64, 96)).mean(dim=(0, 2, 3))
    save_model(path, run, network.state_dict(), Card("phantoms", "abc", {"test": {"nerve": 0.5}}, 7, "research only"))
    return path


def put(path: Path, size: tuple[int, ...], dtype: Any = np.uint8) -> Path:
    """A picture that is smooth enough for masks of more than single pixels."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(0, np.iinfo(dtype).max, (size[0] // 4 + 1, size[1] // 4 + 1, *size[2:]))
    Pillow.fromarray(coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].astype(dtype)).save(path)
    return path


def values(path: Path) -> np.ndarray:
    with Pillow.open(path) as mask:
        return np.asarray(mask)


def run_script(script: Path | None, *arguments: Path) -> None:
    """As on the command line, but in this process, where it is quicker; SystemExit where it refuses."""
    assert script is not None
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torch", "segkit"):
            patch.setitem(sys.modules, name, None)
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")


PREPARATIONS: dict[str, tuple[dict[str, Any], tuple[int, ...], Any]] = {
    "as it is": (TREE, (33, 47), np.uint8),
    "lower than the network's stride": (TREE, (5, 63), np.uint8),
    "16 bits, in a range": (changed(preprocess={"channels": 1, "intensity": {"kind": "fixed", "low": 0, "high": 65535}}), (33, 47), np.uint16),
    "a window": (changed(preprocess={"channels": 1, "intensity": {"kind": "window", "level": 100, "width": 120}}), (33, 47), np.uint8),
    "zscore of colours, made smaller": (
        changed(preprocess={"channels": 3, "intensity": {"kind": "zscore"}, "resize": {"kind": "long_side", "pixels": 40}}), (67, 95, 3), np.uint8,
    ),
    "made larger": (changed(preprocess={"channels": 1, "resize": {"kind": "long_side", "pixels": 64}}), (33, 47), np.uint8),
    "windows": (changed(predict={"tiles": {"whole_up_to": 0, "tile": [32, 40], "overlap": 0.3}}), (67, 95), np.uint8),
    "windows and mirror images": (
        changed(predict={"tta": True, "tiles": {"whole_up_to": 0, "tile": [32, 40]}}, augment={"horizontal_flip": 0.5, "vertical_flip": 0.5}),
        (67, 95), np.uint8,
    ),
    "large values": (changed(data={"labels": {"background": 3, "nerve": 7, "vessel": 1000}}), (33, 47), np.uint8),
    "colours in masks": (changed(data={"labels": {"background": "#000000", "nerve": "#ff8000", "vessel": "#0000ff"}}), (33, 47), np.uint8),
}


@pytest.mark.parametrize("kind", PREPARATIONS)
def test_the_script_draws_the_mask_of_segkit_predict(kind: str, tmp_path: Path) -> None:
    tree, size, dtype = PREPARATIONS[kind]
    model, picture = write(tmp_path / "model.safetensors", tree), put(tmp_path / "a.png", size, dtype)
    written = export(model, tmp_path / "graph.onnx", check=picture)
    run_script(written.script, picture, tmp_path / "mask.png")
    assert main(["predict", str(picture), "-m", str(model), "-o", str(tmp_path / "out"), "--precision", "fp32", "--engine", "torch", "-q"]) == 0
    mask, right = values(tmp_path / "mask.png"), values(tmp_path / "out" / "a.png")
    np.testing.assert_array_equal(mask, right)
    assert len(np.unique(right.reshape(size[0] * size[1], -1), axis=0)) > 1                  # two masks of one value would agree too easily


def test_the_script_needs_neither_torch_nor_segkit(tmp_path: Path) -> None:
    """In a process of its own, which can import neither."""
    written, picture = export(write(tmp_path / "model.safetensors"), tmp_path / "graph.onnx"), put(tmp_path / "a.png", (33, 47))
    assert written.script == tmp_path / "graph_predict.py"
    command = [sys.executable, "-c", ISOLATED, written.script, picture, tmp_path / "mask.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    np.testing.assert_array_equal(values(tmp_path / "mask.png"), load(tmp_path / "model.safetensors", device="cpu", precision="fp32").predict(picture).values)


def test_the_script_is_short() -> None:
    assert len(Path(SCRIPT).read_text(encoding="utf-8").splitlines()) <= 60


@pytest.fixture(scope="module")
def grey_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside a graph of grey pictures from 0 to 255."""
    folder = tmp_path_factory.mktemp("exported")
    script = export(write(folder / "model.safetensors"), folder / "graph.onnx").script
    assert script is not None
    return script


GREY, COLOUR, DEEP = (np.random.default_rng(5).integers(0, end, shape, dtype) for end, shape, dtype in (
    (256, (9, 13), np.uint8), (256, (9, 13, 3), np.uint8), (65536, (9, 13), np.uint16),
))
UPRIGHT, TURNED = Pillow.Exif(), Pillow.Exif()
UPRIGHT[274], TURNED[274] = 1, 6
STACK = np.stack([GREY, GREY // 2])


def stored_in_all_ways(folder: Path, pixels: Any) -> list[Path]:
    """The same picture in each way of storing it that the script reads."""
    folder.mkdir()
    picture = Pillow.fromarray(pixels)
    ways: dict[str, dict[str, Any]] = {"a.png": {}, "plain.tif": {}, "lzw.tif": {"compression": "tiff_lzw"}, "packed.tif": {"compression": "packbits"}}
    if pixels.dtype == np.uint8:
        ways |= {"b.jpg": {"exif": UPRIGHT}, "steps.jpg": {"progressive": True}, "c.bmp": {}, "named_otherwise.png": {"format": "JPEG"}}
    for name, settings in ways.items():
        picture.save(folder / name, **settings)
    plain = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack"}
    of_tifffile = {"swapped": {"byteorder": ">", **plain}, "tiles": {"tile": (16, 16), "compression": "zlib", **plain}, "imagej": {"imagej": True}}
    for name, settings in of_tifffile.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, **settings)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP], ids=["grey", "colour", "16 bits"])
def test_the_script_reads_each_format_as_segkit_does(pixels: Any, tmp_path: Path) -> None:
    for file in stored_in_all_ways(tmp_path / "in", pixels):
        np.testing.assert_array_equal(read(str(file), 3 if pixels.ndim == 3 else 1), read_image(file).pixels, file.name)


def test_the_script_draws_the_masks_of_segkit_predict_of_each_format(grey_script: Path, tmp_path: Path) -> None:
    files, model = stored_in_all_ways(tmp_path / "in", GREY), grey_script.with_name("model.safetensors")
    assert main(["predict", str(tmp_path / "in"), "-m", str(model), "-o", str(tmp_path / "out"), "--precision", "fp32", "--engine", "torch", "-q"]) == 0
    for file in files:
        run_script(grey_script, file, tmp_path / "mask.png")
        (right,) = (tmp_path / "out").glob(f"{file.stem}.*")
        np.testing.assert_array_equal(values(tmp_path / "mask.png"), values(right), file.name)


def by_pillow(pixels: Any, mode: str | None = None, **settings: Any) -> Callable[[Path], None]:
    picture = Pillow.fromarray(pixels)
    return lambda path: (picture.convert(mode) if mode else picture).save(path, **settings)


def by_tifffile(pixels: Any, **settings: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, pixels, **settings)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "colour.png": (by_pillow(COLOUR), "in RGB, the model takes one picture in grey of 8 or 16 bits, 0 as black, opaque and upright; save it as such a PNG"),
    "alpha.png": (by_pillow(COLOUR, "LA"), "is PNG in LA, the model takes one"),
    "key.png": (by_pillow(GREY, transparency=7), "is PNG in L, the model takes one picture in grey of 8 or 16 bits, 0 as black, opaque"),
    "palette.png": (by_pillow(GREY, "P"), "is PNG in P, the model"),
    "animation.png": (by_pillow(GREY, save_all=True, append_images=[Pillow.fromarray(GREY // 2)]), "is PNG in L, the model takes one picture"),
    "out_of_range.png": (by_pillow(np.full((9, 9), 60000, np.uint16)), "the pixels run from 60000 to 60000, the model takes"),
    "one_bit.bmp": (by_pillow(GREY, "1"), "is BMP in 1, the model"),
    "cmyk.jpg": (by_pillow(COLOUR, "CMYK"), "is JPEG in CMYK;I, the model"),
    "turned.jpg": (by_pillow(GREY, exif=TURNED), "opaque and upright"),
    "turned.tif": (by_pillow(GREY, exif=TURNED), "opaque and upright"),
    "floats.tif": (by_tifffile(GREY.astype(np.float32)), "is TIFF in F;32F"),
    "signed.tif": (by_tifffile((GREY // 2).astype(np.int8)), "is TIFF in L, "),
    "white_is_0.tif": (by_tifffile(DEEP, photometric="miniswhite"), "is TIFF in I;16, the model takes one picture in grey of 8 or 16 bits, 0 as black"),
    "pages.tif": (by_tifffile(STACK, photometric="minisblack"), "the model takes one picture"),
    "hidden_pages.tif": (by_tifffile(STACK, photometric="minisblack", truncate=True), "the model takes one picture"),
    "imagej.tif": (by_tifffile(STACK, imagej=True, truncate=True), "the model takes one picture"),
    "ome.tif": (by_tifffile(STACK, photometric="minisblack", ome=True), "the model takes one picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_script_refuses_what_it_would_read_otherwise_than_segkit(name: str, grey_script: Path, tmp_path: Path) -> None:
    save, words = REFUSED[name]
    save(tmp_path / name)
    with pytest.raises(SystemExit) as told:
        run_script(grey_script, tmp_path / name, tmp_path / "mask.png")
    assert words in str(told.value)
    assert not (tmp_path / "mask.png").exists()


def test_colours_of_16_bits_which_pillow_would_cut_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([DEEP] * 3), photometric="rgb")
    with pytest.raises(SystemExit, match="is TIFF in RGB;16L, the model takes one picture in RGB of 8 bits, opaque and upright"):
        read(str(tmp_path / "a.tif"), 3)


@pytest.mark.parametrize(
    ("picture", "mask", "words"),
    [
        ("gone.png", "mask.png", "FileNotFoundError: [Errno 2] No such file or directory"),
        ("words.png", "mask.png", "UnidentifiedImageError: cannot identify image file"),
        ("cut.jpg", "mask.png", "image file is truncated"),
        ("a.gif", "mask.png", "UnidentifiedImageError: cannot identify image file"),
        ("a.png", "nowhere/mask.png", "FileNotFoundError: [Errno 2] No such file or directory"),
    ],
)
def test_what_can_not_be_read_or_written_is_told_in_one_line(picture: str, mask: str, words: str, grey_script: Path, tmp_path: Path) -> None:
    put(tmp_path / "a.png", (33, 47))
    put(tmp_path / "a.gif", (33, 47))
    (tmp_path / "words.png").write_text("words")
    (tmp_path / "cut.jpg").write_bytes(put(tmp_path / "whole.jpg", (33, 47)).read_bytes()[:-200])
    with pytest.raises(SystemExit) as told:
        run_script(grey_script, tmp_path / picture, tmp_path / mask)
    assert str(told.value).startswith(f"{tmp_path / picture} -> {tmp_path / mask}: ")
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_a_graph_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="a.png -> mask.png: NoSuchFile: .*standalone.py.onnx"):
        run_script(Path(SCRIPT), Path("a.png"), Path("mask.png"))


@pytest.mark.parametrize("arguments", [(), ("a.png",), ("a.png", "a.png"), ("a.png", "mask.jpg"), ("a.png", "b.png", "mask.png")])
def test_other_arguments_than_a_picture_and_a_mask_are_answered_by_the_usage_of_this_very_file(arguments: tuple[str, ...], grey_script: Path) -> None:
    with pytest.raises(SystemExit) as told:
        run_script(grey_script, *map(Path, arguments))
    assert told.value.code == f"usage: python {grey_script} PICTURE MASK.png"


# The graph.


def test_a_graph_takes_batches_and_pictures_of_any_size(tmp_path: Path) -> None:
    model = write(tmp_path / "model.safetensors")
    export(model, tmp_path / "graph.onnx", script=False)
    session, engine = onnxruntime.InferenceSession(tmp_path / "graph.onnx"), load(model, device="cpu", precision="fp32", engine="torch").engine
    for shape in ((1, 1, 33, 47), (3, 1, 5, 63), (2, 1, 64, 32), (1, 1, 1, 1), (1, 1, 16, 17)):
        picture = torch.randn(shape)
        (logits,) = session.run(None, {"picture": picture.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), engine(picture), atol=1e-4, rtol=1e-4)


def test_an_ensemble_is_one_graph(tmp_path: Path) -> None:
    file = join_models([write(tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(2)])
    save_model(tmp_path / "both.safetensors", file.run, file.weights, file.card)
    assert export(tmp_path / "both.safetensors", tmp_path / "graph.onnx", script=False).drawn.is_good
    assert json.loads(onnx.load(tmp_path / "graph.onnx").metadata_props[0].value)["members"] == 2
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    (logits,) = session.run(None, {"picture": np.ones((1, 1, 33, 47), np.float32)})
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-5)                       # the logarithms of a mean probability


def test_the_card_in_the_graph_says_how_to_use_it(tmp_path: Path) -> None:
    rules = {"tta": True, "temperature": 1.5, "postprocess": {"min_size_px": 4, "classes": {"nerve": {"largest_only": True}}}}
    tree = changed(preprocess={"channels": 1, "context": 2, "resize": {"kind": "spacing", "mm": 0.5}}, predict=rules, augment={"vertical_flip": 0.5})
    export(write(tmp_path / "model.safetensors", tree), tmp_path / "graph.onnx", script=False)
    (told,) = onnx.load(tmp_path / "graph.onnx").metadata_props
    assert told.key == CARD
    card = json.loads(told.value)
    assert card["classes"] == [{"name": "background", "value": 0}, {"name": "nerve", "value": 7}, {"name": "vessel", "value": 200}]
    assert card["intensity"] == {"kind": "range", "centre": 127.5, "half": 127.5, "accepts": [-12.75, 267.75]}
    assert (card["channels"], card["slices_on_either_side"], card["long_side"], card["pixel_mm"], card["temperature"]) == (1, 2, None, 0.5, 1.5)
    assert card["mirror_images"] == [[], [-1], [-2], [-2, -1]]
    assert card["postprocess"] == {
        "nerve": {"min_size_px": 0, "largest_only": True, "fill_holes": False},
        "vessel": {"min_size_px": 4, "largest_only": False, "fill_holes": False},
    }
    assert (card["trained_on"], card["licence"], card["scores"]) == ("phantoms", "research only", {"test": {"nerve": 0.5}})


def test_every_entry_of_the_card_is_documented(tmp_path: Path) -> None:
    file = load_model(write(tmp_path / "model.safetensors"))
    told = (Path(room.__file__).parent.parent / "docs" / "export.md").read_text(encoding="utf-8")
    assert [key for key in room.card_of(file, file.run) if f"`{key}`" not in told] == []


# Agreement.


class Doubled(nn.Module):
    """Another network than the one that a graph was made from."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.network(x)


def test_agreement_is_the_largest_difference_and_the_share_of_pixels_of_one_class() -> None:
    network = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        network.weight[:], network.bias[:] = torch.tensor([1.0, 0.0])[:, None, None, None], torch.tensor([0.0, 0.5])
    graph = export_graph(AnySize(network))
    with torch.no_grad():
        network.bias[1] = 0.8                                              # classes are (x, 0.5) in the graph, (x, 0.8) in torch
    found = compare(graph, network, [torch.tensor([[[[0.2, 0.6, 0.7, 0.9, 1.0]]]])])
    assert (found.windows, found.difference, found.largest, found.same) == (1, pytest.approx(0.3), 1.0, pytest.approx(3 / 5))
    assert not found.is_good
    assert compare(graph, network, []) == Agreement(0, 0.0, 0.0, 0.0)
    assert not compare(graph, network, []).is_good


def test_a_graph_that_does_not_agree_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write(tmp_path / "model.safetensors")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "graph.onnx").write_bytes(b"as it was")
    monkeypatch.setattr(room, "export_graph", lambda network: export_graph(Doubled(network)))
    with pytest.raises(SettingsError, match="the graph does not agree with torch on drawn pictures: logits of up to .* differ by .*nothing was written"):
        export(model, tmp_path / "out" / "graph.onnx")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir()] == [("graph.onnx", b"as it was")]


def test_a_volume_is_checked_too_and_a_folder_without_pictures_refused(tmp_path: Path, samples: Path) -> None:
    model = write(tmp_path / "model.safetensors", changed(preprocess={"channels": 1, "intensity": {"kind": "zscore"}, "context": 1}))
    (volume,) = sorted((samples / "brain" / "images").iterdir())[:1]
    found = export(model, tmp_path / "graph.onnx", check=volume, script=False).given
    assert found is not None
    assert found.is_good
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="empty: no pictures found"):
        export(model, tmp_path / "graph.onnx", check=tmp_path / "empty", script=False)


# What can't be done.


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (changed(preprocess={"channels": 2}), "takes pictures of 2 channels: the script beside the graph can't do that; with --no-script the graph is"),
        (changed(preprocess={"channels": 1, "context": 1}), "sees the slices on either side"),
        (changed(preprocess={"channels": 1, "resize": {"kind": "spacing"}}), "works at a fixed size of pixels in mm"),
        (changed(predict={"tiles": {"skip_flat": 0.1}}), "passes over flat windows"),
        (changed(predict={"postprocess": {"classes": {"nerve": {"fill_holes": True}}}}), "has rules for the shape of objects .*--no-postprocess leaves them"),
    ],
)
def test_what_the_script_can_not_do_is_refused_and_the_graph_alone_is_written(tree: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = write(tmp_path / "model.safetensors", tree)
    with pytest.raises(SettingsError, match=words):
        export(model, tmp_path / "graph.onnx")
    assert not (tmp_path / "graph.onnx").exists()
    assert export(model, tmp_path / "graph.onnx", script=False).script is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.onnx", "model.safetensors"]


def test_rules_for_the_shape_of_objects_can_be_left_out(tmp_path: Path) -> None:
    model = write(tmp_path / "model.safetensors", changed(predict={"postprocess": {"min_size_px": 9}}))
    assert export(model, tmp_path / "graph.onnx", postprocess=False).script is not None
    card = json.loads(onnx.load(tmp_path / "graph.onnx").metadata_props[0].value)
    assert card["postprocess"]["nerve"] == {"min_size_px": 0, "largest_only": False, "fill_holes": False}


def test_a_network_along_slices_is_refused(tmp_path: Path) -> None:
    model = write(tmp_path / "model.safetensors", changed(model={"feature_scale": 32, "bottleneck": "slice_gru"}))
    with pytest.raises(SettingsError, match="looks along the slices of a volume, which a graph of single pictures can't; predict with segkit itself"):
        export(model, tmp_path / "graph.onnx")


def test_without_its_packages_export_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "installed", lambda extra: False)
    with pytest.raises(MissingExtraError, match=r'segkit export needs onnxruntime and onnx: pip install "segkit\[onnx\]"'):
        export("fundus-vessels", tmp_path / "graph.onnx")


def test_a_network_too_large_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segkit.engines.graph.LARGEST_BYTES", 7)
    with pytest.raises(SettingsError, match="GiB of weights in float32, and a graph holds less than 2"):
        export_graph(nn.Conv2d(1, 1, 1))


def test_a_card_survives_letters_beyond_ascii() -> None:
    told = onnx.load_from_string(with_card(export_graph(nn.Conv2d(1, 1, 1)), {"name": "Gefäß"})).metadata_props[0]
    assert (told.key, json.loads(told.value)) == ("segkit", {"name": "Gefäß"})


# On the command line.


def test_the_command_tells_what_it_wrote_and_how_well_it_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, picture = write(tmp_path / "model.safetensors"), put(tmp_path / "a.png", (33, 47))
    assert main(["export", str(model), "-o", str(tmp_path / "graph.onnx"), "--check", str(picture)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["checked on drawn pictures: 4 windows", f"checked on {picture}: 1 window"]
    assert "100.0000% of the pixels have the same class" in lines[1]
    script = tmp_path / "graph_predict.py"
    assert lines[3] == f"{script} reads PNG, JPEG, BMP and TIFF in grey of 8 or 16 bits; try: python {script} PICTURE MASK.png"
    assert main(["export", str(model), "-o", str(tmp_path / "graph.onnx"), "--no-script", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["script"], found["script_reads"], found["checks"]["drawn pictures"]["same"]) == (None, None, 1.0)


@pytest.mark.parametrize("name", ["graph.pt", "graph", "folder.onnx"])
def test_a_name_that_is_no_onnx_file_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert main(["export", "fundus-vessels", "-o", str(tmp_path / name)]) == 2
    assert f"{name}: a graph is one file, whose name ends in .onnx" in capsys.readouterr().err
