"""Each layout that people use, drawn as a tree of empty files: only names matter here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segkit.errors import FormatError, PairingError, SettingsError, VanishedError
from segkit.layouts import FoundDataset, find_dataset


def lay(root: Path, *names: str) -> Path:
    """Files without contents."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(found: FoundDataset) -> dict[str, str]:
    """Picture -> its masks, by their places below the root."""
    return {"+".join(map(found.name, case.images)): "+".join(map(found.name, case.masks)) for case in found.cases}


def splits(found: FoundDataset) -> dict[str, str | None]:
    return {case.image.name: case.split for case in found.cases}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/07.png", "masks/07.png"),
        ("images/07.jpg", "masks/07.png"),
        ("Original/07.tif", "Ground Truth/07.tif"),
        ("imgs/07.png", "labels/07_mask.png"),
        ("images/21_training.tif", "1st_manual/21_manual1.gif"),
        ("images/img_07.png", "masks/mask_07.png"),
        ("images/p1/a.png", "masks/p1/a.png"),
        ("images/p1/a.png", "masks/a.png"),
        ("images/a.nii.gz", "labels/a.nii"),
        ("train/07.jpg", "train_masks/07_mask.gif"),
        ("ISIC_Training_Data/ISIC_01.jpg", "ISIC_Training_Part1_GroundTruth/ISIC_01_segmentation.png"),
        ("07.png", "masks/07.png"),
        ("07.jpg", "07_mask.png"),
        ("Häm 07.PNG", "Häm 07-GT.PNG"),
        ("a 07.png", "mask_a 07.png"),
        ("07.jpg", "07.png"),
        ("img/07.png", "ann/07.png"),
        ("TCGA_1/TCGA_1_2.tif", "TCGA_1/TCGA_1_2_mask.tif"),
        ("Set/images/07.png", "Set/masks/07.png"),
    ],
)
def test_a_picture_and_its_mask(tmp_path, image, mask):
    found = find_dataset(lay(tmp_path, image, mask))
    assert pairs(found) == {image: mask}
    assert found.cases[0].is_plain
    assert not found.unpaired_images + found.unpaired_masks


def test_classes_beside_their_pictures_are_told_by_words_that_come_again(tmp_path):
    found = find_dataset(lay(tmp_path, *(f"case{case}{rest}.png" for case in (1, 2) for rest in ("", "_liver", "_spleen"))))
    assert pairs(found) == {f"case{case}.png": f"case{case}_liver.png+case{case}_spleen.png" for case in (1, 2)}
    assert {case.classes for case in found.cases} == {("liver", "spleen")}


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a_thumb.png", "b.png", "b_thumb.png"),                                        # one word alone may be anything
        ("a.png", "a_1.png", "a_2.png", "b.png", "b_1.png", "b_2.png"),                          # frames
        ("a.png", "a_liver.png", "a_spleen.png", "b.png", "b_liver.png", "b_spleen.png", "c.png"),
        ("a.jpg", "a.png", "b.jpg"),
        ("a.png", "a.tif"),
    ],
)
def test_files_of_one_folder_are_no_pairs_by_a_likeness_that_some_lack(tmp_path, names):
    with pytest.raises(PairingError, match="none that can be told to be the mask of another"):
        find_dataset(lay(tmp_path, *names))


def test_outlines_in_other_files_are_named(tmp_path):
    with pytest.raises(PairingError, match=r"outlines in .xml files are not read: draw them into one mask"):
        find_dataset(lay(tmp_path, "Tissue Images/a.tif", "Annotations/a.xml"))


def test_the_field_of_view_of_drive_is_not_taken_for_its_masks(tmp_path):
    names = [f"{folder}/{case}_{rest}" for case in (21, 22) for folder, rest in (("images", "training.tif"), ("mask", "training_mask.gif"))]
    found = find_dataset(lay(tmp_path, *names, "1st_manual/21_manual1.gif", "1st_manual/22_manual1.gif"))
    assert pairs(found) == {f"images/{case}_training.tif": f"1st_manual/{case}_manual1.gif" for case in (21, 22)}


def test_what_has_no_partner_is_told(tmp_path):
    found = find_dataset(lay(tmp_path, "images/a.png", "images/b.png", "masks/b.png", "masks/c.png"))
    assert pairs(found) == {"images/b.png": "masks/b.png"}
    assert [found.name(path) for path in found.unpaired_images + found.unpaired_masks] == ["images/a.png", "masks/c.png"]


def test_a_mask_belongs_to_the_longest_name_that_it_begins_with(tmp_path):
    found = find_dataset(lay(tmp_path, "images/1.png", "images/1_1.png", "masks/1_nerve.png", "masks/1_1_nerve.png"))
    assert pairs(found) == {"images/1.png": "masks/1_nerve.png", "images/1_1.png": "masks/1_1_nerve.png"}


@pytest.mark.parametrize("pattern", ["masks/{}/{:02}.png", "masks/{1:02}_{0}.png"])
def test_one_mask_for_each_class(tmp_path, pattern):
    lay(tmp_path, *(f"images/{case:02}.png" for case in (1, 2)), *(pattern.format(name, case) for name in ("nerve", "vessel") for case in (1, 2)))
    found = find_dataset(tmp_path)
    assert [case.combine for case in found.cases] == ["classes"] * 2
    assert found.cases[0].classes == ("nerve", "vessel")
    assert pairs(found)["images/02.png"] == "+".join(pattern.format(name, 2) for name in ("nerve", "vessel"))
    assert not found.is_plain


@pytest.mark.parametrize(
    "names",
    [
        ("id1/images/id1.png", "id1/masks/x.png", "id1/masks/y.png"),
        ("images/a.png", "masks/a/1.png", "masks/a/2.png"),
        ("images/a.png", "masks/a_1.png", "masks/a_2.png"),
        ("benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png"),
    ],
)
def test_one_mask_for_each_object(tmp_path, names):
    found = find_dataset(lay(tmp_path, *names))
    assert pairs(found) == {names[0]: f"{names[1]}+{names[2]}"}
    assert found.cases[0].combine == "instances"
    assert found.cases[0].classes == ()
    assert any("foreground" in note for note in found.notes)


def test_masks_of_a_second_observer_are_left_out_and_told(tmp_path):
    names = ("Image_01L.jpg", "Image_01L_1stHO.png", "Image_01L_2ndHO.png")
    for root in (tmp_path / "one", tmp_path / "two"):
        folders = ("images/", "masks/", "masks/") if root.name == "two" else ("", "", "")
        found = find_dataset(lay(root, *(folder + name for folder, name in zip(folders, names, strict=True))))
        assert [case.masks[0].name for case in found.cases] == [names[1]]
        assert "1 masks of a second observer are left out" in found.notes
        assert not found.unpaired_masks


@pytest.mark.parametrize("pattern", ["{}/images/{}.png {}/masks/{}.png", "images/{}/{}.png masks/{}/{}.png", "{}/{}.png {}/{}_mask.png"])
def test_folders_say_the_splits(tmp_path, pattern):
    lay(tmp_path, *(name for split, case in (("train", "a"), ("valid", "b"), ("test", "c")) for name in pattern.format(split, case, split, case).split()))
    assert splits(find_dataset(tmp_path)) == {"a.png": "train", "b.png": "val", "c.png": "test"}


def test_a_test_folder_without_masks_is_to_be_predicted_not_a_fault(tmp_path):
    found = find_dataset(lay(tmp_path, "train/images/a.png", "train/masks/a.png", "test/images/b.png"))
    assert splits(found) == {"a.png": "train"}
    assert found.unpaired_images == ()
    assert [path.name for path in found.unlabelled] == ["b.png"]


def nnunet(root: Path, **described: object) -> Path:
    lay(root, *(f"imagesTr/{case}_000{channel}.png" for case in ("a", "b") for channel in (0, 1)), "labelsTr/a.png", "labelsTr/b.png", "imagesTs/c_0000.png")
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".png", "numTraining": 2, **described}))
    return root


@pytest.mark.parametrize("place", [".", "dataset.json"])
def test_nnunet_with_two_channels(tmp_path, place):
    found = find_dataset(nnunet(tmp_path, labels={"vessel": 2, "background": 0, "nerve": 1, "ignore": 3}) / place)
    assert found.layout == "nnU-Net"
    assert pairs(found) == {f"imagesTr/{case}_0000.png+imagesTr/{case}_0001.png": f"labelsTr/{case}.png" for case in "ab"}
    assert found.labels == {"background": 0, "nerve": 1, "vessel": 2}
    assert list(found.labels) == ["background", "nerve", "vessel"]
    assert found.ignore == 3
    assert found.channel_names == ("T1", "T2")
    assert [path.name for path in found.unlabelled] == ["c_0000.png"]
    assert not found.unpaired_images + found.unpaired_masks
    assert splits(found) == {"a_0000.png": None, "b_0000.png": None}


def test_nnunet_splits_come_from_the_first_fold_and_labels_of_tests(tmp_path):
    nnunet(tmp_path, labels={"background": 0, "nerve": 1}, numTraining=3)
    lay(tmp_path, "labelsTs/c.png", "labelsTr/d.png")
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]))
    found = find_dataset(tmp_path)
    assert splits(found) == {"a_0000.png": "train", "b_0000.png": "val", "c_0000.png": "test"}
    assert [path.name for path in found.unpaired_masks] == ["d.png"]
    assert any("speaks of 3 cases for training, there are 2" in note for note in found.notes)
    (tmp_path / "splits_final.json").unlink()
    assert splits(find_dataset(tmp_path)) == {"a_0000.png": "train", "b_0000.png": "train", "c_0000.png": "test"}


def test_nnunet_regions_are_no_classes(tmp_path):
    found = find_dataset(nnunet(tmp_path, labels={"background": 0, "whole": [1, 2], "core": [2]}))
    assert found.labels is None
    assert any("regions" in note for note in found.notes)


def test_nnunet_labels_are_whole_numbers(tmp_path):
    with pytest.raises(SettingsError, match="dataset.json: labels: nerve: is 1.5; expected a whole number"):
        find_dataset(nnunet(tmp_path, labels={"background": 0, "nerve": 1.5}))


def test_nnunet_splits_of_another_kind_are_refused(tmp_path):
    nnunet(tmp_path)
    (tmp_path / "splits_final.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"splits_final.json: is no list of"):
        find_dataset(tmp_path)


def test_the_decathlon_maps_values_to_names(tmp_path):
    lay(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b.nii.gz")
    told = {"labels": {"0": "background", "2": "Posterior", "1": "Anterior"}, "modality": {"0": "MRI"}, "test": ["./imagesTs/b.nii.gz"]}
    (tmp_path / "dataset.json").write_text(json.dumps({**told, "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}))
    found = find_dataset(tmp_path)
    assert found.layout == "Decathlon (dataset.json)"
    assert pairs(found) == {"imagesTr/a.nii.gz": "labelsTr/a.nii.gz"}
    assert list((found.labels or {}).items()) == [("background", 0), ("Anterior", 1), ("Posterior", 2)]
    assert found.channel_names == ("MRI",)
    assert splits(found) == {"a.nii.gz": None}
    assert [path.name for path in found.unlabelled] == ["b.nii.gz"]


def test_a_datalist_with_folds_channels_and_patients(tmp_path):
    listed = [{"image": ["a1.png", "a2.png"], "label": "a.png", "fold": 0, "patient": 7}, {"image": "b.png", "label": "bm.png", "fold": 1}, {"image": "c.png"}]
    (tmp_path / "list.json").write_text(json.dumps({"training": listed, "validation": []}))
    found = find_dataset(tmp_path / "list.json")
    assert pairs(found) == {"a1.png+a2.png": "a.png", "b.png": "bm.png"}
    assert [(case.split, case.group) for case in found.cases] == [("val", "7"), ("train", "b")]
    assert [path.name for path in found.unpaired_images] == ["c.png"]


def test_a_datalist_with_several_labels_or_no_names_is_refused(tmp_path):
    two, number = {"image": "a.png", "label": ["b.png", "c.png"]}, {"image": 3, "label": "b.png"}
    for item, words in ((two, "a.png: has 2 labels"), (number, "3 stands where a file name")):
        (tmp_path / "list.json").write_text(json.dumps([item]))
        with pytest.raises(SettingsError, match=words):
            find_dataset(tmp_path / "list.json")


def test_a_manifest_in_a_folder_is_better_than_its_folders(tmp_path):
    lay(tmp_path, "images/a.png", "masks/a.png", "images/b.png", "masks/b.png")
    (tmp_path / "scores.csv").write_text("image,dice\nimages/a.png,0.5\n")
    (tmp_path / "pairs.csv").write_text("image,mask,split,group\nimages/a.png,masks/b.png,test,anna\nimages/b.png,,,\n")
    found = find_dataset(tmp_path)
    assert pairs(found) == {"images/a.png": "masks/b.png"}
    assert (found.cases[0].split, found.cases[0].group) == ("test", "anna")
    assert [path.name for path in found.unpaired_images] == ["b.png"]
    assert found.notes == ("rows of pairs.csv",)
    assert find_dataset(lay(tmp_path, "images/z.png")).notes[1] == "1 pictures beside those of the table stand in no row of it, such as z.png"
    assert pairs(find_dataset(tmp_path / "pairs.csv")) == pairs(found)
    (tmp_path / "more.csv").write_text("image,mask\nimages/a.png,masks/a.png\n")
    with pytest.raises(SettingsError, match=r"holds 2 tables of pairs \(more.csv, pairs.csv\); name one of them"):
        find_dataset(tmp_path)
    (tmp_path / "manifest.csv").write_text("image,mask\nimages/a.png,masks/a.png\n")
    assert pairs(find_dataset(tmp_path)) == {"images/a.png": "masks/a.png"}


def test_a_table_without_masks_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("image,mask\na.png,\n")
    with pytest.raises(SettingsError, match="none of its 1 rows has a mask"):
        find_dataset(tmp_path / "a.csv")


def test_folders_or_names_may_speak_of_patients(tmp_path):
    by_folder = lay(tmp_path / "1", *(f"TCGA_{case}/TCGA_{case}_{number}{end}.tif" for case in range(5) for number in (1, 2) for end in ("", "_mask")))
    assert [case.group for case in find_dataset(by_folder).cases] == [f"TCGA_{case}" for case in range(5) for _ in (1, 2)]
    by_name = lay(tmp_path / "2", *(f"{kind}/patient{case}_slice{number}.png" for case in range(5) for number in (1, 2) for kind in ("images", "masks")))
    found = find_dataset(by_name)
    assert [case.group for case in found.cases] == [f"patient{case}" for case in range(5) for _ in (1, 2)]
    assert any("5 groups" in note for note in found.notes)


def test_both_eyes_are_of_one_patient(tmp_path):
    stems = [f"Image_{child:02}{side}" for child in range(1, 6) for side in "LR"]
    found = find_dataset(lay(tmp_path / "1", *(f"{folder}/{stem}.png" for stem in stems for folder in ("images", "masks"))))
    assert [case.group for case in found.cases] == [f"Image_{child:02}" for child in range(1, 6) for _ in "LR"]
    assert any("the left and the right of one name" in note for note in found.notes)
    alone = find_dataset(lay(tmp_path / "2", *(f"{folder}/{child}_OD.png" for child in range(1, 7) for folder in ("images", "masks"))))
    assert [case.group for case in alone.cases] == [f"images/{child}_OD" for child in range(1, 7)]


def test_three_folders_are_no_patients(tmp_path):
    lay(tmp_path, *(f"{kind}/{kind} ({number}){end}.png" for kind in ("benign", "malignant", "normal") for number in (1, 2) for end in ("", "_mask")))
    assert [case.group for case in find_dataset(tmp_path).cases][:2] == ["benign/benign (1)", "benign/benign (2)"]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["patient00_t0", "patient00_t1", "patient01_t0"], ["patient00", "patient00", "patient01"]),
        (["Subject-1", "Subject-1_late", "Subject-2"], ["Subject-1", "Subject-1", "Subject-2"]),     # the first visit has no word of its own
        (["case 7/a", "case 7/b", "case 8/a"], ["case 7", "case 7", "case 8"]),
        (["vol1_a", "vol1_b", "vol2_a"], ["images/vol1_a", "images/vol1_b", "images/vol2_a"]),       # a volume may be anything
        (["staircase1_a", "staircase1_b", "staircase2_a"], ["images/staircase1_a", "images/staircase1_b", "images/staircase2_a"]),
    ],
)
def test_two_are_enough_where_they_are_called_patients(tmp_path, names, groups):
    lay(tmp_path, *(f"{kind}/{name}.png" for name in names for kind in ("images", "masks")))
    assert [case.group for case in find_dataset(tmp_path).cases] == groups


@pytest.mark.parametrize("name", ["annotations/instances_train.json", "train/_annotations.coco.json", "labels.json"])
def test_coco_is_refused_in_words(tmp_path, name):
    lay(tmp_path, name, "train/a.png")
    (tmp_path / name).write_text(json.dumps({"images": [{"file_name": "a.png"}], "annotations": [{"segmentation": [[1, 2]]}], "categories": []}))
    for place in (tmp_path, tmp_path / name):
        with pytest.raises(FormatError, match="is COCO .polygons in JSON.*annToMask"):
            find_dataset(place)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/1.png", "b/2.png"], "holds 2 pictures in a, b, and none that can be told to be .*; if each of them is a set, name one; segkit takes"),
        (["a.txt"], "holds no pictures; segkit takes images/ with masks/"),
        (["images/a.png", "masks/b.png"], "no two names go together .a.png / b.png.; name a mask as its picture"),
    ],
)
def test_nothing_found_says_what_is_there(tmp_path, names, words):
    with pytest.raises(PairingError, match=words):
        find_dataset(lay(tmp_path, *names))


def test_a_file_that_is_no_table_and_a_place_that_is_not_there(tmp_path):
    with pytest.raises(PairingError, match="a.txt: is neither a table of pairs"):
        find_dataset(lay(tmp_path, "a.txt") / "a.txt")
    with pytest.raises(VanishedError, match="none: no such file or folder"):
        find_dataset(tmp_path / "none")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FormatError, match="a.json: is no JSON"):
        find_dataset(tmp_path / "a.json")
