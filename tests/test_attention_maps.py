"""What a network pays attention to, from the weights inside it to drawings over the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.nn import functional as F
from toys import disc

from segkit.attend import AttentionMap, attend, fullest_slice
from segkit.checkpoint import Card, save_model
from segkit.cli import main
from segkit.config import PredictSettings, RunConfig
from segkit.engines import TorchEngine
from segkit.errors import SettingsError, ShapeError
from segkit.folder import Extras, predict_files
from segkit.folder.outputs import Attention, write_all
from segkit.image import Image
from segkit.io import find_sources
from segkit.labels import Mask
from segkit.models import build_model
from segkit.models.attention import SpatialMap
from segkit.models.blocks import pad_to_multiple
from segkit.patches import TileSettings
from segkit.predict import Model, Segmentation

TREE = {"preprocess": {"channels": 1}, "data": {"labels": {"background": 0, "disc": 255}}}


class Brightness(SpatialMap):
    """(B, C, H, W) -> (B, 1, H / stride, W / stride): as bright, so much attention."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return (F.avg_pool2d(x[:, :1], self.stride) + 1) / 2   # pictures come in the range -1 .. 1


class Seer(nn.Module):
    """Takes what is bright for the foreground, and attends to it where its parts say."""

    multiple = 4

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, picture: Tensor) -> Tensor:
        grown = pad_to_multiple(picture, self.multiple)
        for module in self.modules():
            if isinstance(module, SpatialMap):
                module(grown)
        return torch.cat([-picture, picture], dim=1)


def seer(preprocess: dict[str, Any] | None = None, **parts: nn.Module) -> Model:
    run = RunConfig.model_validate({**TREE, "preprocess": {"channels": 1, **(preprocess or {})}})
    return Model(run, TorchEngine(Seer(**parts), "cpu", "fp32"), name="seer")


def untrained(**model: Any) -> Model:
    torch.manual_seed(0)
    run = RunConfig.model_validate({**TREE, "model": model})
    return Model(run, TorchEngine(build_model(run.model), "cpu", "fp32"), name="untrained")


def ramp(height: int, width: int) -> np.ndarray:
    """(1, H, W), darkest on the left."""
    return np.linspace(0, 255, width).round().astype(np.uint8)[None, None].repeat(height, axis=1)


# The maps.


@pytest.mark.parametrize("size", [(33, 47), (5, 63), (32, 32)])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_map_lies_over_its_picture(size: tuple[int, int], stride: int) -> None:
    """Means of `stride` pixels of a ramp, interpolated linearly, are the ramp again, but for the ends."""
    pixels = ramp(*size)
    (found,) = attend(Image(pixels), seer(eye=Brightness(stride)))
    assert (found.weights.shape, found.weights.dtype) == (size, np.float32)
    inner = slice(stride, size[1] - 2 * stride)
    np.testing.assert_allclose(found.weights[:, inner], pixels[0, :, inner] / 255, atol=0.01)


def test_a_map_comes_back_from_the_models_grid() -> None:
    pixels = ramp(60, 90)
    (found,) = attend(Image(pixels), seer({"resize": {"kind": "long_side", "pixels": 45}}, eye=Brightness(1)))
    assert found.weights.shape == (60, 90)
    np.testing.assert_allclose(found.weights[:, 4:-4], pixels[0, :, 4:-4] / 255, atol=0.01)


def test_in_tiles_a_map_is_what_it_is_at_once() -> None:
    pixels, model = ramp(33, 94), seer(eye=Brightness(2))
    (whole,) = attend(Image(pixels), model)
    (tiled,) = attend(Image(pixels), model, PredictSettings(tiles=TileSettings(whole_up_to=0, tile=(20, 32), overlap=0.5)))
    np.testing.assert_allclose(tiled.weights, whole.weights, atol=0.02)


def test_the_maps_are_of_the_picture_as_it_is_also_where_mirror_images_are_scored() -> None:
    model = seer(eye=Brightness(2))
    (one,), (two,) = (attend(Image(ramp(33, 47)), model, PredictSettings(tta=tta)) for tta in (False, True))
    np.testing.assert_array_equal(one.weights, two.weights)


def test_of_a_volume_one_slice_is_looked_at() -> None:
    volume, model = Image(np.stack([ramp(33, 47), 255 - ramp(33, 47)])), seer(eye=Brightness(2))
    maps = [attend(volume, model, plane=plane)[0].weights for plane in (0, 1)]
    np.testing.assert_allclose(maps[0], attend(Image(ramp(33, 47)), model)[0].weights)
    np.testing.assert_allclose(maps[0] + maps[1], 1, atol=1e-5)
    with pytest.raises(ShapeError, match="has 2 slices, the attention of slice 2"):
        attend(volume, model, plane=2)


def test_a_slice_with_neighbours_as_channels_is_looked_at_with_them() -> None:
    run = RunConfig.model_validate({**TREE, "preprocess": {"channels": 1, "context": 1}, "model": {"feature_scale": 16, "skip": "cbam"}})
    model = Model(run, TorchEngine(build_model(run.model), "cpu", "fp32"))
    assert len(attend(Image(np.stack([ramp(33, 47)] * 3)), model, plane=1)) == 4


@pytest.mark.parametrize("tiles", [TileSettings(), TileSettings(whole_up_to=0, tile=(32, 32), overlap=0.5)])
def test_a_network_that_looks_along_the_slices_is_shown_the_whole_volume(tiles: TileSettings) -> None:
    """Its gates ask the map behind the bottleneck, which knows of the other slices: with others beside it, a slice has another map."""
    model, settings = untrained(feature_scale=16, bottleneck="slice_gru", skip="attention"), PredictSettings(tiles=tiles)
    nn.init.normal_(model.engine._network.bottleneck.weigh.weight)
    slices = [ramp(33, 47), 255 - ramp(33, 47), ramp(33, 47) // 2]
    last, alone = (attend(Image(np.stack(stack)), model, settings, plane=len(stack) - 1)[-1].weights for stack in (slices, slices[2:]))
    assert last.shape == alone.shape == (33, 47)
    assert np.abs(last - alone).max() > 1e-4


def test_the_slice_with_the_most_foreground_is_chosen_or_the_middle_one() -> None:
    indices = np.zeros((5, 4, 4), np.uint8)
    assert fullest_slice(indices) == 2
    indices[1, 0, 0] = indices[4, :2] = 1
    assert fullest_slice(indices) == 4
    assert fullest_slice(indices[4]) == 0


# Their names.


def names(model: Model) -> list[str]:
    return [found.name for found in attend(Image(ramp(33, 47)), model)]


@pytest.mark.parametrize(
    ("skip", "strides"), [("cbam", (1, 2, 4, 8)), ("scse", (1, 2, 4, 8)), ("scse_max", (1, 2, 4, 8)), ("attention", (2, 4, 8, 16))], ids=str
)
def test_every_skip_has_a_map_and_the_finest_is_the_first(skip: str, strides: tuple[int, ...]) -> None:
    """An attention gate's weights are made at the size of the decoder's map, half that of the skip."""
    found = attend(Image(ramp(33, 47)), untrained(feature_scale=16, skip=skip))
    assert [one.name for one in found] == [f"skip{level}_stride{stride:02d}" for level, stride in enumerate(strides, start=1)]
    assert found[1].caption == f"skip 2 of 4, stride {strides[1]}, {skip}"
    for one in found:
        assert one.weights.shape == (33, 47)
        assert 0 <= one.weights.min() <= one.weights.max() <= 1


def test_every_block_of_an_encoder_has_a_map_and_skips_of_one_size_keep_their_own() -> None:
    found = attend(Image(ramp(33, 47)), untrained(encoder="cbam_resnet18", output_stride=8, skip="cbam"))
    blocks = [f"encoder_layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert [one.name for one in found] == [*blocks, "skip1_stride02", "skip2_stride04", "skip3_stride08", "skip4_stride08"]
    assert found[3].caption == "encoder layer2.1, stride 8, cbam"


def test_blocks_are_numbered_so_that_files_are_sorted() -> None:
    layer = nn.Sequential(*(Brightness(1) for _ in range(11)))
    assert names(seer(encoder=nn.ModuleDict({"layer1": layer})))[1:3] == ["encoder_layer1.01", "encoder_layer1.02"]


def test_several_maps_of_one_gate_are_told_apart() -> None:
    stages = [nn.ModuleDict({"near": Brightness(1), "far": Brightness(4)}), nn.ModuleDict({"only": Brightness(2)})]
    assert names(seer(decoder=nn.ModuleList(stages))) == ["skip1_stride02", "skip2_stride01_near", "skip2_stride04_far"]


def test_a_map_elsewhere_is_named_by_its_place() -> None:
    (found,) = attend(Image(ramp(33, 47)), seer(bottleneck=nn.ModuleDict({"spatial": Brightness(4)})))
    assert found.name == "bottleneck_spatial"


def test_a_model_without_spatial_attention_is_refused() -> None:
    with pytest.raises(SettingsError, match="untrained has no spatial attention: train with model.skip=cbam, scse or attention, or with a cbam_ encoder"):
        attend(Image(ramp(33, 47)), untrained(feature_scale=16, skip="se"))


# The files.


def save(path: Path, **model: Any) -> Path:
    torch.manual_seed(0)
    run = RunConfig.model_validate({**TREE, "model": {"feature_scale": 16, **model}})
    save_model(path, run, build_model(run.model).state_dict(), Card())
    return path


def predict(*arguments: object) -> int:
    return main(["predict", *(str(one) for one in arguments), "--precision", "fp32", "-q"])


def drawings(out: Path) -> list[str]:
    return sorted(path.relative_to(out / "attention").as_posix() for path in (out / "attention").rglob("*") if path.is_file())


def width_and_height(path: Path) -> tuple[int, int]:
    with Pillow.open(path) as drawing:
        return drawing.size


FOUR = [f"a_attention/skip{level}_stride{stride}.png" for level, stride in enumerate(("02", "04", "08", "16"), start=1)]


def test_each_picture_gets_a_drawing_of_each_map_and_a_sheet_of_all(tmp_path: Path) -> None:
    (tmp_path / "in" / "below").mkdir(parents=True)
    Pillow.fromarray(disc(0, (130, 170))[0]).save(tmp_path / "in" / "below" / "a.png")
    model = save(tmp_path / "gated.safetensors", skip="attention")
    assert predict(tmp_path / "in", "-r", "-m", model, "-o", tmp_path / "out", "--save-attention", "--tile", 64, "--tta") == 0
    assert drawings(tmp_path / "out") == sorted(f"below/{name}" for name in ["a_attention.png", *FOUR])
    assert width_and_height(tmp_path / "out" / "attention" / "below" / FOUR[0]) == (170, 130 + 26)


def test_the_mask_hides_nothing_of_a_map_however_many_pieces_it_has(tmp_path: Path) -> None:
    Pillow.fromarray(disc(0, (33, 47))[0]).save(tmp_path / "a.png")
    (source,), image, maps = find_sources(tmp_path / "a.png").sources, Image(ramp(33, 47)), [AttentionMap("one", "one", np.full((33, 47), 0.5, np.float32))]
    labels, speckles = RunConfig.model_validate(TREE).data.make_labels(), np.zeros((33, 47), np.uint8)
    speckles[::4, ::4] = 1
    for folder, indices in (("empty", np.zeros_like(speckles)), ("speckled", speckles)):
        found = Segmentation(Mask(indices, labels), 1.0)
        write_all(source, image, found, Attention(0, maps), Extras(attention=True), tmp_path / folder)
    folders, files = (tmp_path / "empty" / "attention", tmp_path / "speckled" / "attention"), ("a_attention.png", "a_attention/one.png")
    sheets, drawn = ([(folder / name).read_bytes() for folder in folders] for name in files)
    assert drawn[0] == drawn[1]
    assert sheets[0] != sheets[1]                                  # its first panel is the picture with the mask


def test_of_a_volume_one_slice_is_drawn(tmp_path: Path) -> None:
    stack = np.stack([disc(seed, (40, 30))[0] for seed in range(3)], axis=-1)
    nib.save(nib.Nifti1Image(stack, np.eye(4)), tmp_path / "a.nii.gz")
    model = save(tmp_path / "gated.safetensors", skip="cbam")
    assert predict(tmp_path / "a.nii.gz", "-m", model, "-o", tmp_path / "out", "--save-attention") == 0
    assert len(drawings(tmp_path / "out")) == 5


def test_a_model_without_attention_is_exit_code_2_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Pillow.fromarray(disc(0)[0]).save(tmp_path / "a.png")
    model = save(tmp_path / "plain.safetensors")
    assert predict(tmp_path / "a.png", "-m", model, "-o", tmp_path / "out", "--save-attention") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"segkit: {model} has no spatial attention: train with ")
    assert not (tmp_path / "out").exists()


def test_drawings_of_an_earlier_run_do_not_outlive_another_network_nor_a_failure(tmp_path: Path) -> None:
    Pillow.fromarray(disc(0)[0]).save(tmp_path / "a.png")
    for skip, strides in (("attention", ("02", "04", "08", "16")), ("cbam", ("01", "02", "04", "08"))):
        model = save(tmp_path / f"{skip}.safetensors", skip=skip)
        assert predict(tmp_path / "a.png", "-m", model, "-o", tmp_path / "out", "--save-attention") == 0
        assert [Path(name).stem[-2:] for name in drawings(tmp_path / "out")[1:]] == list(strides)
    (tmp_path / "a.png").write_bytes(b"")
    assert predict(tmp_path / "a.png", "-m", model, "-o", tmp_path / "out") == 1
    assert drawings(tmp_path / "out") == []


def test_from_python_it_is_refused_as_early(tmp_path: Path) -> None:
    Pillow.fromarray(disc(0)[0]).save(tmp_path / "a.png")
    model = untrained(feature_scale=16)
    with pytest.raises(SettingsError, match="untrained has no spatial attention"):
        predict_files(
            find_sources(tmp_path / "a.png").sources,
            model,
            tmp_path / "out",
            predict=model.run.predict,
            read=model.run.data.read,
            extras=Extras(attention=True),
        )
    assert not (tmp_path / "out").exists()
