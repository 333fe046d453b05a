"""The state of a run: there and back, and refused where it belongs to another run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import toy_run

from segkit.checkpoint import load_model
from segkit.config import RunConfig
from segkit.errors import SettingsError, VanishedError, WeightsError, WriteError
from segkit.train.record import Row
from segkit.train.state import State, fresh_state, identity, make_optimizer, recipe, restore, save_state

CPU = torch.device("cpu")


def make_state(run: RunConfig) -> State:
    return fresh_state(run, CPU, "fp32")


def stepped(run: RunConfig) -> State:
    """One step away from the start."""
    state = make_state(run)
    state.network(torch.rand(2, 1, 16, 16)).square().mean().backward()
    state.optimizer.step()
    state.step, state.best, state.loss = 7, 0.25, 1.5
    state.history.append(Row(7, 0.5, 1e-3, 1.5, {"disc": 0.25}))
    state.loaded.append("w.pth: all loaded")
    return state


def test_a_saved_state_comes_back_whole(tmp_path: Path) -> None:
    run = toy_run(tmp_path)
    state = stepped(run)
    save_state(state, tmp_path / "state.pt", run, "abc")
    drawn = torch.rand(3)
    torch.manual_seed(5)
    back = make_state(run)
    restore(back, tmp_path / "state.pt", run, "abc")
    for key, value in state.network.state_dict().items():
        assert torch.equal(back.network.state_dict()[key], value)
        assert torch.equal(back.averaged[key], state.averaged[key])
    assert (back.step, back.best, back.loss, back.history) == (7, 0.25, 1.5, state.history)
    assert back.loaded == ["w.pth: all loaded"]
    for one, other in zip(back.optimizer.state.values(), state.optimizer.state.values(), strict=True):
        assert torch.equal(one["exp_avg_sq"], other["exp_avg_sq"])
    assert torch.equal(torch.rand(3), drawn)                       # the random numbers go on where they were


def test_a_full_disk_is_told_in_words_and_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2417152 vs 2417048")

    run, path = toy_run(tmp_path), tmp_path / "run" / "state.pt"
    with monkeypatch.context() as full:
        full.setattr(torch, "save", half)
        with pytest.raises(WriteError, match=r"state\.pt: not written, most likely because the disk is full; make room and start again$"):
            save_state(make_state(run), path, run, "abc")
    assert list(path.parent.iterdir()) == []
    save_state(make_state(run), path, run, "abc")
    before = path.read_bytes()
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(WriteError, match="make room and go on with --resume from the state that was saved before"):
        save_state(stepped(run), path, run, "abc")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"train": {"learning_rate": 0.5}}, "train.learning_rate"),
        ({"train": {"batch_size": 3}}, "train.batch_size"),
        ({"train": {"steps": 99, "seed": 3}}, "train.seed, train.steps"),
        ({"model": {"feature_scale": 8}}, "model.feature_scale"),
        ({"augment": {"rotation": 5}}, "augment.rotation"),
        ({"loss": {"dice": 2}}, "loss.dice"),
        ({"data": {"labels": {"background": 0, "ring": 255}}}, "data.labels"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], name: str) -> None:
    run = toy_run(tmp_path)
    save_state(make_state(run), tmp_path / "state.pt", run, "abc")
    tree = run.model_dump()
    for room, settings in changed.items():
        tree[room].update(settings)
    other = RunConfig.model_validate(tree)
    with pytest.raises(SettingsError, match=f"its run had other settings for {name}; resume with the same ones"):
        restore(make_state(run), tmp_path / "state.pt", other, "abc")


def test_how_long_and_where_it_runs_may_change(tmp_path: Path) -> None:
    assert identity(toy_run(tmp_path)) == identity(toy_run(tmp_path / "moved", minutes=5, patience=3, workers=2, cache_mb=1, tensorboard=True))


def test_other_data_is_refused(tmp_path: Path) -> None:
    run = toy_run(tmp_path)
    save_state(make_state(run), tmp_path / "state.pt", run, "abc")
    with pytest.raises(SettingsError, match="saw other training data than there is now"):
        restore(make_state(run), tmp_path / "state.pt", run, "abd")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", pickle.dumps({"step": 1}, protocol=2), b"words"])
def test_a_damaged_state_is_refused(tmp_path: Path, content: bytes) -> None:
    run = toy_run(tmp_path)
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="is not the state of a run, or is damaged"):
        restore(make_state(run), tmp_path / "state.pt", run, "abc")


def test_a_torch_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(WeightsError, match="is not the state of a run"):
        restore(make_state(toy_run(tmp_path)), tmp_path / "state.pt", toy_run(tmp_path), "abc")


def test_the_seed_decides_the_first_weights(tmp_path: Path) -> None:
    first, same, other = (make_state(toy_run(tmp_path, seed=seed)).network.state_dict() for seed in (1, 1, 2))
    key = "head.weight"
    assert torch.equal(first[key], same[key])
    assert not torch.equal(first[key], other[key])


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_biases_and_batch_norms_are_not_decayed(tmp_path: Path, kind: str) -> None:
    run = toy_run(tmp_path, optimizer=kind, weight_decay=0.1)
    network = make_state(run).network
    decay = {id(parameter): group["weight_decay"] for group in make_optimizer(network, run.train).param_groups for parameter in group["params"]}
    assert {name: decay[id(parameter)] for name, parameter in network.named_parameters()} == {
        name: 0.1 if parameter.ndim == 4 else 0.0 for name, parameter in network.named_parameters()
    }


def test_sgd_goes_with_nesterov_where_there_is_momentum(tmp_path: Path) -> None:
    for momentum, nesterov in ((0.9, True), (0.0, False)):
        run = toy_run(tmp_path, optimizer="sgd", momentum=momentum)
        optimizer = make_optimizer(make_state(run).network, run.train)
        assert isinstance(optimizer, torch.optim.SGD)
        assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (momentum, nesterov)


def test_a_run_can_start_from_the_weights_of_another(disc_run: Path, discs: Path) -> None:
    run = toy_run(discs, start_from=str(disc_run / "model.safetensors"))
    state = fresh_state(run, CPU, "fp32")
    weights = load_model(disc_run).weights
    assert all(torch.equal(value, weights[key]) for key, value in state.network.state_dict().items())
    assert state.loaded == [f"{disc_run / 'model.safetensors'}: {len(weights)} of the network's {len(weights)} tensors loaded"]


def test_a_run_with_other_classes_and_channels_starts_from_it_too_and_says_how(disc_run: Path, discs: Path) -> None:
    tree = toy_run(discs, start_from=disc_run).model_dump()
    tree["data"]["labels"] = {"background": 0, "disc": 255, "ring": 128}
    tree["preprocess"] = {"channels": 2}
    tree["model"] = {"feature_scale": 16, "decoder_batchnorm": True, "deep_supervision": True}
    state = fresh_state(RunConfig.model_validate(tree), CPU, "fp32")
    own, given = state.network.state_dict(), load_model(disc_run).weights
    assert own["head.weight"].shape[0] == 3
    assert all(torch.equal(own[key], given[key]) for key in given if key.startswith("decoder."))
    assert torch.allclose(own["encoder.stages.0.0.weight"], given["encoder.stages.0.0.weight"].expand(-1, 2, -1, -1) / 2)
    loaded, *rest = state.loaded
    assert loaded == f"{disc_run}: {len(given) - 3} of the network's {len(own)} tensors loaded"
    assert rest[0] == "1 adapted, from 1 channel to 2: encoder.stages.0.0.weight"
    assert rest[1] == "2 adapted, rows of background, disc: head.weight, head.bias"
    assert rest[2] == "4 started fresh, not in the file: side_heads.0.weight, side_heads.0.bias, side_heads.1.weight, side_heads.1.bias"
    assert rest[3:] == ["class background: goes on as background", "class disc: goes on as disc", "class ring: starts fresh"]


def test_heads_that_only_the_file_has_are_left_out(tmp_path: Path) -> None:
    tree = toy_run(tmp_path).model_dump()
    tree["model"]["deep_supervision"] = True
    torch.save(make_state(RunConfig.model_validate(tree)).network.state_dict(), tmp_path / "w.pth")
    told = make_state(toy_run(tmp_path, start_from=tmp_path / "w.pth")).loaded
    assert told[1].startswith("4 left out, a head that the network lacks: side_heads.0.weight, ")


def test_weights_to_start_from_must_be_there_and_fit(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match=r"nowhere\.pth: no such weights file"):
        make_state(toy_run(tmp_path, start_from=str(tmp_path / "nowhere.pth")))
    weights = make_state(toy_run(tmp_path)).network.state_dict()
    weights["encoder.stages.1.0.weight"] = torch.zeros(1)
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"do not fit the network of the settings; 1 of another shape: encoder\.stages\.1\.0\.weight"):
        make_state(toy_run(tmp_path, start_from=str(tmp_path / "w.pth")))


# What a finished run came of.


def test_where_a_run_was_made_does_not_decide_what_comes_of_it(tmp_path: Path) -> None:
    elsewhere = toy_run(tmp_path / "moved", workers=2, cache_mb=1, tensorboard=True, downloads=tmp_path)
    assert recipe(toy_run(tmp_path), tmp_path) == recipe(elsewhere, Path.cwd())


@pytest.mark.parametrize("setting", [{"minutes": 5.0}, {"patience": 3}, {"precision": "bf16"}, {"pretrained": "imagenet"}, {"learning_rate": 0.5}])
def test_how_long_and_from_where_decide_what_comes_of_it(tmp_path: Path, setting: dict[str, Any]) -> None:
    one, other = recipe(toy_run(tmp_path), tmp_path), recipe(toy_run(tmp_path, **setting), tmp_path)
    assert [key for key in one if one[key] != other[key]] == [f"train.{name}" for name in setting]


def test_weights_are_the_same_where_their_paths_end_in_one_place(tmp_path: Path) -> None:
    def begun(path: str, folder: Path) -> dict[str, Any]:
        return recipe(toy_run(tmp_path, start_from=path), folder)

    assert begun("a/w.pth", tmp_path) == begun("w.pth", tmp_path / "a") == begun(str(tmp_path / "a/w.pth"), Path("elsewhere"))
    assert begun("w.pth", tmp_path) != begun("w.pth", tmp_path / "a")


def test_how_it_predicts_decides_what_a_run_comes_to_and_not_whether_it_can_go_on(tmp_path: Path) -> None:
    run = toy_run(tmp_path)
    other = run.model_copy(update={"predict": run.predict.model_copy(update={"tta": True})})
    assert identity(run) == identity(other)
    assert recipe(run, tmp_path) != recipe(other, tmp_path)


def test_an_encoder_can_have_a_share_of_the_learning_rate(tmp_path: Path) -> None:
    run = toy_run(tmp_path, encoder_rate=0.25)
    network = make_state(run).network
    share = {id(parameter): group["share"] for group in make_optimizer(network, run.train).param_groups for parameter in group["params"]}
    assert {name: share[id(parameter)] for name, parameter in network.named_parameters()} == {
        name: 0.25 if name.startswith("encoder.") else 1.0 for name, _ in network.named_parameters()
    }


def test_a_state_from_before_there_were_shares_goes_on(tmp_path: Path) -> None:
    run = toy_run(tmp_path)
    state = stepped(run)
    save_state(state, tmp_path / "state.pt", run, "abc")
    content = torch.load(tmp_path / "state.pt", weights_only=True)
    for name in ("train.freeze", "train.freeze_epochs", "train.encoder_rate"):
        del content["settings"][name]
    for group in content["optimizer"]["param_groups"]:
        del group["share"]
    torch.save(content, tmp_path / "state.pt")
    back = make_state(run)
    restore(back, tmp_path / "state.pt", run, "abc")
    assert back.step == 7
