"""Settings: read strictly, wrong ones named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segkit.config import RunConfig, check_overrides, load_run, parse_yaml, validate_run
from segkit.errors import SettingsError, VanishedError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_that_come_along_are_right_and_find_their_data(path: Path) -> None:
    run = load_run(path)
    assert run.model.num_classes == len(run.data.labels)
    assert run.data.manifest is not None
    assert run.data.manifest.is_file()


def test_a_run_comes_back_from_what_is_saved_of_it() -> None:
    run = load_run(CONFIGS[0])
    assert validate_run(run.model_dump(mode="json"), "card") == run


def test_channels_and_classes_follow_from_the_data(tmp_path: Path) -> None:
    run = load_run(write(tmp_path, "data: {labels: {background: 0, a: 1, b: 2}}\npreprocess: {channels: 5}"))
    assert (run.model.num_classes, run.model.in_channels) == (3, 5)


def test_an_override_replaces_one_setting(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {learning_rate: 1e-3, batch_size: 4}")
    run = load_run(path, ["train.learning_rate=3e-4", "data.labels={background: 255, cell: 0}", "predict.tiles.overlap=0.5"])
    assert (run.train.learning_rate, run.train.batch_size, run.predict.tiles.overlap) == (3e-4, 4, 0.5)
    assert run.data.labels == {"background": 255, "cell": 0}


def test_paths_in_a_file_are_relative_to_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {manifest: pairs/manifest.csv}")
    assert load_run(path).data.manifest == tmp_path / "pairs/manifest.csv"
    assert load_run(path, ["data.manifest=here.csv"]).data.manifest == Path("here.csv")


@pytest.mark.parametrize("weights", ["imagenet", "https://host/w.pth", "file:///w.pth"])
def test_what_is_no_path_stays_as_it_is(tmp_path: Path, weights: str) -> None:
    assert load_run(write(tmp_path, f"train: {{pretrained: '{weights}'}}")).train.pretrained == weights


def test_pretrained_weights_and_the_folder_for_them_are_relative_to_the_file(tmp_path: Path) -> None:
    run = load_run(write(tmp_path, "train: {pretrained: w.pth, downloads: weights}\ndata: {images: imagenet, masks: masks}"))
    assert (run.train.pretrained, run.train.downloads) == (str(tmp_path / "w.pth"), tmp_path / "weights")
    assert run.data.images == tmp_path / "imagenet"                      # only for weights is it another word


def test_the_home_folder_is_the_users_own_wherever_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    text = "data: {manifest: ~/m.csv}\ntrain: {pretrained: ~/w.pth, downloads: '~'}"
    run = load_run(write(tmp_path, text), values={"train.tensorboard": False})
    assert run.data.manifest == tmp_path / "me" / "m.csv"
    assert (run.train.pretrained, run.train.downloads) == (str(tmp_path / "me" / "w.pth"), tmp_path / "me")
    assert load_run(write(tmp_path, ""), ["train.start_from=~/w.pth"]).train.start_from == tmp_path / "me" / "w.pth"
    assert load_run(write(tmp_path, ""), values={"data.manifest": Path("~/m.csv")}).data.manifest == tmp_path / "me" / "m.csv"
    assert load_run(write(tmp_path, "data: {manifest: ~old.csv}")).data.manifest == tmp_path / "~old.csv"           # a name like any other


def test_parts_in_place_of_those_of_a_combination_are_remarked(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {name: unet, encoder: resnet18, skip: se, upsampling: deconv}")
    assert load_run(path).remarks == ()
    run = load_run(path, ["model.name=cpfnet"])
    assert run.remarks == ("cpfnet with encoder resnet18 in place of resnet34, skip se in place of gpg",)
    assert (run.model.encoder, run.model.bottleneck) == ("resnet18", "sapf")
    assert load_run(path, ["model={name: cpfnet, skip: gpg}"]).remarks == ()
    assert "remarks" not in str(run.model_dump())


@pytest.mark.parametrize("text", ["model: CPFNet", "model: {name: cpfnet}", "model: {name: CPFNet}"])
def test_a_name_alone_stands_for_a_network_with_its_usual_parts(tmp_path: Path, text: str) -> None:
    run = load_run(write(tmp_path, text))
    assert (run.model.encoder, run.model.bottleneck, run.remarks) == ("resnet34", "sapf", ())
    assert load_run(write(tmp_path, "model: {encoder: resnet18, decoder_widths: [8, 8, 8, 8]}"), ["model=cpfnet"]) == run


@pytest.mark.parametrize("overrides", [["model.skip=se", "model=CPFNet"], ["model=cpfnet", "model.skip=se"]])
def test_a_group_comes_before_its_settings_wherever_it_stands(tmp_path: Path, overrides: list[str]) -> None:
    path = write(tmp_path, "model: {encoder: resnet18}")
    for run in (load_run(path, overrides), load_run(path, overrides[:1], dict([overrides[1].split("=")]))):
        assert (run.model.encoder, run.model.skip) == ("resnet34", "se")
        assert run.remarks == ("cpfnet with skip se in place of gpg",)
    assert load_run(write(tmp_path, "model: cpfnet"), ["model.skip=se"]).model.skip == "se"
    assert load_run(path, ["model.skip=se", "model.skip=cbam"]).model.skip == "cbam"          # of two alike the later one


def test_a_new_name_beside_settings_of_the_old_network_says_how_to_replace_them(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {name: unet, encoder: resnet18, decoder_widths: [8, 8, 8, 8]}")
    left = r"leave decoder_\* out; model\.name leaves what the file says besides of the model \(encoder, decoder_widths\), model=cpfnet replaces it"
    with pytest.raises(SettingsError, match=left):
        load_run(path, ["model.name=cpfnet"])
    with pytest.raises(SettingsError, match=r"leave decoder_\* out$"):                             # no new name, no such advice
        load_run(path, ["model.skip=gpg"])
    with pytest.raises(SettingsError, match=r"did you mean cpfnet\?$"):
        load_run(path, ["model.name=cpfnett"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {encoder_chanels: 3}", r"run\.model\.encoder_chanels is not a setting of UNetSettings; "),
        ("model: {feature_scal: 3}", r"did you mean feature_scale\?"),
        ("model: {name: cpfnett}", r"no model is called 'cpfnett'; did you mean cpfnet\?"),
        ("model: segformer", r"no model is called 'segformer'; there are: unet, unetplusplus, cpfnet"),
        ("train: {lerning_rate: 1}", r"run\.train\.lerning_rate is not a setting of TrainSettings; did you mean learning_rate\?"),
        ("preprocess: {intensity: {kind: fixed, hihg: 3}}", r"hihg is not a setting of FixedRange; did you mean high\?"),
        ("trian: {}", r"run\.trian is not a setting of RunConfig; did you mean train\?"),
        ("train: {lr: 1}", r"run\.train\.lr is not a setting of TrainSettings; did you mean train\.learning_rate\?"),
        ("train: {learning_rate: 10}", r"run\.train\.learning_rate: Input should be less than or equal to 1, found 10"),
        ("train: {learning_rate: -1, batch_size: 0}", r"\(and 1 more\)"),
        ("train: {patch: [8, 64]}", "the smallest is 16x16"),
        ("train: {workers: -1}", "workers is -1"),
        ("train: {start_from: a.pth, pretrained: imagenet}", r"both start_from \(a whole network\) and pretrained \(an encoder\) are given; leave one out"),
        ("model: {num_classes: 7}", "model.num_classes is 7, but data.labels says 2; leave model.num_classes out"),
        ("preprocess: {resize: {kind: long}}", r"run\.preprocess\.resize\.kind: 'long' is not one of 'native', 'long_side', 'spacing'"),
        ("train: {slices: 3}", r"train\.slices is 3, but only model\.bottleneck slice_gru looks along slices; leave it out"),
        ("data: {labels: {background: 0, a: 0}}", "each name and each value may stand once"),
        ("a: 1\na: 2", "line 2: the key 'a' stands twice"),
        ("train:\n\tpatch: 3", r"line 2: found character '\\t'"),
        ("a: &x [1]\nb: *x", r"line 2: aliases \(\*name\) are not allowed"),
        ("? [a]\n: b", r"can't be a key"),
        ("- 1\n- 2", "holds a list; expected settings"),
        ("loss: {class_weights: [1, 2, 3]}", "loss.class_weights has 3 numbers for 2 classes"),
        ("loss: {dice: 0, cross_entropy: 0}", "there is nothing to learn from"),
        ("data: {manifest: a.csv, images: b, masks: c}", "both a manifest and the folders"),
        ("data: {images: b, masks: c, validation_split: val}", "validation_split needs a manifest"),
        ("data: 3", r"run\.data: Input should be"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_a_mistake_becomes_one_line_with_the_file_and_the_repair(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError, match=message) as caught:
        load_run(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["train.learning_rate", "=3", "train..x=3"])
def test_an_override_without_a_value_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(SettingsError, match=r"expected a\.b=value"):
        load_run(write(tmp_path, ""), [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr=3", r"^--set train\.lr=3: train\.lr is not a setting: did you mean train\.learning_rate\?$"),
        ("learning_rate=3", r": learning_rate is not a setting: did you mean train\.learning_rate\?$"),
        ("lerning_rate=3", r"did you mean train\.learning_rate\?$"),
        ("trian.patch=3", r"did you mean train\.patch\?$"),
        ("augment.rot=3", r"did you mean augment\.rotation\?$"),
        ("kind=zscore", r"did you mean preprocess\.intensity\.kind or preprocess\.resize\.kind\?$"),
        ("train={lr: 3}", r"^--set train=\{lr: 3\}: train\.lr is not a setting: did you mean train\.learning_rate\?$"),
        ("loss.xyz=1", r"loss\.xyz is not a setting: loss has name, dice, cross_entropy, "),
        ("xyz=1", r"xyz is not a setting: a run has description, data, preprocess, "),
        ("train.minutes.x=1", r"train\.minutes is a value, not a group of settings$"),
        ("train.learning_rate=10", r"train\.learning_rate can't be 10: Input should be less than or equal to 1$"),
        ("train={batch_size: 0}", r"train\.batch_size can't be 0: Input should be greater than or equal to 1$"),
        ("train=3", r"train can't be 3: Input should be a valid dictionary"),
        ("preprocess.resize.kind=foo", r"preprocess\.resize\.kind can't be 'foo': Input should be 'native' or 'long_side' or 'spacing'$"),
        ("model=cpfnett", r"^--set model=cpfnett: no model is called 'cpfnett'; did you mean cpfnet\?$"),
    ],
)
def test_an_override_that_can_never_be_is_refused_by_itself(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_overrides([override])


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("train.freeze_epochs=5", ("train.freeze_epochs", 5)),                     # wrong only where nothing is frozen
        ("preprocess.resize.pixels=96", ("preprocess.resize.pixels", 96)),         # of one of several kinds
        ("preprocess.resize={kind: long_side}", ("preprocess.resize", {"kind": "long_side"})),
        ("model={name: U-Net, skip: se}", ("model", {"name": "U-Net", "skip": "se"})),
        ("data.labels.nerve=1", ("data.labels.nerve", 1)),
        ("predict.postprocess.classes.nerve.largest_only=true", ("predict.postprocess.classes.nerve.largest_only", True)),
        ("train.minutes=null", ("train.minutes", None)),
    ],
)
def test_an_override_that_may_be_right_beside_others_is_left_alone(override: str, change: tuple[str, Any]) -> None:
    assert check_overrides([override]) == [change]


def test_values_with_any_characters_replace_settings_too(tmp_path: Path) -> None:
    assert load_run(write(tmp_path, ""), values={"data.manifest": Path("süß 🩺.csv")}).data.manifest == Path("süß 🩺.csv")


def test_an_override_below_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="description is a value, not a group"):
        load_run(write(tmp_path, "description: x"), ["description.y=3"])


def test_no_file_is_told_apart_from_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match="no such file; expected the settings of a run as YAML"):
        load_run(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="can't be read as text"):
        load_run(tmp_path / "bytes.yaml")


def test_numbers_mean_what_yaml_1_2_says() -> None:
    assert parse_yaml("[1e-3, 1E5, -2.5e3, 1.5]", "text") == [0.001, 100000.0, -2500.0, 1.5]


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbftrain:\r\n  batch_size: 3\r\n")
    assert load_run(path).train.batch_size == 3


def test_a_default_run_is_valid() -> None:
    assert RunConfig().model.num_classes == 2


def test_neighbouring_slices_are_channels_too(tmp_path: Path) -> None:
    assert load_run(write(tmp_path, "preprocess: {channels: 1, context: 2}")).model.in_channels == 5
