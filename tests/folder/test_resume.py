"""Nothing lost, and nothing done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from toys import disc

from segkit.errors import SettingsError, WriteError
from segkit.folder import Extras, Options, Summary, predict_files
from segkit.folder.ledger import Entry, Failure
from segkit.io import atomic, find_sources
from segkit.io.claim import claimed
from segkit.predict import Model, load

Run = Callable[..., Summary]

NOTHING = Extras()


@pytest.fixture(scope="module")
def model(disc_run: Path) -> Model:
    return load(disc_run, device="cpu", precision="fp32")


@pytest.fixture
def run(model: Model, tmp_path: Path) -> Run:
    """Five pictures of two sizes, one of them bad."""
    for number in range(5):
        put(tmp_path / "in" / f"{number}.png", number)
    (tmp_path / "in" / "3.png").write_bytes(b"")

    def work(chosen: Model = model, extras: Extras = NOTHING, out: Path = tmp_path / "out", watch: Any = None, **options: Any) -> Summary:
        more = {} if watch is None else {"watch": watch}
        how = Options(**{"readers": 0, **options})
        sources = find_sources(tmp_path / "in").sources
        return predict_files(sources, chosen, out, predict=chosen.run.predict, read=chosen.run.data.read, extras=extras, options=how, **more)

    return work


def put(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(disc(seed, (33, 47) if seed % 2 else (47, 33))[0]).save(path)


def counts(summary: Summary) -> tuple[int, int, int]:
    return summary.done, summary.failed, summary.skipped


def masks(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


def test_what_is_finished_is_left_out_and_failures_are_tried_again(run: Run, tmp_path: Path) -> None:
    assert counts(run()) == (4, 1, 0)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert counts(run(resume=True)) == (0, 1, 4)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")} == before
    put(tmp_path / "in" / "3.png", 3)
    assert counts(run(resume=True)) == (1, 0, 4)
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 1 + 5
    assert not (tmp_path / "out" / "failures.csv").exists()


def test_who_waits_sees_what_is_checked_and_what_is_done(run: Run) -> None:
    seen: list[tuple[str, int, int]] = []

    def watch(items: Iterable[Entry], total: int, what: str) -> Iterable[Entry]:
        listed = list(items)
        seen.append((what, total, len(listed)))
        return listed

    run(watch=watch)
    run(watch=watch, resume=True)
    assert seen == [("segmenting", 5, 5), ("checking", 5, 5), ("segmenting", 1, 1)]


def test_a_mask_that_is_gone_or_changed_and_a_picture_that_changed_are_done_again(run: Run, tmp_path: Path) -> None:
    run()
    whole = masks(tmp_path / "out")
    (tmp_path / "out" / "0.png").unlink()
    (tmp_path / "out" / "1.png").write_bytes(whole["1.png"][:-1])
    os.utime(tmp_path / "in" / "2.png", ns=(1, 1))
    assert counts(run(resume=True)) == (3, 1, 1)
    assert masks(tmp_path / "out") == whole


def test_what_is_asked_for_beside_the_masks_must_be_there_too(run: Run, tmp_path: Path) -> None:
    run()
    assert counts(run(resume=True, extras=Extras(overlay=True))) == (4, 1, 0)
    assert counts(run(resume=True, extras=Extras(overlay=True))) == (0, 1, 4)
    (tmp_path / "out" / "overlays" / "0.png").unlink()
    assert counts(run(resume=True, extras=Extras(overlay=True))) == (1, 1, 3)


def test_another_model_or_other_settings_need_a_new_folder_or_a_new_start(run: Run, model: Model, tmp_path: Path) -> None:
    run()
    tta = model.run.model_copy(update={"predict": model.run.predict.model_copy(update={"tta": True})})
    for other in (Model(model.run, model.engine, fingerprint="other"), model.with_settings(tta)):
        with pytest.raises(SettingsError, match="holds masks of another model or of other settings"):
            run(other, resume=True)
    assert counts(run(other)) == (4, 1, 0)                            # all anew: nothing of the other stays
    (tmp_path / "in" / "0.png").unlink()
    with pytest.raises(SettingsError, match="holds masks of another model or of other settings"):
        run()
    assert counts(run(overwrite=True)) == (3, 1, 0)
    assert counts(run(resume=True)) == (0, 1, 3)


def test_rows_of_earlier_runs_into_the_folder_stay(run: Run, tmp_path: Path) -> None:
    run()
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    put(tmp_path / "in" / "9.png", 9)
    assert counts(run()) == (1, 0, 0)
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()[1:]
    assert [Path(row.split(",")[0]).name for row in rows] == ["0.png", "1.png", "2.png", "4.png", "9.png"]


def test_the_first_bad_file_may_end_the_run(run: Run, tmp_path: Path) -> None:
    first = run(stop_on_error=True)
    assert (3 <= first.done <= 4, first.failed) == (True, 1)
    assert sorted(masks(tmp_path / "out"))[:3] == ["0.png", "1.png", "2.png"]
    assert counts(run(resume=True)) == (4 - first.done, 1, first.done)


def test_where_the_first_bad_file_ends_the_run_no_mask_lacks_its_row(model: Model, tmp_path: Path) -> None:
    for number in range(30):
        put(tmp_path / "in" / f"{number:02d}.png", number)
    (tmp_path / "in" / "02.png").write_bytes(b"")
    sources = find_sources(tmp_path / "in").sources
    how = {"predict": model.run.predict, "read": model.run.data.read, "options": Options(readers=0, stop_on_error=True)}
    summary = predict_files(sources, model, tmp_path / "out", **how)  # type: ignore[arg-type]
    assert {Path(result.output).name for result in summary.results} == set(masks(tmp_path / "out"))
    assert (summary.failed, summary.signal) == (1, None)
    assert 2 <= summary.done < 29


def test_what_could_not_be_listed_is_the_first_bad_file_too(run: Run, model: Model, tmp_path: Path) -> None:
    sources = find_sources(tmp_path / "in").sources[:2]
    how = {"predict": model.run.predict, "read": model.run.data.read, "options": Options(readers=0, stop_on_error=True)}
    locked = Failure("in/locked", "E_PERM", "in/locked: permission denied")
    summary = predict_files(sources, model, tmp_path / "out", known_failures=[locked], **how)  # type: ignore[arg-type]
    assert counts(summary) == (0, 1, 0)


def test_a_new_start_leaves_no_mask_of_the_other_model_but_what_somebody_has_changed(run: Run, model: Model, tmp_path: Path) -> None:
    run()
    for number in (0, 1):
        (tmp_path / "in" / f"{number}.png").unlink()
    corrected = tmp_path / "out" / "1.png"
    corrected.write_bytes(corrected.read_bytes() + b"!")
    assert counts(run(Model(model.run, model.engine, fingerprint="other"), overwrite=True)) == (2, 1, 0)
    assert sorted(masks(tmp_path / "out")) == ["1.png", "2.png", "4.png"]


def test_a_signal_ends_the_run_in_order_and_resume_completes_it(run: Run, tmp_path: Path) -> None:
    def interrupt(entries: Iterable[Entry], total: int, what: str) -> Iterable[Entry]:
        for number, entry in enumerate(entries):
            if number == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            yield entry

    summary = run(watch=interrupt)
    assert summary.signal == signal.SIGTERM
    assert 1 <= summary.done <= 4
    again = run(resume=True)
    assert (again.signal, again.done + again.skipped, again.failed) == (None, 4, 1)
    assert '"state": "finished"' in (tmp_path / "out" / "run.json").read_text()


def test_two_runs_do_not_share_a_folder(run: Run, tmp_path: Path) -> None:
    run()
    with claimed(tmp_path / "out" / ".segkit", "lock"), pytest.raises(SettingsError, match=f"another run is at work here .process {os.getpid()} on "):
        run()


def test_half_written_files_of_a_killed_run_are_swept_away(run: Run, tmp_path: Path) -> None:
    run()
    for folder in ("", "overlays/"):
        path = tmp_path / "out" / f"{folder}.segkit-4711-9f86d081.tmp.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    run(resume=True)
    assert not list((tmp_path / "out").rglob("*.tmp*"))


def test_another_run_further_down_keeps_what_it_is_writing(run: Run, tmp_path: Path) -> None:
    run(out=tmp_path / "out" / "deeper")
    half = tmp_path / "out" / "deeper" / ".segkit-4711-9f86d081.tmp.png"
    half.write_bytes(b"half")
    run()
    assert half.exists()


def test_files_of_other_people_stay_whatever_they_are_named(run: Run, tmp_path: Path) -> None:
    theirs = [tmp_path / "out" / name for name in ("0.tif", "0.nii.gz", "3.png", "overlays/0.png")]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"precious")
    assert counts(run()) == (4, 1, 0)
    assert counts(run(resume=True)) == (0, 1, 4)
    assert [path.read_bytes() for path in theirs] == [b"precious"] * 4


def test_what_a_forgotten_run_wrote_is_taken_away(run: Run, model: Model, tmp_path: Path) -> None:
    run(extras=Extras(overlay=True))
    for number in (1, 2):
        (tmp_path / "in" / f"{number}.png").write_bytes(b"")
    assert counts(run(Model(model.run, model.engine, fingerprint="other"), overwrite=True)) == (2, 3, 0)
    assert sorted(masks(tmp_path / "out")) == ["0.png", "4.png"]
    assert list((tmp_path / "out" / "overlays").iterdir()) == []


def test_more_pixels_may_be_allowed_when_a_run_goes_on(run: Run, model: Model) -> None:
    def allowing(pixels: int) -> Model:
        data = model.run.data.model_copy(update={"read": model.run.data.read.model_copy(update={"max_pixels": pixels})})
        return model.with_settings(model.run.model_copy(update={"data": data}))

    first = run(allowing(100))
    assert {failure.code for failure in first.failures} == {"E_TOO_LARGE", "E_EMPTY"}
    assert counts(run(allowing(10_000), resume=True)) == (4, 1, 0)


def test_what_lies_where_the_ledger_belongs_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".segkit").touch()
    with pytest.raises(SettingsError, match=r"\.segkit: is where the ledger of a run lies, but can't be made"):
        run()


def test_whichever_write_fails_the_folder_holds_whole_files_and_resume_completes_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(out=tmp_path / "undisturbed")
    expected = masks(tmp_path / "undisturbed")
    commit, calls = atomic._commit, [0]
    for failing in range(1, 50):
        out = tmp_path / f"out{failing}"

        def full(temporary: Path, target: Path, failing: int = failing) -> None:
            calls[0] += 1
            if calls[0] == failing:
                raise OSError(28, "No space left on device")
            commit(temporary, target)

        calls[0] = 0
        monkeypatch.setattr(atomic, "_commit", full)
        try:
            run(out=out)
        except (WriteError, SettingsError) as error:
            assert "the disk is full" in str(error)
        else:
            break
        found = masks(out)
        assert found.items() <= expected.items()
        assert not list(out.rglob(".segkit-*.tmp*"))
        monkeypatch.setattr(atomic, "_commit", commit)
        assert run(out=out, resume=True).failed == 1
        assert masks(out) == expected
    assert failing > len(expected) + 3                              # masks, run.json, tables: each of them has failed once


def test_reading_apart_gives_the_same_masks(run: Run, tmp_path: Path) -> None:
    run(out=tmp_path / "here")
    assert counts(run(out=tmp_path / "there", readers=2)) == (4, 1, 0)
    assert masks(tmp_path / "here") == masks(tmp_path / "there")


def test_a_picture_is_segmented_as_it_is_alone(run: Run, model: Model, tmp_path: Path) -> None:
    """Pictures of one size share batches: that must not show."""
    run()
    for number in (0, 1, 2, 4):
        alone = model.predict(tmp_path / "in" / f"{number}.png")
        with Pillow.open(tmp_path / "out" / f"{number}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), alone.values)
