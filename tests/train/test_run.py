"""A run from its settings to its folder: it learns, ends when it should, and can be taken up where it was left."""

from __future__ import annotations

import csv
import errno
import json
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from toys import toy_run, write_discs

from segkit.checkpoint import load_model
from segkit.config import RunConfig
from segkit.dataset import find_cases
from segkit.errors import CorruptFileError, EmptyFileError, SettingsError, TrainingError, VanishedError, WriteError
from segkit.io.claim import claimed
from segkit.train import Outcome, Report, Row, Silence, run, train
from segkit.train.state import fresh_state


class Witness(Silence):
    """Writes down what it is told; sends this process a signal after a step."""

    def __init__(self, stop_after: int | None = None, number: int = signal.SIGTERM) -> None:
        self.notes: list[str] = []
        self.reports: list[Report] = []
        self.rows: list[Row] = []
        self._stop_after, self._number = stop_after, number

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stepped(self, report: Report) -> None:
        self.reports.append(report)
        if report.step == self._stop_after:
            os.kill(os.getpid(), self._number)

    def validated(self, row: Row) -> None:
        self.rows.append(row)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every look at the clock takes a fifth of a second."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: 0.2 * next(ticks)))
    yield


def scores_in_turn(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Validations give these, whatever the network does."""
    left = iter(scores)

    def evaluate_pairs(pairs: Any, metrics: Sequence[str]) -> Any:
        return SimpleNamespace(classes={"disc": SimpleNamespace(means={"dice": next(left)})})

    monkeypatch.setattr(run, "evaluate_pairs", evaluate_pairs)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All numbers that a run has learnt: weights, their running mean, the optimizer's moments, and the weights that were kept."""
    state = torch.load(folder / "state.pt", weights_only=True)
    found = {f"{part}.{key}": value for part in ("network", "averaged") for key, value in state[part].items()}
    for number, moments in state["optimizer"]["state"].items():
        found |= {f"optimizer.{number}.{key}": value for key, value in moments.items()}
    if (folder / "model.safetensors").exists():
        found |= {f"kept.{key}": value for key, value in load_model(folder).weights.items()}
    return found


def assert_same(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, discs: Path) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(toy_run(discs), folder)
    return folder


# It learns, and leaves what it promises.


def test_it_learns_to_see_bright_discs_in_seconds(disc_run: Path) -> None:
    assert json.loads((disc_run / "run.json").read_text())["outcome"]["best"] > 0.8


def test_the_folder_holds_all_that_is_promised(disc_run: Path) -> None:
    names = {path.relative_to(disc_run).as_posix() for path in disc_run.rglob("*") if path.is_file()}
    assert names >= {"model.safetensors", "state.pt", "run.json", "log.csv", "curves.png"}
    overlays = [disc_run / name for name in names if name.startswith("validation/")]
    assert len(overlays) == 2                                      # the pictures of the patient who was set aside
    with Pillow.open(overlays[0]) as drawn:
        assert drawn.size == (48, 48)
    assert not [name for name in names if ".tmp" in name]


def test_the_record_says_with_what_and_on_what_it_ran(disc_run: Path, discs: Path) -> None:
    told = json.loads((disc_run / "run.json").read_text())
    assert told["settings"]["train"]["learning_rate"] == 0.01
    assert told["versions"]["torch"] == torch.__version__
    assert told["precision"] == "fp32"
    assert len(told["data"]["training"]) + len(told["data"]["validation"]) == 6
    assert set(told["data"]["pixels"]) == {"background", "disc"}
    assert told["outcome"]["reason"] == "finished"
    assert [row["step"] for row in told["validations"]] == [20, 40]
    assert [row["step"] for row in csv.DictReader((disc_run / "log.csv").open())] == ["20", "40"]


def test_the_model_says_what_it_was_trained_on(disc_run: Path) -> None:
    card = load_model(disc_run).card
    assert (card.trained_on, len(card.fingerprint)) == ("no description; 4 pictures or volumes", 64)
    assert card.scores["validation"]["disc"] == json.loads((disc_run / "run.json").read_text())["outcome"]["best"]


def test_the_watcher_is_told_of_every_step_and_validation(tmp_path: Path, discs: Path) -> None:
    witness = Witness()
    train(toy_run(discs), tmp_path, watcher=witness)
    assert [(report.step, report.progress) for report in witness.reports] == [(step, step / 6) for step in range(1, 7)]
    assert [row.step for row in witness.rows] == [3, 6]
    assert witness.notes[0].startswith("4 pairs to train on, 2 to validate on; cpu")


@pytest.mark.parametrize("settings", [{"optimizer": "sgd", "schedule": "poly"}, {"ema": 0.0, "precision": "bf16"}, {"validations": 1, "warmup_share": 0.0}])
def test_other_optimizers_schedules_and_precisions_train_too(tmp_path: Path, discs: Path, settings: dict[str, Any]) -> None:
    outcome = train(toy_run(discs, steps=2, **settings), tmp_path)
    assert (outcome.reason, outcome.steps) == ("finished", 2)
    assert load_model(tmp_path).card.steps in (1, 2)


def test_without_a_running_mean_the_weights_themselves_are_kept(tmp_path: Path, discs: Path) -> None:
    train(toy_run(discs, steps=2, ema=0.0), tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert all(torch.equal(value, state["averaged"][key]) for key, value in state["network"].items())


def test_a_young_running_mean_forgets_fast_and_an_old_one_slowly(tmp_path: Path) -> None:
    state = fresh_state(toy_run(tmp_path), torch.device("cpu"), "fp32")
    state.averaged["head.bias"].fill_(1.0)                         # the network's is 0
    run.average(state, 0.99)
    assert state.averaged["head.bias"].tolist() == pytest.approx([0.1, 0.1])     # kept: (1 + 0) / (10 + 0)
    state.step = 10**6
    run.average(state, 0.99)
    assert state.averaged["head.bias"].tolist() == pytest.approx([0.099, 0.099])


def test_weights_to_begin_with_are_told_and_noted_also_when_the_run_is_resumed(tmp_path: Path, discs: Path, disc_run: Path) -> None:
    settings, witness = toy_run(discs, start_from=disc_run, steps=2, validations=1), Witness(1)
    assert train(settings, tmp_path, watcher=witness).reason == "interrupted"
    (line,) = [note for note in witness.notes if "tensors loaded" in note]
    assert line.startswith(f"{disc_run}: ")
    train(settings, tmp_path, resume=True)
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["weights"], told["directory"]) == ([line], str(Path.cwd()))


def test_a_part_in_place_of_that_of_a_combination_is_told_once(tmp_path: Path, discs: Path) -> None:
    tree = toy_run(discs, steps=1, validations=1).model_dump()
    tree["model"] = {"name": "cpfnet", "encoder": "plain", "feature_scale": 16}
    witness = Witness()
    train(RunConfig.model_validate(tree), tmp_path, watcher=witness)
    assert [note for note in witness.notes if "cpfnet" in note] == ["cpfnet with encoder plain in place of resnet34"]


# Interrupted, and taken up again.


@pytest.mark.parametrize(("step", "number", "workers"), [(2, signal.SIGINT, 0), (4, signal.SIGTERM, 0), (1, signal.SIGTERM, 1)])
def test_an_interrupted_run_goes_on_to_the_same_weights_bit_for_bit(
    tmp_path: Path, discs: Path, uninterrupted: Path, step: int, number: int, workers: int
) -> None:
    stopped = train(toy_run(discs, workers=workers), tmp_path, watcher=Witness(step, number))
    assert (stopped.reason, stopped.steps, stopped.signal) == ("interrupted", step, number)
    assert multiprocessing.active_children() == []
    done = train(toy_run(discs), tmp_path, resume=True)
    assert (done.reason, done.steps) == ("finished", 6)
    assert_same(tmp_path, uninterrupted)
    assert [row["step"] for row in csv.DictReader((tmp_path / "log.csv").open())] == ["3", "6"]


def test_a_run_that_is_at_its_end_when_it_is_asked_to_stop_is_finished_and_says_that_it_was_asked(tmp_path: Path, discs: Path, uninterrupted: Path) -> None:
    ended = train(toy_run(discs), tmp_path, watcher=Witness(6, signal.SIGINT))
    assert (ended.reason, ended.steps, ended.signal) == ("finished", 6, signal.SIGINT)
    assert_same(tmp_path, uninterrupted)


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path, discs: Path, uninterrupted: Path) -> None:
    train(toy_run(discs), tmp_path)
    assert train(toy_run(discs), tmp_path, resume=True).steps == 6
    assert_same(tmp_path, uninterrupted)


def test_a_run_is_never_overwritten(discs: Path, uninterrupted: Path) -> None:
    before = (uninterrupted / "model.safetensors").read_bytes()
    with pytest.raises(SettingsError, match="holds a run already; continue it with --resume, or choose another folder"):
        train(toy_run(discs), uninterrupted)
    assert (uninterrupted / "model.safetensors").read_bytes() == before


def test_nothing_can_not_be_resumed(tmp_path: Path, discs: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds nothing to resume \(no state\.pt\)"):
        train(toy_run(discs), tmp_path, resume=True)


def test_a_run_is_not_resumed_with_other_settings_or_data(tmp_path: Path, discs: Path, uninterrupted: Path) -> None:
    with pytest.raises(SettingsError, match=r"had other settings for train\.batch_size"):
        train(toy_run(discs, batch_size=3), uninterrupted, resume=True)
    with pytest.raises(SettingsError, match="saw other training data"):
        train(toy_run(write_discs(tmp_path, size=(40, 47))), uninterrupted, resume=True)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_the_way_of_the_folder_is_told_before_anything_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"is a file; -o takes a folder|can't be made"):
        train(toy_run(tmp_path / "nowhere.csv"), tmp_path / name)


# When it ends.


def test_a_run_keeps_to_its_minutes(tmp_path: Path, discs: Path) -> None:
    outcome = train(toy_run(discs, minutes=0.03, validations=1), tmp_path)
    assert 0.03 <= outcome.minutes < 0.5                           # a last step and validation are finished, on a slow machine too


def test_with_minutes_the_learning_rate_reaches_0_at_the_end_and_the_last_validation_fits_in(tmp_path: Path, discs: Path, clock: None) -> None:
    witness = Witness()
    outcome = train(toy_run(discs, minutes=0.1, validations=3), tmp_path, watcher=witness)
    assert outcome.reason == "finished"
    assert 5 < 60 * outcome.minutes < 7                            # 6, and a step takes 0.6
    assert len(witness.rows) == 3
    assert witness.rows[-1].learning_rate < 0.05 * 1e-3
    progress = [report.progress for report in witness.reports]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert witness.reports[-1].seconds_left < 1


def test_a_run_that_is_resumed_with_more_minutes_is_validated_in_them_too(tmp_path: Path, discs: Path, clock: None) -> None:
    train(toy_run(discs, minutes=0.05, validations=2), tmp_path)
    before = len(list(csv.DictReader((tmp_path / "log.csv").open())))
    witness = Witness()
    outcome = train(toy_run(discs, minutes=0.1, validations=2), tmp_path, resume=True, watcher=witness)
    assert (outcome.reason, before) == ("finished", 2)
    assert witness.rows[-1].step == outcome.steps > witness.rows[0].step - 1


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores_in_turn(monkeypatch, 0.5, 0.6, 0.6, 0.4)
    outcome = train(toy_run(discs, validations=6, patience=2), tmp_path)
    assert (outcome.reason, outcome.steps, outcome.best) == ("stopped early", 4, 0.6)
    assert load_model(tmp_path).card.steps == 3                    # the best is what was kept, of equally good ones the latest


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Diverged(torch.nn.Module):
        def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            return logits.sum() * math.nan

    monkeypatch.setattr(run, "build_loss", lambda settings: Diverged())
    with pytest.raises(TrainingError, match=r"the loss became nan at step 0: lower train\.learning_rate \(now 0\.001\)"):
        train(toy_run(discs), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_worker_that_is_killed_ends_the_run_and_leaves_no_process_behind(tmp_path: Path, discs: Path) -> None:
    class Killer(Silence):
        def stepped(self, report: Report) -> None:
            for child in multiprocessing.active_children():
                child.kill()

    with pytest.raises(TrainingError, match=r"loading patches failed: a worker process died; with train\.workers=0"):
        train(toy_run(discs, workers=1, steps=10**6), tmp_path, watcher=Killer())
    assert multiprocessing.active_children() == []


# Data that can't be used.


def test_a_damaged_picture_is_named_before_the_first_step(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path / "data")
    picture = tmp_path / "data" / "images" / "00.png"
    picture.write_bytes(picture.read_bytes()[:200])
    witness = Witness()
    with pytest.raises(CorruptFileError, match=r"00\.png"):
        train(toy_run(manifest, validations=1), tmp_path / "run", watcher=witness)
    assert witness.reports == []


def test_bad_pairs_on_either_side_are_named_together_before_the_first_step(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path / "data")
    for number in ("06", "07"):                                    # the split that is validated on
        picture = tmp_path / "data" / "images" / f"{number}.png"
        picture.write_bytes(picture.read_bytes()[:200])
    tree = toy_run(manifest).model_dump()
    settings = RunConfig.model_validate({**tree, "data": {**tree["data"], "validation_split": "test"}})
    witness = Witness()
    with pytest.raises(CorruptFileError, match=r"06\.png.*\(and 1 more bad pairs: 07\.png\)"):
        train(settings, tmp_path / "run", watcher=witness)
    assert witness.reports == []


def test_files_that_are_not_there_are_listed_before_any_is_read(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path / "data")
    for number in ("00", "03"):
        (tmp_path / "data" / "masks" / f"{number}.png").unlink()
    with pytest.raises(VanishedError, match=r"2 of 12 files are not there: .*0[03]\.png, .*0[03]\.png; bring them"):
        train(toy_run(manifest), tmp_path / "run")


def test_what_fails_in_the_middle_loses_no_step(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path / "data")
    pictures = {path: path.read_bytes() for path in (tmp_path / "data" / "images").iterdir()}

    class Vandal(Silence):
        def stepped(self, report: Report) -> None:
            if report.step == 2:
                for path in pictures:
                    path.write_bytes(b"")

    settings = toy_run(manifest, cache_mb=0, workers=0)
    with pytest.raises(EmptyFileError, match="the 2 steps so far are saved: when that is mended, go on with --resume"):
        train(settings, tmp_path / "run", watcher=Vandal())
    for path, content in pictures.items():
        path.write_bytes(content)
    assert train(settings, tmp_path / "run", resume=True).steps == 6


def test_two_runs_do_not_share_a_folder(tmp_path: Path, discs: Path) -> None:
    with claimed(tmp_path), pytest.raises(SettingsError, match="another run is at work here"):
        train(toy_run(discs), tmp_path)
    assert list(tmp_path.iterdir()) == []
    train(toy_run(discs, steps=1), tmp_path)


def test_a_folder_that_can_not_be_written_to_is_told_in_words(tmp_path: Path, discs: Path) -> None:
    (tmp_path / ".segkit-lock").mkdir()                             # in the way of what would be written first
    with pytest.raises(SettingsError, match="can't be written to: a folder of that name is in the way"):
        train(toy_run(discs), tmp_path)


def test_a_batch_of_which_no_step_can_be_made_is_told_before_any_picture_is_read(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path / "data")
    for picture in (tmp_path / "data" / "images").iterdir():
        picture.write_bytes(b"")
    tree = toy_run(manifest, batch_size=1).model_dump()
    settings = RunConfig.model_validate({**tree, "model": {"encoder": "resnet18"}})
    with pytest.raises(SettingsError, match=r"no training step can be made of 1 patch of 32x32: .*; raise train\.batch_size or train\.patch"):
        train(settings, tmp_path / "run")                          # ResNets divide by 32: one value is left of each channel


def test_single_pictures_are_no_volumes_to_look_along_and_it_is_told_before_they_are_read(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path / "data")
    for picture in (tmp_path / "data" / "images").iterdir():
        picture.write_bytes(picture.read_bytes()[:200])            # PNG by its first bytes
    tree = toy_run(manifest).model_dump()
    tree["model"] = {"feature_scale": 16, "bottleneck": "slice_gru"}
    with pytest.raises(SettingsError, match="bottleneck slice_gru looks along the slices of volumes, the training data are single pictures; choose another"):
        train(RunConfig.model_validate(tree), tmp_path / "run")


def blank(manifest: Path, numbers: range) -> Path:
    for number in numbers:
        Pillow.fromarray(np.zeros((48, 48), np.uint8)).save(manifest.parent / "masks" / f"{number:02d}.png")
    return manifest


def test_masks_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    manifest = blank(write_discs(tmp_path / "data"), range(8))
    with pytest.raises(SettingsError, match="no mask of the 4 training pairs holds disc; check data.labels"):
        train(toy_run(manifest), tmp_path / "run")


def test_many_empty_masks_are_warned_of(tmp_path: Path) -> None:
    manifest = blank(write_discs(tmp_path / "data", count=40), range(1, 40))
    manifest.write_text(manifest.read_text().replace(",test,", ",train,"))
    tree = toy_run(manifest, steps=1, validations=1).model_dump()
    tree["data"]["validation_share"] = 0.05
    for seed in range(50):                                         # one that leaves the only disc to train on
        settings = RunConfig.model_validate({**tree, "train": {**tree["train"], "seed": seed}})
        if "00.png" in [case.name for case in find_cases(settings.data, seed)[0]]:
            break
    witness = Witness()
    train(settings, tmp_path / "run", watcher=witness)
    assert "warning: 37 of 38 masks are empty; a network learns little from them" in witness.notes


def test_without_any_object_to_validate_on_there_is_a_model_and_no_score(tmp_path: Path) -> None:
    manifest = blank(write_discs(tmp_path / "data"), range(6, 8))
    tree = toy_run(manifest, steps=2, validations=1).model_dump()
    tree["data"]["validation_split"] = "test"

    class Never(Silence):
        def validated(self, row: Row) -> None:
            assert row.mean_dice in (0.0,) or math.isnan(row.mean_dice)

    outcome = train(RunConfig.model_validate(tree), tmp_path / "run", watcher=Never())
    assert isinstance(outcome, Outcome)
    assert load_model(tmp_path / "run").card.steps == 2
    json.loads((tmp_path / "run" / "run.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


# Parts that wait, or learn more slowly.


def changed(before: Path, after: Path) -> set[str]:
    """Parts of the network, "encoder" or "head", of which some number differs between two states."""
    first, second = (torch.load(path, weights_only=True)["network"] for path in (before, after))
    return {key.split(".")[0] for key in first if not torch.equal(first[key], second[key])}


class Keeper(Silence):
    """Keeps the state as it is at each validation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stepped(self, report: Report) -> None:
        if (self._folder / "state.pt").exists() and not (self._folder / f"{report.step - 1}.pt").exists():
            (self._folder / f"{report.step - 1}.pt").write_bytes((self._folder / "state.pt").read_bytes())


def test_a_frozen_encoder_stays_as_it_began_its_running_means_too(tmp_path: Path, discs: Path, disc_run: Path) -> None:
    train(toy_run(discs, start_from=disc_run, freeze="encoder", steps=3), tmp_path / "run")
    kept, began = tensors(tmp_path / "run"), load_model(disc_run).weights
    assert [key for key, value in began.items() if key.startswith("encoder.") and not torch.equal(kept[f"network.{key}"], value)] == []
    assert not torch.equal(kept["network.head.weight"], began["head.weight"])


def test_it_thaws_after_its_epochs(tmp_path: Path, discs: Path) -> None:
    settings = toy_run(discs, freeze="encoder", freeze_epochs=1.5, steps=6, validations=6)      # 4 slices, 2 a step: frozen for 3 steps
    train(settings, tmp_path, watcher=Keeper(tmp_path))
    assert changed(tmp_path / "1.pt", tmp_path / "3.pt") == {"decoder", "head"}
    assert changed(tmp_path / "3.pt", tmp_path / "4.pt") == {"encoder", "decoder", "head"}


def test_epochs_without_anything_frozen_are_refused(discs: Path) -> None:
    with pytest.raises(ValueError, match="freeze_epochs is 2, but nothing is frozen"):
        toy_run(discs, freeze_epochs=2)


def test_a_slower_encoder_moves_less(tmp_path: Path, discs: Path) -> None:
    moved = []
    for name, share in (("slow", 0.01), ("fast", None)):
        train(toy_run(discs, encoder_rate=share, steps=2, weight_decay=0, warmup_share=0), tmp_path / name)
        began = fresh_state(toy_run(discs), torch.device("cpu"), "fp32").network.state_dict()
        kept = tensors(tmp_path / name)
        moved.append({part: float((kept[f"network.{part}"] - began[part]).abs().mean()) for part in ("encoder.stages.2.0.weight", "head.weight")})
    slow, fast = moved
    assert slow["encoder.stages.2.0.weight"] == pytest.approx(0.01 * fast["encoder.stages.2.0.weight"], rel=0.2)
    assert slow["head.weight"] == pytest.approx(fast["head.weight"], rel=0.2)


# Where it runs.


def test_processes_are_only_started_where_the_pictures_do_not_fit_in_memory(discs: Path) -> None:
    small, large = SimpleNamespace(nbytes=2**20), SimpleNamespace(nbytes=2**40)
    assert run.count_workers(toy_run(discs).train, small) == 0  # type: ignore[arg-type]
    assert 1 <= run.count_workers(toy_run(discs).train, large) <= 4  # type: ignore[arg-type]
    assert run.count_workers(toy_run(discs, workers=3).train, small) == 3  # type: ignore[arg-type]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segkit.io import atomic

    def full(temporary: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_commit", full)
    with pytest.raises(WriteError, match=r"run\.json: not written: the disk is full"):
        train(toy_run(discs), tmp_path)
    assert list(tmp_path.iterdir()) == []


def broken_pickle(*given: object) -> None:
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2417152 vs 2417048")


def no_space(*given: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fails", [broken_pickle, no_space])
def test_a_disk_that_is_full_at_the_first_state_leaves_a_folder_to_start_again_in(
    tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., None]
) -> None:
    with monkeypatch.context() as full:
        full.setattr(torch, "save", fails)
        with pytest.raises(WriteError, match=r"state\.pt: not written.* the disk is full; .* again$"):
            train(toy_run(discs, steps=2), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "log.csv", "curves.png", "validation"}
    assert train(toy_run(discs, steps=2), tmp_path).reason == "finished"


def test_a_disk_that_is_full_at_a_later_state_leaves_the_model_and_the_state_before(tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, replace = [], os.replace

    def once(source: Path, target: Path) -> None:
        if target.name == "state.pt" and saved:
            no_space()
        saved.extend([target] if target.name == "state.pt" else [])
        replace(source, target)

    with monkeypatch.context() as full:
        full.setattr(os, "replace", once)
        with pytest.raises(WriteError, match=r"state\.pt: not written: the disk is full"):
            train(toy_run(discs, steps=2), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "log.csv", "curves.png", "validation", "model.safetensors", "state.pt"}
    assert train(toy_run(discs, steps=2), tmp_path, resume=True).steps == 2
