"""Several networks that decide together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.attend import require_attention
from segkit.checkpoint import Card, ModelFile, fingerprint_of, join_models, load_model, read_weights, save_model
from segkit.cli import main
from segkit.config import RunConfig
from segkit.engines import TorchEngine, build_engine
from segkit.engines.extras import EXTRAS
from segkit.errors import SettingsError, WeightsError
from segkit.models import build_model
from segkit.models.ensemble import Ensemble, build_members
from segkit.predict import load

TREE = {"preprocess": {"channels": 1}, "model": {"feature_scale": 32}, "data": {"labels": {"background": 0, "nerve": 7, "vessel": 200}}}


class Says(nn.Module):
    """A network whose logits are always the same, (K,)."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, picture: Tensor) -> Tensor:
        return self.logits[None, :, None, None].expand(len(picture), -1, *picture.shape[-2:])


def write(path: Path, seed: int, tree: dict[str, object] | None = None, **card: object) -> Path:
    torch.manual_seed(seed)
    run = RunConfig.model_validate(tree or TREE)
    save_model(path, run, build_model(run.model).state_dict(), Card(**card))
    return path


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """An ensemble's file, and those of its three members."""
    folder = tmp_path_factory.mktemp("ensemble")
    members = [write(folder / f"{seed}.safetensors", seed) for seed in range(3)]
    file = join_models(members)
    save_model(folder / "all.safetensors", file.run, file.weights, file.card)
    return folder / "all.safetensors", members


def test_probabilities_are_averaged_so_that_no_member_is_louder_than_the_others() -> None:
    """3/4, 3/4 and 1/10000 for class 0: the mean is 1/2; in the mean of logits the last one would decide alone."""
    three, sure = float(np.log(3)), float(np.log(9999))
    ensemble = Ensemble([Says(three, 0), Says(5 + three, 5), Says(0, sure)])
    probabilities = ensemble(torch.zeros(2, 1, 3, 4)).softmax(dim=1)
    assert probabilities.shape == (2, 2, 3, 4)
    torch.testing.assert_close(probabilities[0, :, 0, 0], torch.tensor([(1.5 + 1e-4) / 3, (1.5 - 1e-4) / 3]))


def test_what_a_member_rules_out_stays_finite() -> None:
    logits = Ensemble([Says(0, 1e5), Says(0, 1e5)]).bfloat16()(torch.zeros(1, 1, 2, 2))
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_one_member_is_a_plain_network() -> None:
    run = RunConfig.model_validate(TREE)
    assert build_members(run.model, 1).state_dict().keys() == build_model(run.model).state_dict().keys()


@pytest.mark.parametrize("name", ["torch", "openvino", "onnxruntime"])
def test_every_engine_averages_the_probabilities_of_the_members(joined: tuple[Path, list[Path]], name: str) -> None:
    for package in EXTRAS.get({"onnxruntime": "onnx"}.get(name, name), ()):
        pytest.importorskip(package)
    picture = torch.randn(2, 1, 33, 47)
    choice = {"device": "cpu", "precision": "fp32", "engine": name}
    members = [load(path, **choice).engine(picture).softmax(dim=1) for path in joined[1]]
    found = load(joined[0], **choice).engine(picture).softmax(dim=1)
    torch.testing.assert_close(found, torch.stack(members).mean(dim=0), atol=1e-5, rtol=1e-4)


def test_along_slices_each_member_looks_at_the_whole_volume() -> None:
    torch.manual_seed(0)
    members = [build_model("unet", feature_scale=32, bottleneck="slice_gru", in_channels=1).eval() for _ in range(2)]
    for member in members:
        nn.init.normal_(member.bottleneck.weigh.weight)
    volume = [torch.randn(2, 1, 32, 48), torch.randn(1, 1, 32, 48)]
    engines = [TorchEngine(network, "cpu", "fp32") for network in (Ensemble(members), *members)]
    together, *alone = (torch.cat(list(engine.score_volume(lambda: volume))).softmax(dim=1) for engine in engines)
    assert engines[0].along_slices
    torch.testing.assert_close(together, torch.stack(alone).mean(dim=0), atol=1e-5, rtol=1e-4)
    with pytest.raises(SettingsError, match="scores slices one by one, and this network looks along them"):
        build_engine("onnxruntime", Ensemble(members))


# The file.


def test_summary_tells_how_many_members_there_are(joined: tuple[Path, list[Path]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(joined[0]), "--size", "32x32"]) == 0
    assert "An ensemble of 3 such networks: all that is told above is one's" in capsys.readouterr().out
    assert main(["summary", str(joined[0]), "--size", "32x32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["members"] == 3


def test_an_ensemble_has_no_attention_to_draw(joined: tuple[Path, list[Path]]) -> None:
    with pytest.raises(SettingsError, match=r"all\.safetensors is an ensemble of 3, each with an attention of its own; draw that of one member's file"):
        require_attention(load(joined[0], device="cpu"))


def test_an_ensemble_is_one_file_that_predicts_like_any_model(joined: tuple[Path, list[Path]]) -> None:
    model = load(joined[0], device="cpu", precision="fp32")
    assert model.card.members == 3
    mask = model.predict(np.random.default_rng(0).integers(0, 256, (33, 47), dtype=np.uint8))
    assert mask.indices.shape == (33, 47)
    assert set(np.unique(mask.values)) <= {0, 7, 200}


def test_a_joined_file_gives_back_each_member(joined: tuple[Path, list[Path]]) -> None:
    given = [fingerprint_of(load_model(path).weights) for path in joined[1]]
    assert [fingerprint_of(weights) for weights in load_model(joined[0]).members()] == given


def test_an_ensemble_in_an_ensemble_gives_all_its_members(joined: tuple[Path, list[Path]], tmp_path: Path) -> None:
    file = join_models([joined[0], write(tmp_path / "d.safetensors", 9)])
    assert file.card.members == 4
    assert {key.split(".")[1] for key in file.weights} == {"0", "1", "2", "3"}


def test_the_card_of_an_ensemble_says_what_its_members_were(tmp_path: Path) -> None:
    about = [{"trained_on": "fold A", "licence": "research", "steps": 3, "scores": {"validation": {"nerve": 0.5}}}, {"trained_on": "fold B", "steps": 4}]
    file = join_models([write(tmp_path / f"{seed}.safetensors", seed, **card) for seed, card in enumerate(about)])
    assert file.card == Card("fold A; fold B", "", {"validation of 1": {"nerve": 0.5}}, 7, "research", members=2)


def test_training_may_start_from_the_first_member(joined: tuple[Path, list[Path]]) -> None:
    weights, report = read_weights(joined[0])
    assert fingerprint_of(weights) == fingerprint_of(load_model(joined[1][0]).weights)
    assert report == ["took the first of 3 members of the ensemble"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"labels": {"background": 0, "nerve": 8, "vessel": 200}}}, r"b\.safetensors: data\.labels\.nerve is 8, that of .*a\.safetensors is 7"),
        ({"data": {"labels": {"background": 0, "vessel": 200, "nerve": 7}}}, "its classes come as background, vessel, nerve, those of"),
        ({"data": {"labels": {"background": 0, "nerve": 7, "vein": 200}}}, r"data\.labels\.vessel is missing, that of .* is 200"),
        ({"model": {"feature_scale": 16}}, r"model\.feature_scale is 16\.0, that of .* is 32\.0; the members of an ensemble share labels"),
        ({"preprocess": {"channels": 1, "intensity": {"kind": "zscore"}}}, r"preprocess\.intensity\.kind is zscore, that of .* is fixed"),
        ({"augment": {"horizontal_flip": 0}}, r"augment\.horizontal_flip is 0\.0, that of"),
    ],
)
def test_members_that_differ_are_refused_with_what_differs(tmp_path: Path, change: dict[str, object], words: str) -> None:
    models = [write(tmp_path / "a.safetensors", 0), write(tmp_path / "b.safetensors", 1, {**TREE, **change})]
    with pytest.raises(WeightsError, match=words):
        join_models(models)


def test_an_ensemble_of_one_and_one_with_the_same_weights_twice_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "a.safetensors", 0)
    with pytest.raises(SettingsError, match="at least two members, 1 was given"):
        join_models([one])
    with pytest.raises(WeightsError, match="holds the same weights as another member"):
        join_models([one, one])


@pytest.mark.parametrize("members", [0, 101, "many", None])
def test_a_card_with_an_impossible_number_of_members_is_refused(joined: tuple[Path, list[Path]], tmp_path: Path, members: object) -> None:
    file = load_model(joined[0])
    card = Card()
    object.__setattr__(card, "members", members)
    save_model(tmp_path / "m.safetensors", file.run, file.weights, card)
    with pytest.raises(WeightsError, match="its card does not fit this segkit.*members is .*, expected 1 to 100"):
        load_model(tmp_path / "m.safetensors")


def test_weights_of_fewer_members_than_the_card_says_are_refused(joined: tuple[Path, list[Path]], tmp_path: Path) -> None:
    file = load_model(joined[0])
    less = ModelFile(file.run, {key: value for key, value in file.weights.items() if not key.startswith("members.2.")}, file.card)
    save_model(tmp_path / "m.safetensors", less.run, less.weights, less.card)
    with pytest.raises(WeightsError, match=r"missing: members\.2\."):
        load(tmp_path / "m.safetensors")
