"""What to look at first: a table in that order, and a sheet of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from toys import disc

from segkit.cli import main
from segkit.confidence import ExpectedDice
from segkit.errors import CollisionError, SettingsError
from segkit.folder import Options, Part, Summary, merge, predict_files, review
from segkit.folder.ledger import Entry, Failure, Ledger, Result
from segkit.image import Image
from segkit.io import find_sources
from segkit.predict import Model, load

Run = Callable[..., Summary]


@pytest.fixture(scope="module")
def model(disc_run: Path) -> Model:
    """That expects of a picture what it is sure of."""
    found = load(disc_run, device="cpu", precision="fp32")
    predict = found.run.predict.model_copy(update={"expected_dice": ExpectedDice(at_half=0.5, at_one=1, when_empty=0.1)})
    return found.with_settings(found.run.model_copy(update={"predict": predict}))


@pytest.fixture
def run(model: Model, tmp_path: Path) -> Run:
    """Five pictures, of which 3.png holds nothing, and a file that is empty."""
    (tmp_path / "in").mkdir()
    for number in range(5):
        pixels = np.full((33, 47), 60, np.uint8) if number == 3 else disc(number, (33, 47))[0]
        Pillow.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "empty.png").touch()

    def begin(model: Model = model, **options: object) -> Summary:
        sources = find_sources(tmp_path / "in").sources
        how = Options(readers=0, **options)  # type: ignore[arg-type]
        return predict_files(sources, model, tmp_path / "out", predict=model.run.predict, read=model.run.data.read, options=how)

    return begin


def table(out: Path) -> list[tuple[str, float]]:
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return [(Path(row["file"]).name, float(row["expected_dice"])) for row in csv.DictReader(file)]


def entry(key: str, expected: float | None) -> Entry:
    return Entry(key, Result(key, key, (3, 4), {"disc": 1}, None, 0.9, 0.1, (), expected), None, (), {})


def test_rows_go_from_the_lowest_expected_dice_to_none_at_all(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        failed = Entry("bad", failure=Failure("bad", "E_EMPTY", "bad: has no bytes"))
        for one in (entry("a", 0.1), entry("b", 0.8), entry("c", None), failed, entry("d", 0.3), entry("a", 0.5), entry("e", 0.3), entry("f", None)):
            ledger.add(one)                                                          # a was done again: its last line counts
        assert [one.key for one in ledger.by_expected_dice()] == ["d", "e", "a", "b", "c", "f"]
        assert [one.key for one in ledger.least_sure(3)] == ["d", "e", "a"]
        assert [one.key for one in ledger.least_sure(9)] == ["d", "e", "a", "b"]
        ledger.write_tables(tmp_path, ["disc"], by_expected_dice=True)
        assert [line.split(",")[0] for line in (tmp_path / "results.csv").read_text().splitlines()[1:]] == ["d", "e", "a", "b", "c", "f"]


def test_a_review_sorts_the_table_and_draws_the_lowest(run: Run, tmp_path: Path) -> None:
    summary = run(review=2)
    rows = table(tmp_path / "out")
    assert rows[0] == ("3.png", 0.1)
    assert [value for _, value in rows] == sorted(value for _, value in rows)
    assert summary.review == (tmp_path / "out" / "review.png",)
    drawn = np.asarray(Pillow.open(summary.review[0]))
    assert drawn.shape[1] > 2 * 320                                                  # two squares beside each other


def test_without_a_review_nothing_is_drawn_and_the_table_is_in_the_order_of_the_run(run: Run, tmp_path: Path) -> None:
    assert run().review == ()
    assert [name for name, _ in table(tmp_path / "out")] == [f"{number}.png" for number in range(5)]
    assert not (tmp_path / "out" / "review.png").exists()


def test_many_cases_take_several_pages(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "PAGE", 2)
    assert [path.name for path in run(review=100).review] == ["review.png", "review-2.png", "review-3.png"]
    assert [path.name for path in sorted((tmp_path / "out").glob("review*"))] == ["review-2.png", "review-3.png", "review.png"]


def test_a_run_that_is_gone_on_with_reviews_all_that_is_there(run: Run, tmp_path: Path) -> None:
    run()
    summary = run(resume=True, review=5)
    assert (summary.done, summary.skipped, len(summary.review)) == (0, 5, 1)
    assert table(tmp_path / "out")[0] == ("3.png", 0.1)
    assert run(resume=True).skipped == 5                                             # the order of the table is nothing that resuming goes by


def test_parts_are_reviewed_when_they_are_put_together(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--review 2: part 0 of 2 does not know the others; leave it out, and give it to segkit merge OUT"):
        run(part=Part(0, 2), review=2)
    for number in range(2):
        run(part=Part(number, 2))
    merged = merge(tmp_path / "out", review=2)
    assert merged.review == (tmp_path / "out" / "review.png",)
    assert table(tmp_path / "out")[0] == ("3.png", 0.1)
    assert merge(tmp_path / "out").review == ()


def test_a_model_that_has_not_learnt_what_to_expect_is_told_before_the_start(run: Run, disc_run: Path, tmp_path: Path) -> None:
    plain = load(disc_run, device="cpu", precision="fp32")
    with pytest.raises(SettingsError, match=r"--review 2: .* has not learnt what Dice to expect.*use a model of segkit finetune"):
        run(plain, review=2)
    assert not (tmp_path / "out").exists()
    for number in range(2):
        run(plain, part=Part(number, 2))
    with pytest.raises(SettingsError, match=r"--review 2: the model that made .* has not learnt"):
        merge(tmp_path / "out", review=2)


def test_a_picture_whose_mask_lies_where_the_sheet_does_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / "0.png").rename(tmp_path / "in" / "review.png")
    with pytest.raises(CollisionError, match=r"review\.png: its mask would lie where --review writes its sheet"):
        run(review=1)
    for number in range(2):
        run(part=Part(number, 2))
    with pytest.raises(CollisionError, match=r"review\.png: its mask would lie"):
        merge(tmp_path / "out", review=1)


def test_a_picture_that_has_gone_is_told_on_the_sheet(run: Run, model: Model, tmp_path: Path) -> None:
    run()
    (tmp_path / "in" / "3.png").unlink()
    with Ledger(tmp_path / "out" / ".segkit" / "ledger.jsonl") as ledger:
        (first,) = ledger.least_sure(1)
        caption, drawn = review._tile(first, tmp_path / "out", model.labels, model.run.data.read)
        assert caption == "3.png\nexpected Dice 0.10; can't be drawn: E_VANISHED"
        assert drawn.shape == (1, 1, 3)


def test_of_a_volume_the_busiest_slice_is_shown_under_its_mask() -> None:
    stack = np.full((5, 1, 33, 47), 60, np.uint8)
    indices = np.zeros((5, 33, 47), np.uint8)
    indices[1, 3:5], indices[3, 3:20] = 1, 1
    drawn, told = review._draw(Image(stack), indices)
    assert told == ", slice 4 of 5"
    assert (drawn != 60).any(axis=-1).sum() == 17 * 47
    assert review._draw(Image(stack[0]), indices[1])[1] == ""


def test_names_are_cut_where_they_differ_least() -> None:
    assert review._short("ward/3.png") == "ward/3.png"
    assert review._short("a" * 50 + "7.png") == "…" + "a" * 38 + "7.png"
    assert review._short("b\udce4d.png") == "b?d.png"


def test_a_sheet_is_no_prediction_without_a_truth(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(review=2)
    (tmp_path / "truth").mkdir()
    for number in range(5):
        Pillow.fromarray(disc(number, (33, 47))[1]).save(tmp_path / "truth" / f"{number}.png")
    assert main(["evaluate", str(tmp_path / "out"), str(tmp_path / "truth"), "-q"]) == 0
    assert "no truth" not in capsys.readouterr().err
