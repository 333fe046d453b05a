"""Each rule: silent on a set without faults, and it names the files where its fault was put in; what `--fix` claims to repair is gone in the copy."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from toy_sets import COUNT, SIZE, check, codes, mask, picture, redraw, save, write_manifest, write_set

from segkit.check import Finding, likeness, rules, write_clean
from segkit.labels import Labels

FAULTS: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...] | int]] = {}
"""Code -> what puts the fault in, the severity, the files named (or how many)."""

FOR_A_PERSON = {
    *("values-unclear", "overlapping-classes", "swapped-set", "no-foreground", "empty-masks", "constant-slices", "saturated-pictures", "mixed-scales"),
    *("too-few", "no-background", "remarks", "same-masks", "mixed-spacing", "missing-spacing", "tiny-class", "missing-class"),
}
"""What `--fix` claims nothing of."""

NUMBERS = [mask(seed, value=1) + mask(seed + 1, value=1) for seed in range(COUNT)]
"""Masks of 0, 1 and 2."""


def fault(code: str, severity: str, files: tuple[str, ...] | int) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def keep(put_in: Callable[[Path], None]) -> Callable[[Path], None]:
        FAULTS[code] = put_in, severity, files
        return put_in

    return keep


@fault("unreadable-image", "error", ("images/03.png",))
def _cut_short(root: Path) -> None:
    whole = (root / "images/03.png").read_bytes()
    (root / "images/03.png").write_bytes(whole[:300])


@fault("unreadable-mask", "error", ("masks/00.png",))
def _transparent(root: Path) -> None:
    redraw(root, [np.dstack([mask(0)] * 4)])


@fault("size-mismatch", "error", ("masks/00.png",))
def _turned(root: Path) -> None:
    redraw(root, [mask(0).T])


@fault("unpaired-image", "warning", ("images/05.png",))
def _no_mask(root: Path) -> None:
    (root / "masks/05.png").unlink()


@fault("unpaired-mask", "warning", ("masks/05.png",))
def _no_picture(root: Path) -> None:
    (root / "images/05.png").unlink()


@fault("values-unclear", "error", 1)
def _pictures_for_masks(root: Path) -> None:
    redraw(root, [picture(seed + 50) for seed in range(COUNT)])


@fault("stray-values", "error", ("masks/02.png",))
def _a_speck(root: Path) -> None:
    drawn = [each.copy() for each in NUMBERS]
    drawn[2][0, 0] = 7
    redraw(root, drawn)


@fault("soft-masks", "error", COUNT)
def _jpeg(root: Path) -> None:
    redraw(root, [mask(seed) for seed in range(COUNT)], ending="jpg", quality=60)


@fault("mixed-values", "error", ("masks/00.png", "masks/01.png"))
def _ones(root: Path) -> None:
    redraw(root, [mask(0, value=1), mask(1, value=1)])


@fault("object-numbers", "error", COUNT)
def _cells(root: Path) -> None:
    redraw(root, [np.minimum(np.indices((33, 47))[0], 19 + seed).astype(np.uint16) for seed in range(COUNT)])


@fault("levels", "warning", 0)
def _greys(root: Path) -> None:
    redraw(root, [each * np.uint8(85) for each in NUMBERS])


@fault("palette-masks", "note", COUNT)
def _palettes(root: Path) -> None:
    for seed in range(COUNT):
        drawn = Pillow.fromarray(NUMBERS[seed])
        drawn.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        drawn.save(root / f"masks/{seed:02}.png")


@fault("colour-masks", "warning", COUNT)
def _colours(root: Path) -> None:
    redraw(root, [np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[each] for each in NUMBERS])


@fault("several-masks", "error", COUNT)
@fault("overlapping-classes", "warning", ("masks/nerve/00.png",))
def _a_file_for_each_class(root: Path) -> None:
    for seed in range(COUNT):
        (root / f"masks/{seed:02}.png").unlink()
        save(root / f"masks/nerve/{seed:02}.png", np.where(NUMBERS[seed] == 1, 255, 0).astype(np.uint8))
        save(root / f"masks/vessel/{seed:02}.png", np.where(NUMBERS[seed] == (2 if seed else 1), 255, 0).astype(np.uint8))


@fault("several-images", "error", COUNT)
def _a_file_for_each_channel(root: Path) -> None:
    (root / "images").rename(root / "imagesTr")
    (root / "masks").rename(root / "labelsTr")
    for seed in range(COUNT):
        for channel in (1, 2):
            save(root / f"imagesTr/{seed:02}_000{channel}.png", picture(100 * channel + seed))
        (root / f"imagesTr/{seed:02}.png").rename(root / f"imagesTr/{seed:02}_0000.png")


@fault("swapped-set", "warning", 0)
def _dark_is_meant(root: Path) -> None:
    redraw(root, [255 - mask(seed) for seed in range(COUNT)])


@fault("inverted-masks", "error", ("masks/00.png",))
def _one_inverted(root: Path) -> None:
    redraw(root, [255 - mask(0)])


@fault("no-foreground", "error", 0)
def _all_empty(root: Path) -> None:
    redraw(root, [np.zeros(SIZE, np.uint8)] * COUNT)


@fault("too-few", "error", 0)
def _one_patient(root: Path) -> None:
    write_manifest(root, [(number, "", "anna") for number in range(COUNT)])


@fault("no-background", "error", 0)
def _all_full(root: Path) -> None:
    redraw(root, [np.full(SIZE, 255, np.uint8)] * COUNT)


@fault("same-masks", "warning", COUNT)
def _one_mask_under_all_names(root: Path) -> None:
    redraw(root, [mask(0)] * COUNT)


@fault("empty-masks", "note", ("masks/00.png", "masks/01.png"))
def _two_empty(root: Path) -> None:
    redraw(root, [np.zeros(SIZE, np.uint8)] * 2)


@fault("contradicting-masks", "warning", ("images/00.png = images/07.png",))
def _same_picture(root: Path) -> None:
    save(root / "images/07.png", picture(0))


@fault("copies", "warning", ("images/00.png = images/07.png",))
def _same_pair(root: Path) -> None:
    save(root / "images/07.png", picture(0), compress_level=0)  # other bytes, the same pixels
    save(root / "masks/07.png", mask(0))


@fault("near-copies", "warning", ("images/00.png = images/07.png",))
def _brighter(root: Path) -> None:
    save(root / "images/07.png", (picture(0) * 0.8 + 30).astype(np.uint8))


@fault("group-on-both-sides", "error", ("images/00.png", "images/09.png"))
def _one_patient_twice(root: Path) -> None:
    write_manifest(root, [(number, "test" if number > 8 else "train", "anna" if number in (0, 9) else "") for number in range(COUNT)])


@fault("copies-across-splits", "error", ("images/00.png = images/09.png",))
def _a_copy_for_the_test(root: Path) -> None:
    save(root / "images/09.png", picture(0))
    save(root / "masks/09.png", mask(0))
    write_manifest(root, [(number, "test" if number > 8 else "train", "") for number in range(COUNT)])


@fault("views-across-splits", "warning", ("images/00.png = images/09.png",))
def _a_moment_later(root: Path) -> None:
    save(root / "images/09.png", (0.62 * picture(0) + 0.38 * picture(99)).astype(np.uint8))
    write_manifest(root, [(number, "test" if number > 8 else "train", "") for number in range(COUNT)])


@fault("constant-pictures", "warning", ("images/00.png", "images/01.png"))
def _grey_cards(root: Path) -> None:
    redraw(root, [np.full(SIZE, 90, np.uint8)] * 2, "images")


@fault("saturated-pictures", "warning", ("images/00.png",))
def _overexposed(root: Path) -> None:
    redraw(root, [np.where(picture(0) > 120, 255, picture(0)).astype(np.uint8)], "images")


@fault("mixed-channels", "error", ("images/00.png", "images/01.png"))
def _two_in_colour(root: Path) -> None:
    redraw(root, [np.dstack([picture(seed)] * 3) for seed in range(2)], "images")


@fault("remarks", "note", ("images/00.png",))
def _opaque(root: Path) -> None:
    redraw(root, [np.dstack([picture(0), np.full(SIZE, 255, np.uint8)])], "images")


@fault("mixed-scales", "note", 0)
def _one_of_16_bits(root: Path) -> None:
    redraw(root, [picture(0).astype(np.uint16) * 250], "images")


def _volumes(root: Path, spacings: list[float], flat: bool = False) -> None:
    for folder in ("images", "masks"):
        for file in (root / folder).iterdir():
            file.unlink()
    for number, spacing in enumerate(spacings):
        affine = np.diag([spacing, spacing, 2 * spacing, 1])
        voxels = np.random.default_rng(number).normal(100, 20, (9, 11, 4)).astype(np.float32)
        voxels[..., 0] = 0 if flat else voxels[..., 0]
        drawn = np.zeros(voxels.shape, np.uint8)
        drawn[2:7, 3:8, 1:3] = 1
        for folder, values in (("images", voxels), ("masks", drawn)):
            image = nib.Nifti1Image(values, affine)
            image.header.set_xyzt_units("mm")
            nib.save(image, root / folder / f"{number:02}.nii.gz")


@fault("constant-slices", "note", 2)
def _padded(root: Path) -> None:
    _volumes(root, [1.0, 1.0], flat=True)


@fault("mixed-spacing", "warning", 0)
def _half_a_millimetre(root: Path) -> None:
    _volumes(root, [1.0, 0.5])


@fault("missing-spacing", "warning", ("images/b.png",))
def _a_png_among_volumes(root: Path) -> None:
    _volumes(root, [1.0])
    save(root / "images/b.png", picture(0))
    save(root / "masks/b.png", mask(0, value=1))


@fault("tiny-class", "warning", 0)
def _specks(root: Path) -> None:
    drawn = [mask(seed, value=1) for seed in range(COUNT)]
    for each in drawn:
        each[30, 40] = 2
    redraw(root, drawn)


@fault("missing-class", "error", 0)
def _a_class_that_nobody_drew(root: Path) -> None:
    write_manifest(root, [(number, "", "") for number in range(COUNT)])
    (root / "labels.json").write_text(json.dumps({"labels": {"background": 0, "nerve": 255, "vessel": 7}}))


def test_a_set_without_faults_has_no_findings(tmp_path):
    report = check(write_set(tmp_path))
    assert report.findings == ()
    assert report.is_fit


def put_in(root: Path, code: str) -> tuple[Finding, ...]:
    FAULTS[code][0](write_set(root))
    return tuple(finding for finding in check(root).findings if finding.code == code)


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_found_with_its_files_and_what_to_do(tmp_path, code):
    (finding,) = put_in(tmp_path, code)
    _, severity, files = FAULTS[code]
    assert finding.severity == severity
    assert (len(finding.files) if isinstance(files, int) else finding.files) == files
    assert finding.meaning and finding.repair
    assert (finding.fix is None) == (code in FOR_A_PERSON)


def test_every_code_has_its_fault_here():
    """Words like unpaired-mask anywhere in the rules, and the bare words that stand where a finding has its code."""
    tree = ast.parse(Path(rules.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"]
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    placed = {call.args[1].value for call in calls if isinstance(call.args[1], ast.Constant)}
    assert {word for word in words if re.fullmatch("[a-z]+(-[a-z]+)+", word)} | placed == set(FAULTS) | {"near-copies-not-sought"}


@pytest.mark.parametrize("code", sorted(FAULTS.keys() - FOR_A_PERSON))
def test_what_fix_claims_to_repair_is_gone_in_the_copy_and_the_originals_are_as_they_were(tmp_path, code):
    put_in(tmp_path / "set", code)
    before = {path: path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file()}
    report = check(tmp_path / "set")
    cleaned = write_clean(report, tmp_path / "copy")
    again = check(tmp_path / "copy")
    claimed = {finding.code for finding in report.findings if finding.fix is not None}
    assert codes(again) & claimed == set()
    assert again.is_fit
    assert len(again.evidence.facts) == cleaned.written
    assert cleaned.written + len(cleaned.left_out) == len(report.evidence.facts)
    assert {path: path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("unreadable-image", "1 picture can't be used; the first: .*03.png: .*cut short"),
        ("size-mismatch", r"masks/00.png is 47x33, its image .* is 33x47; .* \(rows and columns are exchanged: 47x33\)"),
        ("stray-values", "1 mask holds values that are not of any class: 7 .1 pixel.; training would stop there"),
        ("soft-masks", "12 are JPEG"),
        ("mixed-values", "2 of 12 masks are drawn in 0 and 1"),
        ("object-numbers", "number their objects, up to 30"),
        ("levels", "0 background, 85 class_85, 170 class_170"),
        ("colour-masks", "0 background, #00ff00 colour_00ff00|#000000 background"),
        ("swapped-set", r"foreground \(255\) covers 8\d% of the pixels: is it the background, and background \(0\) what is looked for"),
        ("group-on-both-sides", "1 group .patients. stands in more than one split, first 'anna'"),
        ("mixed-channels", "10 with 1, 2 with 3 .all of them are grey."),
        ("mixed-spacing", r"1..2 x 0.5..1 x 0.5..1 mm"),
        ("tiny-class", "class_2: pieces of 1 pixels"),
        ("missing-class", "no mask holds vessel"),
        ("constant-slices", "2 slices of 2 volumes"),
        ("near-copies", "1 pair of pictures shows the same view .1 nearly the same picture"),
    ],
)
def test_a_finding_says_what_was_found(tmp_path, code, words):
    (finding,) = put_in(tmp_path, code)
    assert re.search(words, finding.meaning), finding.meaning


def test_what_the_user_says_of_the_values_is_heeded(tmp_path):
    redraw(write_set(tmp_path), [255 - mask(seed) for seed in range(COUNT)])
    report = check(tmp_path, labels=Labels(("background", "cell"), (255, 0)))
    assert report.findings == ()
    assert report.measurements is not None
    assert report.measurements.classes[1].name == "cell"
    assert report.measurements.classes[1].pixel_share < 0.2
    wrong = check(tmp_path, labels=Labels(("background", "cell"), (0, 1)))
    assert "stray-values" in codes(wrong)


def test_a_mask_threshold_of_the_user_makes_soft_masks_right(tmp_path):
    _jpeg(write_set(tmp_path))
    assert check(tmp_path, labels=Labels(("background", "cell"), (0, 255), threshold=127)).is_fit


@pytest.mark.parametrize("labels", [Labels(("background", "cell"), (0, 255)), Labels(("background", "cell"), (255, 0))])
def test_soft_masks_whose_two_classes_are_named_are_still_told_apart_at_127(tmp_path, labels):
    _jpeg(write_set(tmp_path))
    report = check(tmp_path, labels=labels)
    assert (report.values.kind, report.values.threshold, report.values.strays) == ("soft", 127, {})
    assert report.values.labels == labels.mapping
    assert "soft-masks" in codes(report)


def test_unclear_masks_are_not_called_empty_too(tmp_path):
    _pictures_for_masks(write_set(tmp_path))
    assert codes(check(tmp_path)) == {"values-unclear"}


def test_strays_among_black_and_white_become_the_nearer_one(tmp_path):
    drawn = mask(2)
    drawn[0, :3] = 9, 130, 244
    save(write_set(tmp_path / "set") / "masks/02.png", drawn)
    report = check(tmp_path / "set")
    assert [(finding.code, finding.files) for finding in report.findings] == [("stray-values", ("masks/02.png",))]
    assert write_clean(report, tmp_path / "copy").left_out == {}
    copied = np.asarray(Pillow.open(tmp_path / "copy/masks/02.png"))
    np.testing.assert_array_equal(copied[0, :4], [0, 255, 255, 0])
    np.testing.assert_array_equal(copied[1:], mask(2)[1:])


def test_a_rare_class_in_a_small_set_is_no_stray(tmp_path):
    drawn = [mask(seed, value=1) for seed in range(3)]
    drawn[1][20:24, 30:36] = 2
    redraw(write_set(tmp_path, 3), drawn)
    report = check(tmp_path)
    assert report.values.labels == {"background": 0, "class_1": 1, "class_2": 2}
    assert codes(report) == set()


def test_pictures_of_one_patient_may_look_alike(tmp_path):
    _brighter(write_set(tmp_path))
    write_manifest(tmp_path, [(number, "", "anna" if number in (0, 7) else "") for number in range(COUNT)])
    assert codes(check(tmp_path)) == set()


def test_pictures_that_share_less_than_a_view_are_not_alike(tmp_path):
    save(write_set(tmp_path) / "images/09.png", (0.4 * picture(0) + 0.6 * picture(99)).astype(np.uint8))
    assert codes(check(tmp_path)) == set()


def test_a_large_object_is_no_inverted_mask(tmp_path):
    large, wide = np.zeros((2, *SIZE), np.uint8)
    large[1:-1, 1:-1] = 255
    wide[0], wide[-1], wide[:, 0], wide[:, -1] = 255, 255, 255, 255
    redraw(write_set(tmp_path), [large, wide])
    assert codes(check(tmp_path)) == set()


def _squares(seed: int, numbers: Sequence[int], sides: Sequence[int]) -> NDArray[np.uint16]:
    """Up to 24 squares with these numbers, on a grid, each of another side (of those given) in each mask."""
    drawn = np.zeros((44, 64), np.uint16)
    for place, number in enumerate(numbers):
        row, column, side = 11 * (place // 6), 10 * (place % 6), sides[(place * place + seed * (place + 1)) % len(sides)]
        drawn[row : row + side, column : column + side] = number
    return drawn


def _set_of(root: Path, masks: Sequence[NDArray[np.integer]]) -> set[str]:
    for seed, drawn in enumerate(masks):
        save(root / f"images/{seed:02}.png", np.random.default_rng(seed).integers(0, 255, drawn.shape).astype(np.uint8))
        save(root / f"masks/{seed:02}.png", drawn)
    return codes(check(root))


@pytest.mark.parametrize(
    "numbers",
    [
        [range(1, 7)] * COUNT,                                                                            # as many in each mask
        [range(1, 3 + seed % 5) for seed in range(COUNT)],                                                # few, up to 6
        [[number for number in range(1, 15 + seed % 6) if number != seed + 2] for seed in range(COUNT)],  # one was deleted
        [range(100 * seed + 1, 100 * seed + 7) for seed in range(COUNT)],                                 # counted on from mask to mask
    ],
)
def test_numbers_of_one_piece_each_whose_sizes_have_no_rule_are_objects(tmp_path, numbers):
    masks = [_squares(seed, each, (3, 4, 5, 6, 7, 8)) for seed, each in enumerate(numbers)]
    assert "object-numbers" in _set_of(tmp_path, masks)


@pytest.mark.parametrize("pieces", [1, 2])
def test_classes_have_sizes_of_their_own_or_several_pieces(tmp_path, pieces):
    """Six organs of 2 to 7 pixels a side, a little larger or smaller in each; or six kinds of cells, two cells of each, of any size."""
    organs = [sum(_squares(0, [0] * place + [place + 1], (2 + place + (seed + place) % 2,)) for place in range(6)) for seed in range(COUNT)]
    cells = [_squares(seed, [1, 2, 3, 4, 5, 6] * 2, (3, 4, 5, 6, 7, 8)) for seed in range(COUNT)]
    assert "object-numbers" not in _set_of(tmp_path, organs if pieces == 1 else cells)


def test_too_many_pictures_are_not_compared_with_each_other_and_that_is_said(tmp_path, monkeypatch):
    _brighter(write_set(tmp_path))
    for module in (likeness, rules):
        monkeypatch.setattr(module, "MOST", 11)
    assert codes(check(tmp_path)) == {"near-copies-not-sought"}


@pytest.mark.parametrize("hues", [((0, 200, 80), (0, 0, 255)), ((0, 200, 80), (255, 0, 0))])
def test_colours_without_red_are_colours_in_one_mask_and_in_all(tmp_path, hues):
    """Black, green and blue, 0x00c850 and 0x0000ff, would be numbers of 16 bits; in the second set one mask of twelve has red."""
    masks = [np.array([[0, 0, 0], hues[0], hues[seed == 0]], np.uint8)[each] for seed, each in enumerate(NUMBERS)]
    redraw(write_set(tmp_path), masks)
    report = check(tmp_path)
    assert "colour-masks" in codes(report)
    labels = report.values.labels
    assert labels is not None
    assert list(labels.values()) == sorted({"#000000", *("#" + bytes(hue).hex() for hue in hues)})


def test_values_in_colours_and_their_greys_are_one_set(tmp_path):
    _colours(write_set(tmp_path))
    save(tmp_path / "masks/00.png", np.zeros(SIZE, np.uint8))
    report = check(tmp_path)
    assert report.values.labels == {"background": "#000000", "colour_00ff00": "#00ff00", "colour_ff0000": "#ff0000"}
    assert "stray-values" not in codes(report)


def test_colours_that_are_all_named_need_nothing_more(tmp_path):
    _colours(write_set(tmp_path))
    report = check(tmp_path, labels=Labels.from_mapping({"background": "#000000", "nerve": "#ff0000", "vessel": "#00ff00"}))
    (finding,) = (finding for finding in report.findings if finding.code == "colour-masks")
    assert (finding.severity, finding.repair) == ("note", "nothing to do here")
