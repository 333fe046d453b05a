"""Rules, not tuning: a table of sets, those that the recipes in configs/ were made for and some that nobody has seen, and what follows for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from segkit.check.measurements import ChannelIntensity, ClassMeasurements, Measurements, Range
from segkit.config import RunConfig, load_run, validate_run
from segkit.finetune.orientation import Orientation, Side
from segkit.finetune.recipe import Recipe
from segkit.finetune.rules import Subject, derive
from segkit.finetune.rules.scale import choose_growth, choose_scale, fit_memory
from segkit.labels import Labels

CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class Bench:
    """A machine on which a pixel of a plain network takes so long, that of any other twice, and a quarter the feature scale four times."""

    seconds_per_pixel: float = 2e-6
    memory_bytes: int = 16 * 2**30

    def seconds_per_step(self, tree: Mapping[str, Any]) -> float:
        model, train = tree["model"], tree["train"]
        cost = {"resnet18": 1.4, "resnet34": 3.0}.get(model.get("encoder", "plain"), (4 / (model.get("feature_scale") or 2)) ** 2)
        return float(cost * train["batch_size"] * train["patch"][0] * train["patch"][1] * self.seconds_per_pixel)

    def bytes_per_step(self, tree: Mapping[str, Any]) -> int:
        return int(1000 * tree["train"]["batch_size"] * tree["train"]["patch"][0] * tree["train"]["patch"][1])


TWO_CORES = Bench()
GPU = Bench(seconds_per_pixel=2e-8, memory_bytes=70 * 2**30)


def one(number: float) -> Range:
    return Range(number, number, number)


def intensity(low: float, high: float) -> ChannelIntensity:
    return ChannelIntensity(one(low), one((low + high) / 2), one(high), one((low + high) / 2), one((high - low) / 4))


def kind(name: str, *, share: float, diameter: float, thickest: float, median: float, large: float | None = None) -> ClassMeasurements:
    """A class: its share of the pixels, median diameter, greatest and median distance from the edge; `large` is the diameter at the 95th percentile."""
    area, most = 0.785 * diameter**2, 0.785 * (large or diameter) ** 2
    return ClassMeasurements(name, share, 1.0, 1.0, 40, area / 4, area, most, diameter, thickest, median)


def subject(
    *classes: ClassMeasurements,
    height: Range,
    width: Range,
    cases: int = 40,
    channels: Mapping[int, int] | None = None,
    dtypes: Mapping[str, int] | None = None,
    levels: tuple[float, float] = (0, 255),
    depth: float | None = None,
    spacing: tuple[Range, ...] | None = None,
    colour: float = 0.0,
    sides: tuple[float, float] = (0.0, 0.0),
    inside: tuple[float, float] = (0.0, 255.0),
) -> Subject:
    channels, volumes = channels or {1: cases}, cases if depth else 0
    background = ClassMeasurements("background", 1 - sum(c.pixel_share for c in classes), 1.0, 1.0, 0, 0, 0, 0, 0, 0, 0)
    measured = Measurements(
        cases, cases, {"": cases}, volumes, round(cases * (depth or 1)), height, width, None if depth is None else one(depth), spacing,
        cases if spacing is None else 0, channels, dtypes or {"uint8": cases}, tuple(intensity(*levels) for _ in range(max(channels))),
        (background, *classes), 0.0, 0.0,
    )  # fmt: skip
    names = ("background", *(c.name for c in classes))
    orientation = Orientation(Side("brightness", sides[0]), Side("brightness", sides[1]), inside, colour, 9.0, 20)
    return Subject("set", measured, Labels(names, tuple(range(len(names)))), orientation, round(0.7 * cases), round(0.12 * cases))


# As `segkit check` measures the four sets that the recipes were made for.
VESSELS = subject(
    kind("vessel", share=0.087, diameter=8.8, thickest=6.3, median=1.0, large=201), height=one(584), width=one(565), channels={3: 40}, colour=1.5
)
MEMBRANES = subject(kind("membrane", share=0.22, diameter=23, thickest=17, median=2.0, large=282), height=one(512), width=one(512), cases=30)
NERVES = subject(
    kind("nerve", share=0.031, diameter=79.7, thickest=31.4, median=10.9, large=150),
    kind("vessel", share=0.041, diameter=97.4, thickest=43.8, median=14.0, large=190),
    height=Range(512, 512, 632), width=Range(512, 534, 761), cases=244, channels={1: 40, 3: 204}, sides=(0.3, 3.0),
)  # fmt: skip
HIPPOCAMPUS = subject(
    kind("anterior", share=0.027, diameter=11.3, thickest=6.3, median=2.0, large=17),
    kind("posterior", share=0.025, diameter=9.3, thickest=5.8, median=2.0, large=15),
    height=Range(40, 50, 59), width=Range(31, 35, 43), cases=260, depth=36, dtypes={"uint8": 55, "float32": 205}, levels=(27, 910),
    spacing=(one(1), one(1), one(1)), sides=(1.5, 2.0),
)  # fmt: skip

# Sets that nobody has seen.
PHOTOGRAPHS = subject(
    kind("lesion", share=0.15, diameter=1400, thickest=600, median=200), height=one(3000), width=one(4000), cases=30, channels={3: 30}, colour=1.5
)
TINY = subject(kind("spot", share=0.1, diameter=20, thickest=9, median=3), height=one(64), width=one(64), cases=3000)
MICROSCOPY = subject(
    kind("nucleus", share=0.2, diameter=40, thickest=16, median=6, large=60), height=one(2048), width=one(2048), cases=50,
    dtypes={"uint16": 50}, levels=(200, 41000),
)  # fmt: skip
CT = subject(
    kind("liver", share=0.05, diameter=130, thickest=50, median=18, large=160), height=one(512), width=one(512), cases=40, depth=120,
    dtypes={"int16": 40}, levels=(-1010, 1500), spacing=(one(2.5), Range(0.6, 0.75, 0.98), Range(0.6, 0.75, 0.98)), inside=(20.0, 180.0), sides=(2.0, 1.2),
)  # fmt: skip


def run_of(given: Subject, minutes: float = 10, machine: Bench = TWO_CORES, start: RunConfig | None = None) -> RunConfig:
    """Derived, written as YAML and checked."""
    settings = derive(given, minutes, machine, start=start)
    tree: dict[str, Any] = {"data": {"labels": given.labels.mapping}}
    for setting in settings:
        room, _, key = setting.key.partition(".")
        tree.setdefault(room, {})[key] = setting.value
    return validate_run(tree, "derived")


@pytest.mark.parametrize(
    ("name", "given"), [("vessels", VESSELS), ("membranes", MEMBRANES), ("nerve", NERVES), ("hippocampus", HIPPOCAMPUS)], ids=lambda value: str(value)[:12]
)
def test_they_come_to_what_was_found_by_hand(name: str, given: Subject) -> None:
    derived, by_hand = run_of(given), load_run(CONFIGS / f"{name}.yaml")
    assert derived.preprocess == by_hand.preprocess
    assert (derived.train.patch, derived.train.batch_size) == (by_hand.train.patch, by_hand.train.batch_size)
    assert derived.train.progressive == by_hand.train.progressive
    assert (derived.model.encoder, derived.model.feature_scale) == (by_hand.model.encoder, by_hand.model.feature_scale)
    assert (derived.augment.horizontal_flip, derived.augment.vertical_flip) == (by_hand.augment.horizontal_flip, by_hand.augment.vertical_flip)
    assert (derived.train.learning_rate, derived.train.weight_decay) == (by_hand.train.learning_rate, by_hand.train.weight_decay)
    assert derived.loss == by_hand.loss
    assert derived.train.minutes == 10


def test_thirty_large_photographs_of_one_blob_are_made_small_and_seen_whole() -> None:
    run = run_of(PHOTOGRAPHS)
    assert run.preprocess.resize.model_dump() == {"kind": "long_side", "pixels": 96}              # 20 of 1400 px would be 57
    assert (run.preprocess.channels, run.train.patch) == (3, (80, 96))
    assert run.model.encoder == "resnet18"
    assert run.train.progressive is None                                                          # 72 px would be too few for it


def test_thousands_of_tiny_pictures_stay_as_they_are_many_in_a_step() -> None:
    run = run_of(TINY)
    assert (run.preprocess.resize.kind, run.train.patch, run.train.batch_size) == ("native", (64, 64), 16)
    assert run.preprocess.intensity.kind == "fixed"


def test_sixteen_bit_microscopy_goes_by_each_pictures_own_mean() -> None:
    run = run_of(MICROSCOPY)
    assert run.preprocess.intensity.kind == "zscore"
    assert (run.preprocess.resize.kind, run.train.patch, run.model.encoder) == ("native", (128, 128), "plain")


def test_ct_is_looked_at_through_a_window_around_what_was_drawn_and_at_one_spacing() -> None:
    run = run_of(CT)
    assert run.preprocess.intensity.model_dump() == {"kind": "window", "level": 100.0, "width": 240.0}       # 20 to 180, and a quarter on either side
    assert run.preprocess.resize.model_dump() == {"kind": "spacing", "mm": 4.88}                            # 0.75 mm, of which 20 of 130 px are left
    assert run.preprocess.context == 1
    assert run.augment.horizontal_flip == 0.0                                                               # the liver lies on one side


def test_each_setting_of_consequence_has_its_reason_and_comes_back_from_yaml(tmp_path: Path) -> None:
    for given in (VESSELS, NERVES, CT, PHOTOGRAPHS):
        recipe = Recipe(("heading",), tuple(derive(given, 10, TWO_CORES)))
        unexplained = {setting.key for setting in recipe.settings if not setting.reason}
        assert unexplained.isdisjoint({"preprocess.resize", "preprocess.intensity", "train.patch", "train.batch_size", "model.name", "augment.vertical_flip"})
        (tmp_path / "config.yaml").write_text(recipe.to_yaml(), "utf-8")
        derived = load_run(tmp_path / "config.yaml", values={"data.labels": given.labels.mapping})
        assert derived == run_of(given)


def test_more_time_or_a_gpu_goes_into_pixels_steps_and_width() -> None:
    slow, long, fast = run_of(NERVES), run_of(NERVES, minutes=100), run_of(NERVES, minutes=10, machine=GPU)
    sides = [run.preprocess.resize.model_dump().get("pixels") for run in (slow, long, fast)]
    assert sides == [128, None, None]                                                 # with 40 of 80 px there is no sense in making them small
    assert [run.train.patch for run in (slow, long, fast)] == [(128, 128), (256, 256), (640, 768)]
    assert run_of(VESSELS, machine=Bench(seconds_per_pixel=1e-9)).model.feature_scale == 1
    assert run_of(VESSELS).model.feature_scale == 4


@pytest.mark.parametrize(("minutes", "growth"), [(1, 0.5), (10, 1.0), (30, 1.0), (60, 2.0), (10_000, 4.0)])
def test_growth_goes_by_the_work_that_can_be_done(minutes: float, growth: float) -> None:
    data = {"data": {"labels": {"background": 0, "a": 1}}}
    assert choose_growth(minutes, TWO_CORES, data) == growth


def test_what_memory_can_not_hold_is_halved() -> None:
    batch = next(setting for setting in derive(VESSELS, 10, TWO_CORES) if setting.key == "train.batch_size")
    tree = {"train": {"patch": [128, 128], "batch_size": batch.value}}
    assert fit_memory(batch, TWO_CORES, tree) == batch
    short = fit_memory(batch, Bench(memory_bytes=75 * 2**20), tree)                   # 4 patches of 16.4 MB: 66 MB; 37 are allowed
    assert short.value == 2
    assert short.reason.startswith("4 would take more than half")


def test_a_rare_class_is_drawn_more_often_and_weighs_more() -> None:
    rare = kind("bleeding", share=0.0004, diameter=9, thickest=4, median=1.5)
    run = run_of(subject(rare, height=one(1000), width=one(1500)))
    assert run.train.foreground_share == 0.67
    assert run.loss.class_weights == (1.0, 5.0)                                       # the root of 0.01 / 0.0004


def test_what_is_between_objects_that_cover_most_of_a_picture_has_a_dice_of_its_own() -> None:
    cells = kind("cell", share=0.78, diameter=27, thickest=60, median=9.0)
    assert run_of(subject(cells, height=one(512), width=one(512), cases=30)).loss.background
    assert not run_of(VESSELS).loss.background
    assert not run_of(NERVES).loss.background


def test_colour_is_kept_where_any_picture_has_it() -> None:
    mixed = run_of(replace(NERVES, orientation=replace(NERVES.orientation, colour=0.5)))
    assert (mixed.preprocess.channels, mixed.preprocess.convert_channels) == (3, True)
    assert not run_of(MEMBRANES).preprocess.convert_channels


def test_a_model_to_begin_with_says_how_its_pictures_are_prepared() -> None:
    start = run_of(NERVES)
    run = run_of(subject(kind("nerve", share=0.05, diameter=40, thickest=18, median=6), height=one(300), width=one(400)), start=start)
    assert run.preprocess.resize == start.preprocess.resize
    assert (run.model.encoder, run.train.learning_rate, run.train.encoder_rate) == ("resnet18", 5e-4, 0.3)
    sixteen_bit = run_of(MICROSCOPY, start=start)
    assert sixteen_bit.preprocess.intensity.kind == "zscore"                          # its range of 0 to 255 would refuse them


def test_nothing_measured_keeps_the_pictures_as_they_are() -> None:
    empty = replace(kind("a", share=0.1, diameter=1, thickest=1, median=1), objects=0)
    scale = choose_scale(subject(empty, height=one(100), width=one(100)), 1.0)
    assert scale.resize.value == {"kind": "native"}
    assert "nothing was measured" in scale.resize.reason


def test_whole_pictures_that_are_seldom_seen_are_changed_a_little() -> None:
    """600 s of steps of 1.4 x 4 x 128 x 128 x 2e-6 s, 4 of 171 pictures each."""
    settings = {setting.key: setting for setting in derive(NERVES, 10, TWO_CORES)}
    assert settings["augment.affine"].reason.startswith("each picture is seen only about 76 times")
    assert [settings[f"augment.{key}"].value for key in ("rotation", "scale", "noise")] == [15, [0.85, 1.18], 0]
    assert run_of(NERVES, minutes=30).augment.rotation == 30
    assert (run_of(VESSELS).augment.rotation, run_of(VESSELS, minutes=1).augment.rotation) == (30, 30)       # patches
    assert (run_of(HIPPOCAMPUS).augment.rotation, run_of(HIPPOCAMPUS, minutes=1).augment.rotation) == (20, 20)


def test_reasons_say_what_is_so() -> None:
    few = replace(NERVES, orientation=replace(NERVES.orientation, cases=3))
    reasons = {setting.key: setting.reason for setting in derive(few, 10, TWO_CORES)}
    assert reasons["augment.horizontal_flip"] == "fewer than 5 cases say nothing of left and right, which mostly are alike"
    assert reasons["augment.vertical_flip"] == "fewer than 5 cases say nothing of top and bottom, which mostly mean something"
    reasons = {setting.key: setting.reason for setting in derive(few, 30, TWO_CORES)}
    assert reasons["augment.rotation"] == "no picture is taken quite straight, and mirror images are of this set"
    sided = {setting.key: setting.reason for setting in derive(HIPPOCAMPUS, 10, TWO_CORES)}
    assert sided["predict.tta"] == "no mirror image is one of this set"
    assert sided["augment.rotation"] == "no picture is taken quite straight; further would exchange sides that mean something"
