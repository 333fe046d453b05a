from __future__ import annotations

from pathlib import Path

import pytest

from segkit.errors import EmptyFileError, FormatError, PairingError, SettingsError, VanishedError
from segkit.io import Row, pair_folders, read_manifest


def manifest(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "image,mask,split,group\ni/1.png,m/1.gif,train,anna\ni/2.png,,test,\n"),
        ("a.tsv", "image\tmask\tsplit\tgroup\ni/1.png\tm/1.gif\ttrain\tanna\ni/2.png\t\ttest\t\n"),
        ("a.jsonl", '{"image": "i/1.png", "mask": "m/1.gif", "split": "train", "group": "anna"}\n\n{"image": "i/2.png", "mask": null, "split": "test"}\n'),
    ],
)
def test_rows_with_paths_relative_to_the_manifest(tmp_path, name, text):
    assert read_manifest(manifest(tmp_path / name, text)) == [
        Row(tmp_path / "i/1.png", tmp_path / "m/1.gif", "train", "anna"),
        Row(tmp_path / "i/2.png", None, "test", None),
    ]


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfimage\na.png\n", b"image\r\na.png\r\n", b"image\n\na.png", b' image \n "a.png"\n'.replace(b' "', b'"')])
def test_byte_order_marks_line_ends_and_blank_lines_do_not_matter(tmp_path, text):
    assert read_manifest(manifest(tmp_path / "a.csv", text)) == [Row(tmp_path / "a.png")]


def test_quoted_fields_may_hold_commas_and_lines(tmp_path):
    rows = read_manifest(manifest(tmp_path / "a.csv", 'image,mask\n"a,b.png","c\nd.png"\n'))
    assert rows == [Row(tmp_path / "a,b.png", tmp_path / "c\nd.png")]


def test_backslashes_of_windows_part_folders_unless_a_file_is_called_so(tmp_path):
    (tmp_path / "odd\\name.png").touch()
    rows = read_manifest(manifest(tmp_path / "a.csv", "image,mask\nimages\\1.png,masks\\old\\1.png\nodd\\name.png,\n"))
    assert [(row.image, row.mask) for row in rows] == [
        (tmp_path / "images/1.png", tmp_path / "masks/old/1.png"),
        (tmp_path / "odd\\name.png", None),
    ]


def test_absolute_paths_stay_as_they_are(tmp_path):
    image = (tmp_path / "elsewhere" / "a.png").absolute()
    assert read_manifest(manifest(tmp_path / "a.csv", f"image\n{image}\n"))[0].image == image


def test_other_columns_are_left_alone(tmp_path):
    assert read_manifest(manifest(tmp_path / "a.csv", "id,image,age\n1,a.png,40\n")) == [Row(tmp_path / "a.png")]


def test_a_number_is_a_group(tmp_path):
    assert read_manifest(manifest(tmp_path / "a.jsonl", '{"image": "a.png", "group": 7}'))[0].group == "7"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "mask,split\na.png,train\n", "line 1: no column image among .*with commas"),
        ("a.csv", "image;mask\na;b\n", r"line 1: no column image among \['image;mask'\] \(is the separator another one\?\)"),
        ("a.tsv", "image,mask\na,b\n", r"is the separator another one.*with tabs"),
        ("a.csv", "image,maks\na.png,b.png\n", "line 1: unknown column 'maks'; did you mean mask"),
        ("a.csv", "Image\na.png\n", "line 1: unknown column 'Image'; did you mean image"),
        ("a.csv", "image,image\na.png,b.png\n", "line 1: column image stands there twice"),
        ("a.csv", "image,mask\na.png,b.png\nc.png\n", r"line 3: has 1 fields, the header has 2 \(image, mask\)"),
        ("a.csv", "image,mask\na.png,b.png,c\n", "line 2: has 3 fields, the header has 2"),
        ("a.csv", "image,mask\na.png,b.png\n,c.png\n", "line 3: column image: is empty; name a file"),
        ("a.csv", 'image,mask\na.png,"b.png\n', "line 2: unexpected end of data; a double quote opens and closes"),
        ("a.csv", "image,mask\n", "has no rows; give one line for each picture"),
        ("a.csv", "image\na\0.png\n", "line 2: column image: holds a zero byte"),
        ("a.jsonl", '{"image": "a.png"}\n{"image": \n', "line 2: is no JSON"),
        ("a.jsonl", '["a.png"]\n', 'line 1: has no column image; each line holds one object like {"image": "a.png"}'),
        ("a.jsonl", '{"mask": "a.png"}\n', "line 1: has no column image"),
        ("a.jsonl", '{"image": ["a.png"]}\n', r"line 1: column image: is \['a.png'\]; expected text"),
        ("a.jsonl", '{"image": ""}\n', "line 1: column image: is empty"),
        ("a.jsonl", "[" * 100_000, "line 1: is no JSON"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, name, text, words):
    with pytest.raises(SettingsError, match=f"{name}: {words}" if not words.startswith("is ") else words):
        read_manifest(manifest(tmp_path / name, text))


@pytest.mark.parametrize("again", ["a.png", "./a.png", "x/../a.png"])
def test_an_image_in_two_rows(tmp_path, again):
    with pytest.raises(PairingError, match="line 4: column image: a.png stands in line 2 already; leave one of the two out"):
        read_manifest(manifest(tmp_path / "a.csv", f"image\na.png\nb.png\n{again}\n"))


@pytest.mark.parametrize("text", [b"image\n\xff\xfe.png\n", "image\na.png\n".encode("utf-16")])
def test_text_that_is_not_utf8(tmp_path, text):
    with pytest.raises(FormatError, match="is not UTF-8 text .*; save the table as UTF-8"):
        read_manifest(manifest(tmp_path / "a.csv", text))


def test_other_endings(tmp_path):
    with pytest.raises(FormatError, match=r"a manifest ends in \.csv, \.tsv or \.jsonl"):
        read_manifest(manifest(tmp_path / "a.xlsx", "PK"))


def test_no_bytes_and_no_file(tmp_path):
    with pytest.raises(EmptyFileError, match="is empty"):
        read_manifest(manifest(tmp_path / "a.csv", ""))
    with pytest.raises(VanishedError, match="no such file"):
        read_manifest(tmp_path / "b.csv")


# folders -------------------------------------------------------------------------------------------------------------


def folders(root: Path, images: str, masks: str) -> tuple[Path, Path]:
    for folder, names in (("images", images), ("masks", masks)):
        (root / folder).mkdir()
        for name in names.split():
            (root / folder / name).touch()
    return root / "images", root / "masks"


def test_pictures_and_masks_of_one_name_are_a_pair(tmp_path):
    images, masks = folders(tmp_path, "b.jpg a.png c.nii.gz readme.txt .hidden.png", "a.gif b.tif c.nii Thumbs.db")
    assert pair_folders(images, masks) == [
        Row(images / "a.png", masks / "a.gif"),
        Row(images / "b.jpg", masks / "b.tif"),
        Row(images / "c.nii.gz", masks / "c.nii"),
    ]


def test_pictures_without_masks_and_masks_without_pictures_are_counted_and_named(tmp_path):
    images, masks = folders(tmp_path, "a.png b.png c.png d.png e.png", "e.png f.png")
    with pytest.raises(PairingError, match=r"4 of 5 pictures have no mask \(a, b, c, …\); 1 of 2 masks have no picture \(f\); a pair has the same name"):
        pair_folders(images, masks)


def test_two_files_of_one_name_in_a_folder(tmp_path):
    images, masks = folders(tmp_path, "a.png a.jpg", "a.png")
    with pytest.raises(PairingError, match=r"images: 1 name taken twice \(a.jpg and a.png\); take one of each out"):
        pair_folders(images, masks)


def test_folders_without_pictures(tmp_path):
    images, masks = folders(tmp_path, "a.png", "readme.txt")
    with pytest.raises(SettingsError, match="masks: no pictures found"):
        pair_folders(images, masks)
    with pytest.raises(VanishedError, match="no such file or folder"):
        pair_folders(images, tmp_path / "gone")
