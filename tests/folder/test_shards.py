"""A run in parts, and the parts put together."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest
from PIL import Image as Pillow
from toys import disc

from segkit.errors import SettingsError
from segkit.folder import Failure, Options, Part, find_part, merge, predict_files
from segkit.folder.shards import part_of
from segkit.io import Source, find_sources
from segkit.io.claim import claimed
from segkit.predict import Model, load


@pytest.fixture(scope="module")
def model(disc_run: Path) -> Model:
    return load(disc_run, device="cpu", precision="fp32")


def test_every_file_belongs_to_one_part_and_always_the_same() -> None:
    keys = [f"ward{number % 7}/{number:04d}.png" for number in range(1000)]
    parts = [Part(number, 4) for number in range(4)]
    chosen = [[key for key in keys if part.holds(key)] for part in parts]
    assert sorted(key for some in chosen for key in some) == sorted(keys)
    assert min(map(len, chosen)) > 200
    assert part_of("ward1/0001.png", 4) == part_of("ward1/0001.png", 4)
    assert part_of("é.png", 1000) == part_of("é.png", 1000)     # composed and decomposed


def test_the_whole_is_the_only_part_of_one() -> None:
    sources = [Source((Path("a.png"),), PurePath("a"))]
    assert Part().choose(sources) is sources
    assert (Part().suffix, Part(3, 16).suffix, str(Part(1, 4, "srun"))) == ("", "-0003-of-0016", "part 1 of 4 (srun)")


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "2", "WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "3", "SLURM_STEP_NUM_TASKS": "3"}
ARRAY = {"SLURM_ARRAY_TASK_ID": "13", "SLURM_ARRAY_TASK_COUNT": "5", "SLURM_ARRAY_TASK_MIN": "10"}


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ((None, None), {}, Part()),
        ((3, 8), TORCHRUN, Part(3, 8)),
        ((None, None), TORCHRUN | SRUN, Part(2, 4, "torchrun")),
        ((None, None), SRUN, Part(1, 3, "srun")),
        ((None, None), ARRAY, Part(3, 5, "a SLURM array")),
        ((None, None), {"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, Part()),        # a batch script without srun: nobody else does the rest
        ((None, None), {"RANK": "1", "WORLD_SIZE": "2"}, Part()),                    # left over from something else
        ((None, None), {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Part()),
    ],
)
def test_the_part_is_as_given_else_as_the_scheduler_says(given: tuple[int | None, int | None], environment: dict[str, str], expected: Part) -> None:
    assert find_part(*given, environment) == expected


@pytest.mark.parametrize("given", [(4, 4), (-1, 4)])
def test_a_part_that_there_is_none_of_is_refused(given: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="parts are numbered from 0 to 3"):
        find_part(*given)


def test_a_number_without_a_count_is_refused() -> None:
    with pytest.raises(SettingsError, match="go together"):
        find_part(1, None)


@pytest.fixture
def run_part(model: Model, tmp_path: Path) -> Callable[..., None]:
    """Nine pictures, one of them empty, and a folder that could not be listed."""
    for number in range(9):
        path = tmp_path / "in" / f"ward{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(disc(number, (33, 47))[0]).save(path)
    (tmp_path / "in" / "ward0" / "4.png").write_bytes(b"")

    def run(number: int, count: int = 3, **more: object) -> None:
        sources = find_sources(tmp_path / "in", recursive=True).sources
        options = Options(part=Part(number, count), readers=0, **more)  # type: ignore[arg-type]
        locked = Failure("in/locked", "E_PERM", "in/locked: permission denied")
        settings = {"predict": model.run.predict, "read": model.run.data.read, "options": options}
        predict_files(sources, model, tmp_path / "out", known_failures=[locked], **settings)  # type: ignore[arg-type]

    return run


def table(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return sorted(Path(row.get("output") or row["path"]).name for row in csv.DictReader(file))


def test_parts_make_a_whole_and_nothing_less_is_taken_for_it(run_part: Callable[..., None], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match="holds no parts of a run"):
        merge(out)
    run_part(0)
    run_part(2)
    assert not (out / "results.csv").exists()
    with pytest.raises(SettingsError, match="1 of 3 parts were never run: 0001-of-0003"):
        merge(out)
    run_part(1)
    (out / ".segkit-1-abcd.tmp.png").write_bytes(b"half")
    merged = merge(out)
    assert (merged.parts, merged.results, merged.failures) == (3, 8, 2)
    assert table(out / "results.csv") == [f"{number}.png" for number in range(9) if number != 4]
    assert table(out / "failures.csv") == ["4.png", "locked"]
    assert len(list(out.glob("ward*/*.png"))) == 8
    assert not list(out.glob(".segkit-*"))
    assert merge(out) == merged                                     # and again


def test_a_mask_that_was_changed_or_lost_is_noticed(run_part: Callable[..., None], tmp_path: Path) -> None:
    for number in range(3):
        run_part(number)
    mask = tmp_path / "out" / "ward1" / "3.png"
    mask.write_bytes(mask.read_bytes() + b"!")
    with pytest.raises(SettingsError, match=r"the results of 1 files are gone or changed: ward1/3\.png; run part . of 3 again with --resume"):
        merge(tmp_path / "out")
    for number in range(3):
        run_part(number, resume=True)
    assert merge(tmp_path / "out").results == 8


def test_an_unfinished_part_is_noticed(run_part: Callable[..., None], tmp_path: Path) -> None:
    for number in range(3):
        run_part(number)
    ledger = max((tmp_path / "out" / ".segkit").glob("ledger-*"), key=lambda path: path.stat().st_size)
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(SettingsError, match="9 of 10 files are done; go on with --resume: part . of 3"):
        merge(tmp_path / "out")


def test_parts_of_different_lists_of_files_are_no_whole(run_part: Callable[..., None], tmp_path: Path) -> None:
    run_part(0)
    run_part(1)
    (tmp_path / "in" / "ward0" / "0.png").unlink()
    run_part(2)
    with pytest.raises(SettingsError, match="is of another list of files than"):
        merge(tmp_path / "out")


def test_parts_of_two_divisions_are_no_whole(run_part: Callable[..., None], tmp_path: Path) -> None:
    run_part(0, 3)
    run_part(1, 2)
    with pytest.raises(SettingsError, match="holds parts of two divisions"):
        merge(tmp_path / "out")


def test_a_part_at_work_is_waited_for(run_part: Callable[..., None], tmp_path: Path) -> None:
    for number in range(3):
        run_part(number)
    with claimed(tmp_path / "out" / ".segkit", "lock-0001-of-0003"), pytest.raises(SettingsError, match="another run is at work here"):
        merge(tmp_path / "out")


def test_copies_and_damaged_accounts_do_not_stop_a_merge_but_a_lost_beginning_does(run_part: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "out" / ".segkit"
    for number in range(3):
        run_part(number)
    ledger = folder / "ledger-0001-of-0003.jsonl"
    (folder / "ledger-0001-of-0003 copy.jsonl").write_bytes(ledger.read_bytes())
    (folder / "run-0000-of-0003.json").write_text("{")
    assert merge(tmp_path / "out").results == 8
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(SettingsError, match=r"ledger-0001-of-0003\.jsonl: has lost its beginning; run this part again with --resume"):
        merge(tmp_path / "out")
    run_part(1, resume=True)
    assert merge(tmp_path / "out").results == 8


def test_a_whole_run_does_not_begin_while_a_part_is_at_work(run_part: Callable[..., None], tmp_path: Path) -> None:
    run_part(0)
    with claimed(tmp_path / "out" / ".segkit", "lock-0001-of-0003"), pytest.raises(SettingsError, match="another run is at work here"):
        run_part(0, count=1)
    run_part(0, count=1)


def test_results_of_pictures_that_are_gone_are_no_part_of_the_whole(run_part: Callable[..., None], tmp_path: Path) -> None:
    for number in range(3):
        run_part(number)
    (tmp_path / "in" / "ward0" / "0.png").unlink()
    for number in range(3):
        run_part(number, resume=True)
    with pytest.raises(SettingsError, match="holds results of 1 files that INPUT has no longer; run all parts again with --overwrite"):
        merge(tmp_path / "out")
    for number in range(3):
        run_part(number, overwrite=True)
    assert merge(tmp_path / "out").results == 7
