"""The walk from pixels to a mask on the same grid, for pictures of any size."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from toys import disc

import segkit
from segkit.augment import AugmentSettings
from segkit.confidence import ExpectedDice
from segkit.config import PredictSettings, RunConfig
from segkit.engines import TorchEngine
from segkit.errors import ChannelsError, EmptyContentError, RangeError, ShapeError, VanishedError
from segkit.image import Image
from segkit.models import build_model
from segkit.patches import Band, TileSettings, join
from segkit.postprocess import PostprocessSettings
from segkit.predict import Model, load, segment
from segkit.score import Flips, Scorer, is_flat, is_lack_of_memory, known_flips, score

TREE = {"model": {"feature_scale": 16, "in_channels": 1}, "preprocess": {"channels": 1}, "data": {"labels": {"background": 0, "nerve": 7, "vessel": 200}}}


@pytest.fixture(scope="module")
def model() -> Model:
    """Three classes, untrained: what it says is nonsense, and the same nonsense every time."""
    torch.manual_seed(0)
    run = RunConfig.model_validate(TREE)
    return Model(run, TorchEngine(build_model(run.model), "cpu", "fp32"))


@pytest.fixture(scope="module")
def trained(disc_run: Path) -> Model:
    return load(disc_run, device="cpu", precision="fp32")


def scored(pictures: Iterable[torch.Tensor], engine: Scorer, tiles: TileSettings, flips: Flips = ((),)) -> list[torch.Tensor]:
    """(K, H, W) of each picture."""
    bands: dict[int, list[Band]] = {}
    for owner, band in score(enumerate(pictures), engine, tiles, flips):
        assert isinstance(band, Band)
        bands.setdefault(owner, []).append(band)
    return [join(some) for some in bands.values()]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("size", [(33, 47), (1, 200), (200, 1), (1, 1), (2, 3), (16, 16), (5, 63), (100, 17)])
@pytest.mark.parametrize("resize", [{"kind": "native"}, {"kind": "long_side", "pixels": 64}])
def test_a_mask_has_its_pictures_own_size_and_all_numbers_are_finite(model: Model, size: tuple[int, int], resize: dict[str, object]) -> None:
    run = RunConfig.model_validate({**TREE, "preprocess": {"channels": 1, "resize": resize}})
    found = segment(Image(noise(1, *size)), model.with_settings(run), keep_probabilities=True)
    assert (found.mask.indices.shape, found.mask.indices.dtype) == (size, np.uint8)
    assert found.probabilities is not None
    assert found.probabilities.shape == (3, *size)
    assert np.isfinite(found.probabilities).all()
    assert 1 / 3 - 1e-6 <= found.confidence <= 1 + 1e-6


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("intensity", [{"kind": "fixed"}, {"kind": "zscore"}, {"kind": "window", "level": 100, "width": 50}])
def test_a_constant_picture_gives_finite_numbers(model: Model, value: int, intensity: dict[str, object]) -> None:
    run = RunConfig.model_validate({**TREE, "preprocess": {"channels": 1, "intensity": intensity}})
    found = segment(Image(np.full((1, 33, 47), value, np.uint8)), model.with_settings(run), keep_probabilities=True)
    assert found.probabilities is not None
    assert np.isfinite(found.probabilities).all()


def test_probabilities_add_up_to_1_and_the_mask_is_the_likeliest_class(model: Model) -> None:
    found = segment(Image(noise(1, 33, 47)), model, keep_probabilities=True)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.astype(np.float32).sum(axis=0), 1, atol=2e-3)
    chosen = np.take_along_axis(found.probabilities, found.mask.indices[None].astype(int), axis=0)[0]
    assert (chosen >= found.probabilities.max(axis=0) - 1e-3).all()
    assert found.confidence == pytest.approx(float(chosen.astype(np.float64).mean()), abs=1e-3)


def test_probabilities_are_only_kept_where_they_are_asked_for(model: Model) -> None:
    assert segment(Image(noise(1, 9, 9)), model).probabilities is None


# Tiles, slices, mirror images.


def test_tiles_and_the_whole_picture_agree_far_from_the_seams() -> None:
    """A network sees 92 pixels far. Tiles end at column 144 and begin at 96: the first and last of 240 columns are farther than that from both.

    With transposed convolutions: bilinear upsampling with aligned corners depends a little on the size of the map.
    """
    torch.manual_seed(0)
    engine = TorchEngine(build_model("unet", feature_scale=32, in_channels=1, num_classes=3, upsampling="deconv"), "cpu", "fp32")
    picture = torch.rand(1, 32, 240)
    tiled = TileSettings(whole_up_to=0, tile=(32, 144), overlap=0.5)
    (one,), (many,) = (scored([picture], engine, tiles) for tiles in (TileSettings(), tiled))
    assert one.shape == many.shape == (3, 32, 240)
    assert one.std() > 0
    torch.testing.assert_close(many[..., :8], one[..., :8], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(many[..., -8:], one[..., -8:], atol=1e-5, rtol=1e-4)


def test_in_tiles_a_trained_network_sees_what_it_sees_at_once(trained: Model) -> None:
    pixels = np.concatenate([disc(100)[0], disc(101)[0], disc(102)[0]], axis=1)          # (48, 144)
    whole = segment(Image(pixels[None]), trained)
    tiled = segment(Image(pixels[None]), trained, PredictSettings(tiles=TileSettings(whole_up_to=0, tile=(48, 64), overlap=0.25)))
    assert np.mean(whole.mask.indices == tiled.mask.indices) > 0.97


@pytest.mark.parametrize("tiles", [TileSettings(), TileSettings(whole_up_to=0, tile=(32, 32), overlap=0.5)])
def test_test_time_augmentation_averages_the_mirror_images(model: Model, tiles: TileSettings) -> None:
    picture = torch.rand(1, 32, 48)
    four = ((), (-1,), (-2,), (-2, -1))
    (found,) = scored([picture], model.engine, tiles, four)
    if tiles == TileSettings():
        torch.testing.assert_close(found, torch.stack([model.engine(picture[None].flip(axes)).flip(axes)[0] for axes in four]).mean(dim=0))
    (mirrored,) = scored([picture.flip(-1)], model.engine, tiles, four)
    torch.testing.assert_close(mirrored.flip(-1), found, atol=1e-5, rtol=1e-4)


def test_a_mirror_image_by_itself_is_scored_as_one(model: Model) -> None:
    picture = torch.rand(1, 32, 48)
    (found,) = scored([picture], model.engine, TileSettings(), ((-1,),))
    torch.testing.assert_close(found, model.engine(picture[None].flip(-1)).flip(-1)[0])
    assert not torch.allclose(found, model.engine(picture[None])[0], atol=1e-3)


def test_only_the_mirror_images_that_training_knew_are_scored() -> None:
    def flips(across: float, down: float) -> list[tuple[int, ...]]:
        return list(known_flips(AugmentSettings(horizontal_flip=across, vertical_flip=down)))

    assert (flips(0, 0), flips(0.5, 0), flips(0, 0.5)) == ([()], [(), (-1,)], [(), (-2,)])
    assert flips(0.5, 0.5) == [(), (-1,), (-2,), (-2, -1)]


def test_mirror_images_are_scored_where_it_is_asked_for(model: Model) -> None:
    picture = Image(noise(1, 32, 48))
    once, often = (segment(picture, model, PredictSettings(tta=tta), keep_probabilities=True) for tta in (False, True))
    assert once.probabilities is not None
    assert often.probabilities is not None
    assert not np.array_equal(once.probabilities, often.probabilities)


def test_a_volume_is_its_slices_one_by_one(model: Model) -> None:
    stack = noise(5, 1, 33, 47)
    whole = segment(Image(stack, (2.0, 0.5, 0.5)), model, keep_probabilities=True)
    assert (whole.mask.indices.shape, whole.mask.spacing_mm) == ((5, 33, 47), (2.0, 0.5, 0.5))
    assert whole.probabilities is not None
    assert whole.probabilities.shape == (3, 5, 33, 47)
    singles = [segment(Image(plane), model) for plane in stack]
    np.testing.assert_array_equal(whole.mask.indices, [single.mask.indices for single in singles])
    assert whole.confidence == pytest.approx(np.mean([single.confidence for single in singles]), abs=1e-4)


def test_a_picture_scores_the_same_alone_and_among_others(model: Model) -> None:
    pictures = torch.rand(3, 1, 33, 47)
    together = scored(pictures, model.engine, TileSettings())
    (alone,) = scored(pictures[1:2], model.engine, TileSettings())
    torch.testing.assert_close(together[1], alone, atol=1e-5, rtol=1e-4)


def test_pictures_of_different_sizes_share_batches_and_come_back_in_order(model: Model) -> None:
    """Two of one size go together, a third of another size by itself, windows of the last two pictures together."""
    sizes = [(33, 47), (33, 47), (47, 33), (40, 64), (32, 64)]
    pictures = [torch.rand(1, *size) for size in sizes]
    batches: list[tuple[int, ...]] = []

    class Counting:
        along_slices = False
        batch_pixels, in_flight = 2**20, 1

        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            batches.append(tuple(batch.shape))
            return model.engine(batch)

        def score_volume(self, batches: object) -> Iterator[torch.Tensor]:
            raise NotImplementedError

    tiles = TileSettings(whole_up_to=33 * 47, tile=(32, 32), overlap=0)
    together = scored(pictures, Counting(), tiles)
    assert batches == [(2, 1, 33, 47), (1, 1, 47, 33), (6, 1, 32, 32)]
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = scored([picture], model.engine, tiles)
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-4)


class TwoAtATime:
    """Goes on with a batch only when another one is there too."""

    along_slices = False
    batch_pixels, in_flight = 33 * 47, 2

    def __init__(self) -> None:
        self.both = threading.Barrier(2, timeout=20)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.both.wait()
        return torch.cat([batch, -batch], dim=1)

    def score_volume(self, batches: object) -> Iterator[torch.Tensor]:
        raise NotImplementedError


def test_where_several_batches_are_on_their_way_pictures_keep_their_order() -> None:
    pictures = torch.rand(6, 1, 33, 47)
    found = list(score([(None, None), *enumerate(pictures), ("last", None)], TwoAtATime(), TileSettings()))
    assert [owner for owner, _ in found] == [None, 0, 1, 2, 3, 4, 5, "last"]
    for picture, (_, band) in zip(pictures, found[1:-1], strict=True):
        assert isinstance(band, Band)
        torch.testing.assert_close(band.logits, torch.cat([picture, -picture]))


def test_a_fault_of_a_batch_that_is_on_its_way_comes_through() -> None:
    class Broken(TwoAtATime):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("illegal instruction")

    with pytest.raises(RuntimeError, match="illegal instruction"):
        list(score(enumerate(torch.rand(6, 1, 33, 47)), Broken(), TileSettings()))


ON_LINUX = "[enforce fail at alloc_cpu.cpp:128] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes. Error code 12"
ON_WINDOWS = "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."


class Forgetful:
    """An engine whose memory holds so many pixels at a time."""

    along_slices = False
    batch_pixels, in_flight = 2**20, 1

    def __init__(self, pixels: int, words: str = ON_LINUX) -> None:
        self.pixels, self.words = pixels, words

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if batch[:, 0].numel() > self.pixels:
            raise RuntimeError(self.words)
        return torch.cat([batch, -batch], dim=1)

    def score_volume(self, batches: object) -> Iterator[torch.Tensor]:
        raise NotImplementedError


@pytest.mark.parametrize("words", [ON_LINUX, ON_WINDOWS, "std::bad_alloc", "Failed to allocate memory for requested buffer of size 1"])
def test_where_memory_is_short_fewer_and_smaller_patches_give_the_same(words: str) -> None:
    pictures = torch.rand(3, 1, 200, 300)
    for pixels in (2 * 200 * 300, 200 * 300, 160 * 160):
        for picture, found in zip(pictures, scored(pictures, Forgetful(pixels, words), TileSettings()), strict=True):
            torch.testing.assert_close(found, torch.cat([picture, -picture]))


def test_torch_says_what_we_listen_for_when_memory_is_short() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_lack_of_memory(caught.value)
    assert not is_lack_of_memory(RuntimeError("illegal instruction"))


def test_a_picture_that_does_not_fit_at_all_is_given_up_and_the_next_one_follows() -> None:
    pictures = [torch.rand(1, 64, 64), torch.rand(1, 300, 300), torch.rand(1, 64, 64)]
    found = list(score(enumerate(pictures), Forgetful(64 * 64), TileSettings(whole_up_to=64 * 64, tile=(200, 200))))
    assert [(owner, type(band)) for owner, band in found] == [(0, Band), (1, MemoryError), (2, Band)]


def test_flat_windows_are_background_and_the_network_is_asked_about_the_others_alone(model: Model) -> None:
    picture = torch.zeros(1, 32, 128)
    picture[..., 40:60] = torch.rand(32, 20)
    asked: list[torch.Tensor] = []

    class Asked(Forgetful):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            asked.append(batch)
            return torch.cat([-batch, batch, batch], dim=1) - 9

    tiles = TileSettings(whole_up_to=0, tile=(32, 32), overlap=0, skip_flat=0.01)
    bands = [band for _, band in score([("one", picture)], Asked(0), tiles, classes=3) if isinstance(band, Band)]
    logits = join(bands)
    assert [tuple(batch.shape) for batch in asked] == [(1, 1, 32, 32)]
    assert torch.equal(asked[0][0], picture[..., 32:64])
    assert logits[:, 0, 0].softmax(dim=0).tolist() == pytest.approx([0.9647, 0.0177, 0.0177], abs=1e-3)
    torch.testing.assert_close(logits[1, :, 32:64], picture[0, :, 32:64] - 9)
    for more in ({}, {"classes": None}):                              # without their number nothing is skipped
        list(score([("one", picture)], Asked(0), tiles, **more))
    assert sum(len(batch) for batch in asked) == 1 + 4 + 4


@pytest.mark.parametrize(("limit", "expected"), [(0.0, False), (0.4, False), (0.6, True)])
def test_flat_is_what_deviates_little_in_every_channel(limit: float, expected: bool) -> None:
    patch = torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]])                    # deviations 0 and 0.5
    assert is_flat(patch, limit) is expected


def test_what_is_no_lack_of_memory_is_not_hidden() -> None:
    class Broken(Forgetful):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        scored(torch.rand(1, 1, 8, 8), Broken(0), TileSettings())


def test_what_is_known_of_the_shape_is_applied_to_the_mask(trained: Model) -> None:
    pixels = disc(7)[0]
    settings = PredictSettings(postprocess=PostprocessSettings(min_size_px=10**6))
    assert segment(Image(pixels[None]), trained).mask.areas_px()["disc"] > 50
    assert segment(Image(pixels[None]), trained, settings).mask.areas_px() == {"disc": 0}


# How sure it is.


def test_a_temperature_makes_probabilities_milder_and_leaves_the_mask(trained: Model) -> None:
    image = Image(disc(7)[0][None])
    sharp, mild = (segment(image, trained, PredictSettings(temperature=t), keep_probabilities=True) for t in (1.0, 4.0))
    np.testing.assert_array_equal(mild.mask.indices, sharp.mask.indices)
    assert sharp.probabilities is not None
    assert mild.probabilities is not None
    odds = np.log(sharp.probabilities.astype(np.float64)) / 4                                    # softmax(logits / 4)
    np.testing.assert_allclose(mild.probabilities, np.exp(odds) / np.exp(odds).sum(axis=0), atol=2e-3)
    assert 0.5 <= mild.confidence < sharp.confidence


def test_the_confidence_of_the_foreground_is_that_of_its_pixels(model: Model) -> None:
    found = segment(Image(noise(1, 33, 47)), model, keep_probabilities=True)
    assert found.probabilities is not None
    inside = found.mask.indices > 0
    assert inside.any()
    assert found.foreground_confidence == pytest.approx(found.probabilities.astype(np.float64).max(axis=0)[inside].mean(), abs=1e-3)
    assert found.expected_dice is None


def test_what_a_model_has_learnt_to_expect_comes_with_the_mask(trained: Model) -> None:
    line = ExpectedDice(at_half=0.2, at_one=0.8, when_empty=0.4)
    found = segment(Image(disc(7)[0][None]), trained, PredictSettings(expected_dice=line))
    assert found.expected_dice == pytest.approx(0.2 + 0.6 * (2 * found.foreground_confidence - 1))
    nothing = segment(Image(np.full((1, 48, 48), 60, np.uint8)), trained, PredictSettings(expected_dice=line))
    assert nothing.mask.areas_px() == {"disc": 0}
    assert (np.isnan(nothing.foreground_confidence), nothing.expected_dice) == (True, 0.4)


# From Python.


def test_a_path_an_array_and_an_image_give_the_same_mask(trained: Model, tmp_path: Path) -> None:
    pixels, truth = disc(99)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    masks = [trained.predict(given) for given in (tmp_path / "a.png", str(tmp_path / "a.png"), pixels, Image(pixels[None]))]
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask.indices, masks[0].indices)
    overlap = 2 * ((masks[0].values == 255) & (truth == 255)).sum() / ((masks[0].values == 255).sum() + (truth == 255).sum())
    assert overlap > 0.8


def test_the_values_are_the_users_own_and_the_spacing_gives_areas(model: Model) -> None:
    mask = model.predict(noise(33, 47), spacing_mm=(0.5, 0.25))
    assert set(np.unique(mask.values)) <= {0, 7, 200}
    areas = mask.areas_mm()
    assert areas is not None
    assert areas["nerve"] == pytest.approx(mask.areas_px()["nerve"] * 0.125)


def test_the_front_door_loads_a_folder_and_a_file(disc_run: Path) -> None:
    by_folder, by_file = segkit.load(disc_run), segkit.load(str(disc_run / "model.safetensors"))
    assert by_folder.labels.names == by_file.labels.names == ("background", "disc")
    assert by_folder.card.steps > 0


def test_a_model_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match=r"nowhere: no such model file; .*built-in name: fundus-vessels"):
        load(tmp_path / "nowhere")


def test_a_colour_picture_is_no_grey_one(trained: Model) -> None:
    with pytest.raises(ChannelsError, match=r"has 3 channels \(colour\), the model takes 1 channel \(grey\); allow it with --convert-channels"):
        trained.predict(noise(33, 47, 3))


def test_five_channels_are_no_grey_picture_either(trained: Model) -> None:
    with pytest.raises(ChannelsError, match=r"has 5 channels, the model takes 1 channel \(grey\)$"):
        trained.predict(noise(5, 33, 47))


def test_sixteen_bits_are_not_taken_for_white(trained: Model) -> None:
    with pytest.raises(RangeError, match=r"pixels run from 0 to 60000 \(uint16\), the model takes 0 to 255"):
        trained.predict(np.array([[0, 60000]], np.uint16))


def test_an_array_of_four_axes_is_no_picture(trained: Model) -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 3, 4, 5\); expected"):
        trained.predict(noise(2, 3, 4, 5))


def test_an_array_with_holes_is_filled_and_one_of_holes_alone_refused(model: Model) -> None:
    pixels = noise(33, 47).astype(np.float32)
    pixels[3, 5] = np.nan
    assert model.predict(pixels).indices.shape == (33, 47)
    with pytest.raises(EmptyContentError):
        model.predict(np.full((33, 47), np.nan, np.float32))
