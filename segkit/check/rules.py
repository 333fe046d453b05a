"""The faults of data sets, one function each: from the evidence to findings, silent where there is nothing to say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from segkit.check.facts import ImageFacts
from segkit.check.likeness import MOST, SAME_VIEW, Twins, clusters
from segkit.check.report import Evidence, Finding
from segkit.errors import ShapeError, counted
from segkit.layouts import FoundCase

FEWEST_ALIKE = 4
"""Masks that are the same by chance in no set."""

Rule = Callable[[Evidence], Iterator[Finding]]

MOSTLY = 0.5
"""Share of foreground above which it is asked whether it is the background."""

INVERTED_BORDER, USUAL_BORDER = 0.95, 0.3
"""A mask is taken for inverted whose foreground covers so much of the border, where in the set it covers less than that."""

BURNT, USUALLY_BURNT = 0.2, 0.05
"""Share of pixels at the largest value: of a picture that is overexposed, and of the set's median picture."""

SPACING_RATIO = 1.1
"""The set is of one spacing where the widest is not more than so many times the finest."""

SCALE_RATIO = 4.0
"""Pictures are on one scale where their 99.5th percentiles do not differ more."""

TINY_SHARE, TINY_AREA_PX, TINY_CASES = 1e-4, 16, 3
"""A class is tiny with less of the pixels, with smaller pieces (median), or in fewer cases."""


def unreadable(evidence: Evidence) -> Iterator[Finding]:
    """Files that no reader can read, or that are not there."""
    for is_mask, code, what in ((False, "unreadable-image", "picture"), (True, "unreadable-mask", "mask")):
        problems = [fact.problem for fact in evidence.facts if fact.problem is not None and fact.problem.is_mask == is_mask]
        broken = [problem for problem in problems if problem.code != ShapeError.code]
        if broken:
            yield Finding(
                "error",
                code,
                f"{counted(len(broken), what)} can't be used; the first: {broken[0].message}",
                "bring or repair the files, or leave the pairs out",
                evidence.names(problem.path for problem in broken),
                "leaves the pairs out",
            )


def mismatched(evidence: Evidence) -> Iterator[Finding]:
    """Masks of another size than their pictures."""
    problems = [fact.problem for fact in evidence.facts if fact.problem is not None and fact.problem.code == ShapeError.code]
    if problems:
        yield Finding(
            "error",
            "size-mismatch",
            f"{counted(len(problems), 'mask')} {'differs' if len(problems) == 1 else 'differ'} in size from the picture; the first: {problems[0].message}",
            "draw or export the mask anew at the picture's size; resizing would shift its outline",
            evidence.names(problem.path for problem in problems),
            "leaves the pairs out",
        )


def unpaired(evidence: Evidence) -> Iterator[Finding]:
    """Pictures without masks, and masks without pictures."""
    found = evidence.found
    lonely = (("unpaired-image", found.unpaired_images, "picture", "mask"), ("unpaired-mask", found.unpaired_masks, "mask", "picture"))
    for code, paths, what, lacking in lonely:
        if paths:
            verb = "is left out" if len(paths) == 1 else "are left out"
            yield Finding(
                "warning", code, f"{counted(len(paths), what)} without a {lacking} {verb}",
                "give both the same name, or take the file away; where nothing is to be seen on a picture, it needs an empty mask",
                evidence.names(paths), "leaves them out",
            )  # fmt: skip


def values_without_meaning(evidence: Evidence) -> Iterator[Finding]:
    """Masks that no rule can read."""
    values, masks = evidence.values, evidence.masks
    if values.labels is None and masks:
        most = max(masks, key=lambda number: masks[number].distinct)
        yield Finding(
            "error",
            "values-unclear",
            f"the masks hold up to {masks[most].distinct} different values, which are neither classes, nor numbers of objects, nor black and white",
            "is it the picture, or a coloured drawing of the mask over it? export plain masks; or say what the values mean with --labels",
            evidence.mask_names([most]),
        )


def stray_values(evidence: Evidence) -> Iterator[Finding]:
    """Values that belong to no class."""
    values, masks = evidence.values, evidence.masks
    if not values.strays:
        return
    numbers = sorted({number for cases in values.strays.values() for number in cases})
    pixels = sum(masks[number].pixels[value] for value, cases in values.strays.items() for number in cases)
    colour = values.as_labels() is not None and any(isinstance(value, str) for value in (values.labels or {}).values())
    shown = ", ".join(f"#{value:06x}" if colour else str(value) for value in list(values.strays)[:6])
    more = ", …" if len(values.strays) > 6 else ""
    whose = "named by --labels or dataset.json" if values.kind == "as told" else "of any class"
    yield Finding(
        "error",
        "stray-values",
        f"{counted(len(numbers), 'mask')} {'holds' if len(numbers) == 1 else 'hold'} values that are not {whose}: {shown}{more} ({counted(pixels, 'pixel')}); "
        "training would stop there",
        "correct the masks, or name each value with --labels",
        evidence.mask_names(numbers),
        "takes them for the nearer one of black and white" if values.kind == "0 and 255" else "leaves the pairs out",
    )


def soft_masks(evidence: Evidence) -> Iterator[Finding]:
    """JPEG or antialiased masks: ramps between black and white."""
    if evidence.values.kind == "soft":
        soft = [number for number, mask in evidence.masks.items() if not mask.values <= {0, 255}]
        between = sum(count for number in soft for value, count in evidence.masks[number].pixels.items() if value not in (0, 255))
        lossy = sum(mask.is_lossy for mask in evidence.masks.values())
        yield Finding(
            "error",
            "soft-masks",
            f"{counted(between, 'pixel')} of {counted(len(soft), 'mask')} {'lies' if between == 1 else 'lie'} between black and white"
            f"{f' ({lossy} are JPEG, which moves values)' if lossy else ''}; above 0 would be far too much",
            "export masks as PNG without antialiasing, or train with a mask threshold of 127 (data.mask_threshold)",
            evidence.mask_names(soft),
            "writes them as 0 and 255, told apart at 127",
        )


def mixed_values(evidence: Evidence) -> Iterator[Finding]:
    """0/1 in some masks, 0/255 in others."""
    if evidence.values.kind == "0/1 and 0/255 mixed":
        ones = [number for number, mask in evidence.masks.items() if 1 in mask.values]
        yield Finding(
            "error", "mixed-values", f"{evidence.share(len(ones))} masks are drawn in 0 and 1, the others in 0 and 255: one of them would be taken for nothing",
            "draw all in the same values", evidence.mask_names(ones), "writes all as 0 and 255",
        )  # fmt: skip


def object_numbers(evidence: Evidence) -> Iterator[Finding]:
    """Masks that number objects instead of naming classes."""
    if evidence.values.kind == "object numbers":
        highest = max(max(mask.pixels) for mask in evidence.masks.values())
        yield Finding(
            "error", "object-numbers", f"the masks number their objects, up to {highest}; as classes these numbers mean nothing",
            "train on foreground and background; objects that touch become one", evidence.mask_names(evidence.masks),
            "writes all objects as 255",
        )  # fmt: skip


def guessed_values(evidence: Evidence) -> Iterator[Finding]:
    """Grey levels that may be classes."""
    if evidence.values.kind == "levels":
        yield Finding(
            "warning", "levels", f"the masks hold the values {evidence.values.describe()}: taken for a class each",
            "say what they are: --labels nerve=85,vessel=170", (), "writes them as class numbers 0, 1, 2, ...",
        )  # fmt: skip


def kinds_of_masks(evidence: Evidence) -> Iterator[Finding]:
    """Palettes and colours: read rightly here, wrongly by programs that turn them into grey."""
    palettes = [number for number, mask in evidence.masks.items() if mask.is_palette]
    if palettes:
        yield Finding(
            "note", "palette-masks", f"{evidence.share(len(palettes))} masks have a palette; here its numbers count, other programs may see greys",
            "nothing to do here", evidence.mask_names(palettes), "writes them without a palette",
        )  # fmt: skip
    colours = [number for number, mask in evidence.masks.items() if mask.is_colour]
    if colours and evidence.values.labels is not None:
        guess = "" if evidence.values.are_names_known else "; the names are guessed"
        yield Finding(
            "note" if evidence.values.are_names_known else "warning", "colour-masks",
            f"{evidence.share(len(colours))} masks are drawn in colours: {evidence.values.describe()}{guess}",
            "nothing to do here" if evidence.values.are_names_known else "name the colours: --labels background=#000000,nerve=#ff0000",
            evidence.mask_names(colours), "writes them as class numbers 0, 1, 2, ...",
        )  # fmt: skip


def several_files(evidence: Evidence) -> Iterator[Finding]:
    """Cases of several files, which training does not read as they are."""
    cases = evidence.found.cases
    several = [number for number, case in enumerate(cases) if len(case.masks) > 1] or [number for number, case in enumerate(cases) if case.combine != "one"]
    if several:
        what = "a file for each class" if cases[several[0]].combine == "classes" else "a file for each object or part"
        yield Finding(
            "error", "several-masks", f"{evidence.share(len(several))} masks lie in several files, {what}; segkit train takes one for each picture",
            "segkit finetune joins them by itself; for segkit train take the copy", evidence.mask_names(several), "writes them as one mask",
        )  # fmt: skip
    channels = [number for number, case in enumerate(cases) if len(case.images) > 1]
    if channels:
        can = all(can_be_joined(evidence.images[number]) for number in channels if number in evidence.images)
        yield Finding(
            "error", "several-images", f"{evidence.share(len(channels))} pictures lie in several files, one for each channel; training takes one file",
            "let --fix write them as one" if can else "take the channel that shows most, or make it two sets: several channels are joined for pictures alone",
            evidence.image_names(channels), "writes them as one TIFF of several channels" if can else None,
        )  # fmt: skip


def overlapping_classes(evidence: Evidence) -> Iterator[Finding]:
    """Classes in files of their own that claim the same pixels."""
    numbers = [number for number, mask in evidence.masks.items() if mask.overlap]
    if numbers:
        pixels = sum(evidence.masks[number].overlap for number in numbers)
        yield Finding(
            "warning", "overlapping-classes",
            f"on {counted(len(numbers), 'picture')} classes overlap, on {counted(pixels, 'pixel')}; here the last class by name has them",
            "where one lies within the other, draw the outer one without the inner one", evidence.mask_names(numbers),
        )  # fmt: skip


def swapped(evidence: Evidence) -> Iterator[Finding]:
    """Foreground where the background should be, in the whole set or in single masks."""
    values, shares = evidence.values, evidence.foreground
    if len(values.names) != 2 or not shares:
        return
    median = float(np.median(list(shares.values())))
    if median > MOSTLY and not values.are_names_known:
        low, high = (values.labels or {}).values()
        yield Finding(
            "warning", "swapped-set",
            f"{values.names[1]} ({high}) covers {median:.0%} of the pixels: is it the background, and {values.names[0]} ({low}) what is looked for?",
            f"if so, say it: --labels background={high},foreground={low} (any name)", (),
        )  # fmt: skip
    inverted = inverted_cases(evidence)
    if inverted:
        yield Finding(
            "error", "inverted-masks",
            f"{counted(len(inverted), 'mask')} {'seems' if len(inverted) == 1 else 'seem'} inverted: "
            f"foreground covers all of the border and most of the picture, in the others {median:.0%} of it",
            "invert them if that is so; if not, leave them", evidence.mask_names(inverted), "leaves the pairs out",
        )  # fmt: skip


def inverted_cases(evidence: Evidence) -> list[int]:
    """Numbers of the masks of two classes whose foreground is where the others have their background."""
    shares = evidence.foreground
    if len(evidence.values.names) != 2 or not shares or float(np.median(list(shares.values()))) > MOSTLY:
        return []
    border = {number: evidence.values.border(evidence.masks[number]) for number in shares}
    if float(np.median(list(border.values()))) > USUAL_BORDER:
        return []
    return [number for number, share in shares.items() if share > MOSTLY and border[number] > INVERTED_BORDER]


def empty_masks(evidence: Evidence) -> Iterator[Finding]:
    """Masks without any foreground."""
    empty = [number for number, share in evidence.foreground.items() if share == 0]
    if not empty or evidence.values.labels is None:
        return
    if len(empty) == len(evidence.foreground):
        yield Finding("error", "no-foreground", "no mask holds any foreground: there is nothing to learn", "look at the values of the masks (--labels)")
        return
    yield Finding(
        "warning" if len(empty) > MOSTLY * len(evidence.facts) else "note", "empty-masks",
        f"{evidence.share(len(empty))} masks are empty; where something is to be seen, this teaches to overlook it",
        "leave those out that were never drawn", evidence.mask_names(empty),
    )  # fmt: skip


def too_few(evidence: Evidence) -> Iterator[Finding]:
    """One pair, or one patient: nothing is left to choose the weights by."""
    measured = evidence.measurements
    if measured is not None and measured.groups == 1:
        yield Finding(
            "error", "too-few", f"{counted(measured.cases, 'pair')} of one patient (group) can't be divided into some to train on and some to validate on",
            "draw pictures of more patients; where these are of several, say so in the column group of a manifest",
        )  # fmt: skip


def without_background(evidence: Evidence) -> Iterator[Finding]:
    """Foreground everywhere."""
    measured = evidence.measurements
    if measured is not None and measured.classes and measured.classes[0].pixel_share == 0:
        first = measured.classes[0].name
        yield Finding("error", "no-background", f"no mask holds {first}: a network learns to draw everything", "check the labels, or the export of the masks")


def same_masks(evidence: Evidence) -> Iterator[Finding]:
    """One drawing for all pictures: an export gone wrong, or a field of view."""
    drawn = {number: mask for number, mask in evidence.masks.items() if evidence.foreground[number] > 0}
    if len(drawn) >= FEWEST_ALIKE and len({mask.sha for mask in drawn.values()}) == 1 and len({image.sha for image in evidence.images.values()}) > 1:
        yield Finding(
            "warning", "same-masks",
            f"{evidence.share(len(drawn))} masks are one and the same drawing: a network would learn the place and not look at the picture",
            "is it a field of view, or was one mask saved under all names?", evidence.mask_names(drawn),
        )  # fmt: skip


def copies(evidence: Evidence) -> Iterator[Finding]:
    """The same pixels twice: with one mask or with several."""
    exact = [pair for pair in evidence.twins if pair.exact]
    agree = [pair for pair in exact if _same_mask(evidence, pair)]
    contradict = clusters([pair for pair in exact if not _same_mask(evidence, pair)])
    if contradict:
        yield Finding(
            "warning", "contradicting-masks",
            f"{counted(len(contradict), 'picture')} {'stands' if len(contradict) == 1 else 'stand'} in the set more than once with different masks; "
            "the network is told both, and scores against either",
            "decide which mask is right, and leave the others out", _joined(evidence, contradict), "leaves all of them out",
        )  # fmt: skip
    if agree:
        same = clusters(agree)
        yield Finding(
            "warning", "copies", f"{counted(len(same), 'picture')} {'stands' if len(same) == 1 else 'stand'} in the set more than once, with the same mask",
            "keep one of each", _joined(evidence, same), "keeps the first of each",
        )  # fmt: skip


def near_copies(evidence: Evidence) -> Iterator[Finding]:
    """Nearly the same picture, or the same view a moment later."""
    alike = [pair for pair in evidence.twins if not pair.exact]
    apart = [pair for pair in alike if evidence.found.cases[pair.first].group != evidence.found.cases[pair.second].group]
    if apart:
        near = sum(pair.is_near for pair in apart)
        likeness = ", ".join(f"{_pair_name(evidence, pair)} {pair.correlation:.2f}" for pair in sorted(apart, key=lambda pair: -pair.correlation)[:3])
        yield Finding(
            "warning", "near-copies",
            f"{counted(len(apart), 'pair')} of pictures {'shows' if len(apart) == 1 else 'show'} the same view ({near} nearly the same picture), "
            "most likely of one patient; "
            f"the most alike: {likeness}",
            "give them one group (column group of a manifest), so that they stay on one side of a split",
            _joined(evidence, clusters(apart)), "gives them one group",
        )  # fmt: skip
    if len(evidence.facts) > MOST:
        yield Finding("note", "near-copies-not-sought", f"more than {MOST} cases: only equal pictures were looked for, not similar ones", "nothing to do")


def leaks(evidence: Evidence) -> Iterator[Finding]:
    """Pictures of one patient, or the same picture, on both sides of a split."""
    cases = evidence.found.cases
    sides: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        sides[case.group].add(case.split or "")
    torn = {group for group, splits in sides.items() if len(splits - {""}) > 1}
    if torn:
        yield Finding(
            "error", "group-on-both-sides",
            f"{counted(len(torn), 'group')} (patients) {'stands' if len(torn) == 1 else 'stand'} in more than one split, first {min(torn)!r}: "
            "the score would be that of patients who are known",
            "put all pictures of a patient into one split", evidence.image_names(number for number, case in enumerate(cases) if case.group in torn),
            "moves them into training, or drops the copies",
        )  # fmt: skip
    across = [pair for pair in evidence.twins if _are_split(cases[pair.first], cases[pair.second]) and cases[pair.first].group not in torn]
    sure = [pair for pair in across if pair.is_near]
    for severity, pairs in (("error", sure), ("warning", [pair for pair in across if not pair.is_near])):
        if pairs:
            verb = "stands" if len(pairs) == 1 else "stand"
            what = "the same picture, or nearly so," if severity == "error" else f"the same view (likeness {SAME_VIEW} to 0.9)"
            yield Finding(
                "error" if severity == "error" else "warning",
                "copies-across-splits" if severity == "error" else "views-across-splits",
                f"{counted(len(pairs), 'pair')} with {what} {verb} on both sides of a split: the score would be too good",
                "put both into one split", tuple(_pair_name(evidence, pair) for pair in pairs), "moves them into training",
            )  # fmt: skip


def flat_pictures(evidence: Evidence) -> Iterator[Finding]:
    """Pictures, or slices of volumes, whose pixels are all the same."""
    flat = [number for number, image in evidence.images.items() if image.low == image.high]
    if flat:
        yield Finding(
            "warning", "constant-pictures", f"one value everywhere in {counted(len(flat), 'picture')}: nothing is to be seen there",
            "leave them out, or export them anew", evidence.image_names(flat), "leaves them out",
        )  # fmt: skip
    partly = [number for number, image in evidence.images.items() if 0 < image.flat_slices < image.slices]
    if partly:
        slices = sum(evidence.images[number].flat_slices for number in partly)
        yield Finding(
            "note", "constant-slices", f"one value everywhere in {counted(slices, 'slice')} of {counted(len(partly), 'volume')}",
            "nothing to do where they are padding",
            evidence.image_names(partly),
        )  # fmt: skip


def burnt_pictures(evidence: Evidence) -> Iterator[Finding]:
    """Pictures with many pixels at the largest value, in a set where that is not usual."""
    tops = {number: image.at_top for number, image in evidence.images.items() if image.low < image.high}
    if tops and float(np.median(list(tops.values()))) < USUALLY_BURNT:
        burnt = [number for number, share in tops.items() if share > BURNT]
        if burnt:
            yield Finding(
                "warning", "saturated-pictures",
                f"more than {BURNT:.0%} of the pixels at the largest value in {counted(len(burnt), 'picture')}: overexposed, or clipped",
                "export them with another window, or leave them out", evidence.image_names(burnt),
            )  # fmt: skip


def mixed_pictures(evidence: Evidence) -> Iterator[Finding]:
    """Pictures that differ in channels, in the type of their pixels, or in the scale of their values."""
    images = evidence.images
    channels = Counter(image.channels for image in images.values())
    if len(channels) > 1:
        rarer = min(channels, key=lambda count: channels[count])
        all_grey = all(image.is_grey for image in images.values())
        known = set(channels) <= {1, 3}
        told = ", ".join(f"{count} with {number}" for number, count in sorted(channels.items()))
        yield Finding(
            "error", "mixed-channels",
            f"pictures differ in channels: {told}{' (all of them are grey)' if all_grey else ''}; a network takes one number of channels",
            f"convert them, or train with preprocess.convert_channels and preprocess.channels={1 if all_grey else max(channels)}",
            evidence.image_names(number for number, image in images.items() if image.channels == rarer),
            (f"writes all in {'grey' if all_grey else 'colour'}") if known else None,
        )  # fmt: skip
    types = Counter(image.dtype for image in images.values())
    tops = [max(channel.percentiles[-1] for channel in image.intensity) for image in images.values() if image.low < image.high]
    scales = max(tops) / min(tops) if tops and min(tops) > 0 else 1.0
    if len(types) > 1 or (scales > SCALE_RATIO and set(types) != {"uint8"}):
        told = ", ".join(f"{count} {dtype}" for dtype, count in sorted(types.items()))
        yield Finding(
            "note", "mixed-scales", f"intensities are on different scales: {told}; their bright ends (99.5 %) differ by a factor of {scales:.3g}",
            "normalise each picture by itself: preprocess.intensity.kind=zscore",
        )  # fmt: skip


def remarks(evidence: Evidence) -> Iterator[Finding]:
    """What the readers changed or could not know."""
    told: dict[str, list[int]] = defaultdict(list)
    for number, image in evidence.images.items():
        for note in image.notes:
            told[note].append(number)
    if told:
        shown = [f"{note} ({len(numbers)})" for note, numbers in sorted(told.items(), key=lambda item: -len(item[1]))]
        numbers = sorted({number for several in told.values() for number in several})
        yield Finding(
            "note", "remarks", f"on reading {counted(len(numbers), 'picture')}: {'; '.join(shown[:4])}{'; …' if len(shown) > 4 else ''}",
            "nothing to do, if that is as it should be", evidence.image_names(numbers),
        )  # fmt: skip


def mixed_spacing(evidence: Evidence) -> Iterator[Finding]:
    """Pixels of different sizes in millimetres."""
    measured = evidence.measurements
    if measured is None or measured.spacing_mm is None:
        return
    if measured.without_spacing:
        silent = [number for number, image in evidence.images.items() if image.spacing_mm is None]
        yield Finding(
            "warning", "missing-spacing", f"{evidence.share(len(silent))} pictures do not say how large their pixels are, the others do",
            "add it to the files, or work in pixels (preprocess.resize native)", evidence.image_names(silent),
        )  # fmt: skip
    ranges = measured.spacing_mm
    if any(side.highest > SPACING_RATIO * side.lowest for side in ranges):
        told = " x ".join(f"{side.lowest:.3g}..{side.highest:.3g}" for side in ranges)
        yield Finding(
            "warning", "mixed-spacing", f"pixels differ in size: {told} mm; the same thing is larger on one picture than on another",
            "bring all to one spacing: preprocess.resize.kind=spacing",
        )  # fmt: skip


def rare_classes(evidence: Evidence) -> Iterator[Finding]:
    """Classes that are missing, or too small or too rare to be learnt."""
    measured = evidence.measurements
    if measured is None or all(share == 0 for share in evidence.foreground.values()):
        return
    for one in measured.classes[1:]:
        cases = round(one.case_share * measured.cases)
        if cases == 0:
            yield Finding("error", "missing-class", f"no mask holds {one.name}, which the labels name", "check the labels, or leave the class out of them")
            continue
        reasons = [
            *([f"{one.pixel_share:.2g} of the pixels"] if one.pixel_share < TINY_SHARE else []),
            *([f"pieces of {one.area_px_median:.0f} pixels (median)"] if 0 < one.area_px_median < TINY_AREA_PX else []),
            *([f"only in {counted(cases, 'case')}"] if cases < TINY_CASES <= measured.cases / 2 else []),
        ]
        if reasons:
            yield Finding(
                "warning", "tiny-class", f"{one.name}: {', '.join(reasons)}; hard to learn, and its score will jump",
                "draw more of it, or join it with another class",
            )  # fmt: skip


RULES: tuple[Rule, ...] = (
    unreadable,
    mismatched,
    unpaired,
    values_without_meaning,
    stray_values,
    soft_masks,
    mixed_values,
    object_numbers,
    guessed_values,
    kinds_of_masks,
    several_files,
    overlapping_classes,
    swapped,
    empty_masks,
    too_few,
    without_background,
    same_masks,
    copies,
    near_copies,
    leaks,
    flat_pictures,
    burnt_pictures,
    mixed_pictures,
    mixed_spacing,
    remarks,
    rare_classes,
)


def _same_mask(evidence: Evidence, pair: Twins) -> bool:
    one, other = evidence.facts[pair.first].mask, evidence.facts[pair.second].mask
    return one is not None and other is not None and one.sha == other.sha


def _pair_name(evidence: Evidence, pair: Twins) -> str:
    return " = ".join(evidence.image_names((pair.first, pair.second)))


def _joined(evidence: Evidence, groups: Iterable[Iterable[int]]) -> tuple[str, ...]:
    return tuple(" = ".join(evidence.image_names(group)) for group in groups)


def _are_split(one: FoundCase, other: FoundCase) -> bool:
    return one.split is not None and other.split is not None and one.split != other.split


def can_be_joined(image: ImageFacts) -> bool:
    """A TIFF takes any number of channels of any type, but neither slices nor the millimetres of a patient's space."""
    return not image.is_volume and image.spacing_mm is None
