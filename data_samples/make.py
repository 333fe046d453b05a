"""Makes the pictures and masks of this folder, all from seeds: ``python data_samples/make.py [FOLDER]``.

Nothing here was ever a patient: each set is a phantom, painted from the outside in, with the noise of its machine.

::

    vessels/   fundus photograph   colour PNG      masks 0 and 255
    nerve/     ultrasound          grey PNG        palette masks 0, 1, 2
    cells/     electron microscopy grey PNG        masks 0 (membrane) and 255 (inside a cell)
    brain/     MRI                 NIfTI volumes   masks 0, 1, 2
    dicom/     MRI                 one slice, and a series whose names are out of order; no masks

Coordinates are (row, column), or (x, y, z) in the volumes as NIfTI has them.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

Field = NDArray[np.float64]
Labels = NDArray[np.uint8]


def make_all(folder: Path) -> None:
    """Write the five sets below `folder`."""
    make_vessels(folder / "vessels")
    make_nerve(folder / "nerve")
    make_cells(folder / "cells")
    make_brain(folder / "brain")
    make_dicom(folder / "dicom")


# Fundus photographs: four people, two eyes each. ------------------------------------------------------------------

THINNEST = 0.55  # radius in pixels of the last twigs: any thinner, and the mask would be a dotted line
FUNDUS_SIZES = [(160, 176), (157, 171), (163, 180), (151, 168), (168, 175), (160, 177), (155, 170), (161, 169)]


def make_vessels(folder: Path) -> None:
    rows = []
    for index, size in enumerate(FUNDUS_SIZES):
        picture, mask = paint_fundus(np.random.default_rng([1, index]), size, left_eye=index % 2 == 0)
        name = f"{index + 1:02d}_{'left' if index % 2 == 0 else 'right'}.png"
        save_png(folder / "images" / name, Image.fromarray(picture))
        save_png(folder / "masks" / name, Image.fromarray(mask))
        rows.append((f"images/{name}", f"masks/{name}", "train" if index < 6 else "test", f"person{index // 2 + 1}"))
    save_manifest(folder, rows)


def paint_fundus(rng: Generator, size: tuple[int, int], *, left_eye: bool) -> tuple[Labels, Labels]:
    """(H, W, 3) uint8 picture and (H, W) mask, 255 on a vessel: the retina, the optic disc, the vessels, the shutter's dark border, the camera's noise."""
    height, width = size
    radius = 0.48 * min(size) * rng.uniform(0.97, 1.03)
    seen = ellipse(size, (height / 2, width / 2), (radius, radius * 1.03))
    disc = (height * rng.uniform(0.44, 0.54), width * (0.27 if left_eye else 0.73) + rng.normal(0, 2))
    fovea = (disc[0] + 0.04 * height, disc[1] + (0.34 if left_eye else -0.34) * width)

    depth, mask = np.zeros(size), np.zeros(size)
    for path, contrast in vessel_tree(rng, disc, radius, towards=1 if left_eye else -1):
        covered = draw_path(size, path)
        mask = np.maximum(mask, covered)
        depth = np.maximum(depth, contrast * covered)
    mask = mask * (seen > 0.5)

    light = 1.0 + 0.16 * smooth_noise(rng, size, 30) - 0.30 * (distance(size, (height / 2, width / 2)) / radius) ** 2
    light *= 1.0 + 0.05 * smooth_noise(rng, size, 5)
    dark = 0.30 * blob(size, fovea, 0.20 * radius)
    for _ in range(rng.integers(2, 6)):
        dark = np.maximum(dark, rng.uniform(0.15, 0.4) * blob(size, tuple(rng.uniform(0.2, 0.8, 2) * size), rng.uniform(1.2, 3.0)))
    glow = 0.9 * ellipse(size, disc, (0.15 * radius, 0.13 * radius), edge=3.0) + 0.25 * blob(size, disc, 0.35 * radius)

    skin = np.array([0.78, 0.37, 0.17]) * rng.uniform([0.92, 0.85, 0.7], [1.08, 1.15, 1.3])
    picture = skin * (light * (1 - dark))[..., None] + glow[..., None] * np.array([0.26, 0.42, 0.26])
    picture *= 1 - gaussian(depth, 0.6)[..., None] * np.array([0.35, 0.85, 0.65])
    picture = (picture * gaussian(seen, 1.0)[..., None]).clip(0, 1)
    picture += rng.normal(0, 0.02, (*size, 3)) * (0.3 + picture) + 0.02
    return to_bytes(picture), np.where(mask > 0.5, 255, 0).astype(np.uint8)


@dataclass(frozen=True)
class Path2D:
    """A line with a width: (N, 2) points half a pixel apart, (N,) radii in pixels."""

    points: Field
    radii: Field


def vessel_tree(rng: Generator, disc: Sequence[float], reach: float, towards: int) -> Iterator[tuple[Path2D, float]]:
    """Paths and their contrast: an artery and a vein to each quadrant, arching around the fovea, then their branches."""
    for up in (-1, 1):
        for side in (-1, 1):
            for contrast, radius in ((0.42, 1.25), (0.62, 1.75)):
                angle = np.arctan2(up * rng.uniform(0.8, 1.3), side * rng.uniform(0.3, 0.6))
                bend = side * up * (-0.008 if side == towards else -0.002)
                yield from branch(rng, np.asarray(disc), angle + rng.normal(0, 0.2), bend, radius * rng.uniform(0.85, 1.1), contrast, 1.9 * reach)


def branch(rng: Generator, start: Field, angle: float, bend: float, radius: float, contrast: float, length: float) -> Iterator[tuple[Path2D, float]]:
    """A vessel that winds and narrows, and the vessels that leave it; angles in radians, `bend` in radians a step."""
    steps = int(length / 0.5)
    turns = bend + gaussian_lines(rng.normal(0, 0.07, steps), 4)
    angles = angle + np.cumsum(turns)
    points = start + 0.5 * np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0)
    radii = np.maximum(radius * np.linspace(1, 0.45, steps), THINNEST)
    yield Path2D(points, radii), contrast * min(1.0, 0.55 + 0.35 * radius)
    if radius < 0.75 or length < 12:
        return
    for place in rng.uniform(0.15, 0.85, rng.integers(2, 5)):
        step = int(place * steps)
        side = rng.choice([-1, 1])
        yield from branch(
            rng, points[step], angles[step] + side * rng.uniform(0.4, 0.8), -side * 0.005, radii[step] * rng.uniform(0.6, 0.8), contrast, length * 0.42
        )


def draw_path(size: tuple[int, int], path: Path2D) -> Field:
    """(H, W) share of each pixel that the line covers, 0 to 1."""
    covered = np.zeros(size)
    margin = int(path.radii.max()) + 2
    for (row, column), radius in zip(path.points, path.radii, strict=True):
        top, left = int(row) - margin, int(column) - margin
        rows, columns = np.arange(max(top, 0), min(top + 2 * margin + 1, size[0])), np.arange(max(left, 0), min(left + 2 * margin + 1, size[1]))
        if len(rows) and len(columns):
            window = covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            away = np.hypot(rows[:, None] - row, columns - column)
            np.maximum(window, (radius + 0.5 - away).clip(0, 1), out=window)
    return covered


# Ultrasound of the arm: four people, two pictures each. -----------------------------------------------------------

NERVE_SIZES = [(144, 160), (141, 163), (150, 158), (137, 155), (147, 166), (144, 161), (139, 157), (151, 160)]
NERVE, VESSEL = 1, 2
NERVE_PALETTE = [0, 0, 0, 255, 200, 0, 220, 30, 60]  # background, nerve, vessel


def make_nerve(folder: Path) -> None:
    rows = []
    for index, size in enumerate(NERVE_SIZES):
        picture, mask = paint_ultrasound(np.random.default_rng([2, index]), size, vessels=(2, 1, 1, 0, 2, 1, 1, 2)[index])
        name = f"arm_{index + 1:02d}.png"
        coloured = Image.fromarray(mask, mode="P")
        coloured.putpalette(NERVE_PALETTE)
        save_png(folder / "images" / name, Image.fromarray(picture))
        save_png(folder / "masks" / name, coloured)
        rows.append((f"images/{name}", f"masks/{name}", "train" if index < 6 else "test", f"person{index // 2 + 1}"))
    save_manifest(folder, rows)


def paint_ultrasound(rng: Generator, size: tuple[int, int], vessels: int) -> tuple[Labels, Labels]:
    """(H, W) uint8 picture and (H, W) mask of 0, `NERVE`, `VESSEL`: what sends echoes back, then the probe's speckle, then the logarithm of the screen."""
    echo = paint_layers(rng, size)
    mask = np.zeros(size, np.uint8)
    nerve = (size[0] * rng.uniform(0.42, 0.6), size[1] * rng.uniform(0.3, 0.7))
    half_axes = (size[0] * rng.uniform(0.075, 0.105), size[1] * rng.uniform(0.12, 0.17))
    echo, mask = paint_nerve(rng, echo, mask, nerve, half_axes, tilt=rng.normal(0, 0.3))
    for side in rng.permutation([-1, 1])[:vessels]:
        place = (nerve[0] + size[0] * rng.uniform(-0.06, 0.12), nerve[1] + side * size[1] * rng.uniform(0.24, 0.29))
        echo, mask = paint_vessel(rng, echo, mask, place, size[0] * rng.uniform(0.05, 0.08))

    deeper = np.linspace(0, 1, size[0])[:, None]
    loudness = 20 * np.log10(echo * speckle(rng, size) + 1e-3) - 9 * deeper  # dB
    picture = ((loudness + 38) / 42).clip(0, 1) ** 1.2
    picture += rng.normal(0, 0.01, size)
    return to_bytes(picture), mask


def paint_layers(rng: Generator, size: tuple[int, int]) -> Field:
    """(H, W) echo strength of skin, fat with septa, fascia and muscle with its fibres."""
    rows, columns = grid(size)
    wave = size[0] * 0.02 * np.sin(columns / size[1] * rng.uniform(2, 5) + rng.uniform(0, 6))
    slope = rng.uniform(-0.10, 0.10) * columns
    depth = (rows + wave + slope) / size[0]
    muscle_at = rng.uniform(0.24, 0.32)
    echo = np.where(depth < 0.06, 0.7, np.where(depth < muscle_at, 0.13, 0.10)) * np.exp(0.5 * smooth_noise(rng, size, 7))
    for at in (0.06, muscle_at, rng.uniform(0.72, 0.8)):
        echo += rng.uniform(0.5, 0.9) * np.exp(-(((depth - at) * size[0] / 1.6) ** 2)) * (0.75 + 0.5 * smooth_noise(rng, size, 9)).clip(0.1)
    for _ in range(rng.integers(16, 24)):
        fibre = (size[0] * rng.uniform(0.1, 0.95), size[1] * rng.uniform(0, 1))
        echo += rng.uniform(0.1, 0.4) * ellipse(size, fibre, (0.7, size[1] * rng.uniform(0.03, 0.13)), tilt=rng.normal(-0.1, 0.12), edge=1.5)
    for _ in range(2):  # islands of fat: dark like a vessel, but neither round nor with a wall
        island = (size[0] * rng.uniform(0.12, 0.9), size[1] * rng.uniform(0.05, 0.95))
        echo *= 1 - 0.7 * ellipse(size, island, (size[0] * 0.03, size[1] * rng.uniform(0.05, 0.09)), tilt=rng.normal(0, 0.3), edge=4)
    return echo


def paint_nerve(
    rng: Generator, echo: Field, mask: Labels, centre: Sequence[float], half_axes: Sequence[float], tilt: float
) -> tuple[Field, Labels]:
    """A bright oval with a brighter rim and, inside, the dark fascicles that give the look of a honeycomb."""
    inside = ellipse(echo.shape, centre, half_axes, tilt, edge=2)
    core = ellipse(echo.shape, centre, [axis - 2.2 for axis in half_axes], tilt, edge=2)
    echo = echo * (1 - inside) + inside * rng.uniform(0.24, 0.4) + (inside - core).clip(0) * rng.uniform(0.12, 0.3)
    pitch = 5.2
    for row in np.arange(-half_axes[0], half_axes[0] + pitch, pitch * 0.87):
        shift = pitch / 2 * (round(row / (pitch * 0.87)) % 2)
        for column in np.arange(-half_axes[1], half_axes[1] + pitch, pitch):
            at = rotate((row, column + shift), tilt) + np.asarray(centre) + rng.normal(0, 0.5, 2)
            echo = echo * (1 - 0.7 * core * ellipse(echo.shape, at, (1.7, 1.9), edge=1))
    return echo, np.where(inside > 0.5, np.uint8(NERVE), mask)


def paint_vessel(rng: Generator, echo: Field, mask: Labels, centre: Sequence[float], radius: float) -> tuple[Field, Labels]:
    """A dark round with a wall; blood swallows no sound, so the tissue behind it is brighter."""
    half_axes = (radius * rng.uniform(0.8, 1.0), radius * rng.uniform(1.0, 1.25))
    lumen = ellipse(echo.shape, centre, half_axes, edge=2)
    wall = ellipse(echo.shape, centre, [axis + 1.8 for axis in half_axes], edge=2) - lumen
    rows, columns = grid(echo.shape)
    behind = np.exp(-(((columns - centre[1]) / (0.8 * radius)) ** 2)) * ((rows > centre[0]) * np.exp(-(rows - centre[0]) / (4 * radius)))
    echo = echo * (1 + 1.1 * gaussian(behind, 1.5)) * (1 - lumen) + 0.022 * lumen + 0.22 * wall.clip(0)
    return echo, np.where(lumen > 0.5, np.uint8(VESSEL), mask)


def speckle(rng: Generator, size: tuple[int, int]) -> Field:
    """(H, W) amplitude, mean about 1: many echoes that add up or cancel within one cell of the probe, which is wider than it is deep."""
    waves = [gaussian(rng.normal(0, 1, size), (0.7, 1.3)) for _ in range(2)]
    amplitude = np.hypot(*waves)
    return np.asarray(amplitude / amplitude.mean())


# Electron microscopy: tissue of three animals, two sections each. -------------------------------------------------

CELLS_SIZES = [(152, 168), (149, 171), (157, 163), (151, 165), (153, 169), (147, 167)]
MEMBRANE, INSIDE = 0, 255
MEMBRANE_GREY = 0.30  # of membranes, and of all that lies in a cell and could be taken for one


def make_cells(folder: Path) -> None:
    rows = []
    for index, size in enumerate(CELLS_SIZES):
        picture, mask = paint_section(np.random.default_rng([5, index]), size)
        name = f"section_{index + 1:02d}.png"
        save_png(folder / "images" / name, Image.fromarray(picture))
        save_png(folder / "masks" / name, Image.fromarray(mask))
        rows.append((f"images/{name}", f"masks/{name}", "train" if index < 4 else "test", f"animal{index // 2 + 1}"))
    save_manifest(folder, rows)


def paint_section(rng: Generator, size: tuple[int, int]) -> tuple[Labels, Labels]:
    """(H, W) uint8 picture and (H, W) mask of `MEMBRANE` and `INSIDE`: the cells, what lies in them, their membranes, the stain, the focus, the noise."""
    cell, depth = divide_into_cells(rng, size)
    half_width = 1.25 + 0.2 * smooth_noise(rng, size, 8).clip(-1, 1)
    brightness = rng.normal(0.66, 0.05, cell.max() + 1)
    picture = gaussian(brightness[cell], 1.0) + 0.05 * smooth_noise(rng, size, 0.7) + 0.035 * smooth_noise(rng, size, 2.5)
    picture = paint_organelles(rng, picture, depth)
    picture = paint_vesicles(rng, picture, depth)

    cut = 0.8 + 0.2 * smooth_noise(rng, size, 10).clip(-1, 1)  # faint where the knife met the membrane at an angle
    membrane = (half_width + 0.5 - depth).clip(0, 1) * cut
    picture = picture * (1 - membrane) + MEMBRANE_GREY * membrane
    picture *= 1 + 0.08 * smooth_noise(rng, size, 35)

    blurred = (0.3 + 0.5 * smooth_noise(rng, size, 30)).clip(0, 1)
    picture = gaussian(picture, 0.5) * (1 - blurred) + gaussian(picture, 1.2) * blurred
    picture += gaussian(rng.normal(0, 0.09, size), 0.45)
    return to_bytes(picture), np.where(depth < half_width, MEMBRANE, INSIDE).astype(np.uint8)


def divide_into_cells(rng: Generator, size: tuple[int, int]) -> tuple[NDArray[np.intp], Field]:
    """(H, W) number of the cell that a pixel is in, and (H, W) pixels from there to the middle of the nearest membrane.

    A power diagram (Voronoi cells of unequal weight) over coordinates that are bent, so that its straight borders become wavy.
    """
    rows, columns = (axis + bend for axis, bend in zip(grid(size), (waves(rng, size), waves(rng, size)), strict=True))
    seeds = scatter(rng, size, apart=17)
    weights = rng.uniform(0, 17, len(seeds)) ** 2
    power = np.square(rows - seeds[:, 0, None, None]) + np.square(columns - seeds[:, 1, None, None]) - weights[:, None, None]  # (cells, H, W)
    cell = power.argmin(axis=0)
    between = np.hypot(*(seeds[:, None] - seeds).transpose(2, 0, 1))
    np.fill_diagonal(between, np.nan)  # no border with itself
    borders = (power - power.min(axis=0)) / (2 * between[:, cell])  # (cells, H, W) pixels to the border with each other cell
    return cell, np.asarray(np.nanmin(borders, axis=0))


def waves(rng: Generator, size: tuple[int, int]) -> Field:
    """(H, W) pixels to shift by, in long bends and short ripples; cut from a larger field, because noise swells towards its edges."""
    around = 36
    larger = (size[0] + 2 * around, size[1] + 2 * around)
    return (4.5 * smooth_noise(rng, larger, 12) + 0.9 * smooth_noise(rng, larger, 3.5))[around:-around, around:-around]


def scatter(rng: Generator, size: tuple[int, int], apart: float) -> Field:
    """(N, 2) random points, also a little outside the picture, none nearer to another than `apart`."""
    points: list[Field] = []
    for point in rng.uniform(-apart, np.array(size) + apart, (400, 2)):
        if all(np.hypot(*(point - other)) >= apart for other in points):
            points.append(point)
    return np.array(points)


def paint_organelles(rng: Generator, picture: Field, depth: Field) -> Field:
    """Mitochondria: ovals with a dark rim and folds inside, where a cell has room for them."""
    size = picture.shape
    for _ in range(7):
        room = np.argwhere(depth > 8)
        if not len(room):
            break
        centre = rng.choice(room)
        short = min(depth[tuple(centre)] - 3.0, rng.uniform(4.5, 8.0))
        half_axes, tilt = (short, short * rng.uniform(1.0, 1.35)), rng.uniform(0, np.pi)
        oval, core = ellipse(size, centre, half_axes, tilt), ellipse(size, centre, [axis - 1.3 for axis in half_axes], tilt)
        folds = 0.5 + 0.5 * np.sin(rotate((grid(size)[0] - centre[0], grid(size)[1] - centre[1]), -tilt)[0] * 2.2 + rng.uniform(0, 6))
        grey = MEMBRANE_GREY * (1 - core) + (MEMBRANE_GREY + 0.05 + 0.16 * folds) * core
        picture = picture * (1 - oval) + grey * oval
        depth = np.minimum(depth, distance(size, centre) - half_axes[1])  # the next one lies beside it
    return picture


def paint_vesicles(rng: Generator, picture: Field, depth: Field) -> Field:
    """Small rings and dots, crowded in some places."""
    size = picture.shape
    crowded = smooth_noise(rng, size, 14)
    room = np.argwhere((depth > 3.8) & (crowded > -0.2))
    for centre in rng.choice(room, min(len(room), 90), replace=False):
        radius = rng.uniform(1.1, 2.3)
        ring = ellipse(size, centre, (radius, radius * rng.uniform(0.9, 1.2)), rng.uniform(0, np.pi))
        hole = 0.6 * blob(size, centre, 0.6 * radius) if radius > 1.5 else 0.0
        shade = rng.uniform(0.7, 1.0) * ring * (1 - hole)
        picture = picture * (1 - shade) + MEMBRANE_GREY * shade
    return picture


# Brain volumes: three people, three machines. ---------------------------------------------------------------------

VENTRICLE, NUCLEUS = 1, 2


@dataclass(frozen=True)
class Scanner:
    """How one machine stores a volume: its grid, what white is worth in it, and its numbers."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    white: float
    dtype: type[np.generic]
    tilt: float = 0.0
    flipped: bool = False


SCANNERS = [
    Scanner((40, 48, 20), (1.0, 1.0, 2.5), 210, np.uint8),
    Scanner((38, 46, 18), (1.1, 1.1, 2.75), 2900, np.int16, tilt=0.21),
    Scanner((41, 47, 21), (1.0, 1.0, 2.4), 650_000, np.float32, flipped=True),
]


def make_brain(folder: Path) -> None:
    rows = []
    for index, scanner in enumerate(SCANNERS):
        signal, mask = paint_brain(np.random.default_rng([3, index]), scanner.shape)
        name = f"brain_{index + 1:02d}.nii.gz"
        save_nifti(folder / "images" / name, (signal * scanner.white).round().astype(scanner.dtype), affine(scanner))
        save_nifti(folder / "masks" / name, mask, affine(scanner))
        rows.append((f"images/{name}", f"masks/{name}", "train" if index < 2 else "test", f"person{index + 1}"))
    save_manifest(folder, rows)


def paint_brain(rng: Generator, shape: tuple[int, ...]) -> tuple[Field, Labels]:
    """(X, Y, Z) signal, white about 1, and (X, Y, Z) mask of 0, `VENTRICLE`, `NUCLEUS`: from the scalp to the middle, then the coil's shading and noise.

    Lengths are shares of the volume's half axes, so that each shape holds a whole head.
    """
    signal, mask = np.zeros(shape), np.zeros(shape, np.uint8)
    head = rng.uniform(0.95, 1.0, 3) * (0.92, 0.95, 1.05)

    def paint(centre: Sequence[float], half_axes: Field, value: float, label: int = 0) -> None:
        inside = ellipsoid(shape, centre, half_axes)
        signal[...] = signal * (1 - inside) + value * inside
        mask[inside > 0.5] = label

    paint((0, 0, 0), head, 0.85)
    paint((0, 0, 0), head * 0.93, 0.08)
    paint((0, 0, 0), head * 0.87, 0.22)
    paint((0, 0, 0), head * 0.83, 0.58)
    for side in (-1, 1):
        paint((side * 0.33, -0.02, 0.02), head * (0.40, 0.62, 0.60), 0.86)
    for side in (-1, 1):
        wobble = rng.normal(0, 0.02, 3)
        big = rng.uniform(0.85, 1.25)
        paint((side * 0.34 + wobble[0], 0.02 + wobble[1], -0.08), np.array([0.13, 0.24, 0.30]) * big, 0.64, NUCLEUS)
        paint((side * 0.15 + wobble[0], 0.24 + wobble[1], 0.12), np.array([0.085, 0.26, 0.34]) * rng.uniform(0.85, 1.35), 0.20, VENTRICLE)
        paint((side * 0.20 + wobble[1], -0.26 + wobble[2], 0.10), np.array([0.095, 0.24, 0.28]) * rng.uniform(0.85, 1.35), 0.20, VENTRICLE)
    signal *= 1 + 0.07 * smooth_noise(rng, shape, 1.2)
    signal *= 1 + 0.18 * smooth_noise(rng, shape, 12)
    return np.hypot(signal + rng.normal(0, 0.035, shape), rng.normal(0, 0.035, shape)), mask


def affine(scanner: Scanner) -> Field:
    """(4, 4) voxel to millimetres: tilted about x by `tilt` radians, x mirrored where `flipped`, the middle of the grid near the origin."""
    cosine, sine = np.cos(scanner.tilt), np.sin(scanner.tilt)
    turn = np.array([[-1.0 if scanner.flipped else 1.0, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * scanner.spacing_mm
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(scanner.shape) - 1) / 2)
    return matrix


# DICOM: slices of a fourth head. ----------------------------------------------------------------------------------

SERIES_SPACING_MM = (5.0, 0.9, 0.9)  # (slice, row, column)
SERIES_NAMES = ["IM03", "IM05", "IM01", "IM06", "IM02", "IM04"]  # the k-th slice from below is in the k-th file


def make_dicom(folder: Path) -> None:
    signal, _ = paint_brain(np.random.default_rng([4]), (56, 64, 18))
    signal = signal[..., 3:15:2]  # six slices of the middle
    slices = (signal * 1500).round().clip(0, 4095).astype(np.uint16).transpose(2, 1, 0)[:, ::-1]  # (S, H, W), nose up
    for index, (name, pixels) in enumerate(zip(SERIES_NAMES, slices, strict=True)):
        save_dicom(folder / "series" / f"{name}.dcm", pixels, index, series="series")
    save_dicom(folder / "slice.dcm", slices[3], 3, series="slice")


def save_dicom(path: Path, pixels: NDArray[np.uint16], index: int, series: str) -> None:
    """One MR slice, 12 bits stored in 16, two units a step (RescaleSlope)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = uid("instance", series, str(index))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    meta.ImplementationVersionName = "SEGKIT_SAMPLES"
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uid("study"), uid("series", series), uid("frame")
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Anonymous", "ANONYMOUS", "", ""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "20000101", "120000", "1", "", ""
    dataset.Modality, dataset.Manufacturer, dataset.SeriesDescription = "MR", "segkit", "phantom"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions, dataset.MRAcquisitionType = "SE", "NONE", "", "2D"
    dataset.RepetitionTime, dataset.EchoTime, dataset.EchoTrainLength = 500, 12, 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.PatientPosition, dataset.PositionReferenceIndicator = 1, index + 1, "HFS", ""
    dataset.SliceThickness, dataset.PixelSpacing = SERIES_SPACING_MM[0], list(SERIES_SPACING_MM[1:])
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [-24.75, -28.35, SERIES_SPACING_MM[0] * (index - 2.5)]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 2, "US"
    dataset.WindowCenter, dataset.WindowWidth = 1500, 3000
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def uid(*words: str) -> UID:
    """The same words give the same identifier."""
    return generate_uid(entropy_srcs=["segkit data_samples", *words])


# The painter's tools: fields of numbers, (H, W) or (X, Y, Z). -----------------------------------------------------


def grid(size: Sequence[int]) -> tuple[Field, Field]:
    """(H, 1) rows and (1, W) columns."""
    return np.arange(size[0], dtype=np.float64)[:, None], np.arange(size[1], dtype=np.float64)[None]


def distance(size: Sequence[int], centre: Sequence[float]) -> Field:
    """(H, W) pixels from `centre`."""
    rows, columns = grid(size)
    return np.hypot(rows - centre[0], columns - centre[1])


def blob(size: Sequence[int], centre: Sequence[float], radius: float) -> Field:
    """(H, W) round Gaussian spot, 1 in the middle."""
    return np.exp(-((distance(size, centre) / radius) ** 2))


def ellipse(size: Sequence[int], centre: Sequence[float], half_axes: Sequence[float], tilt: float = 0.0, edge: float = 1.0) -> Field:
    """(H, W) 1 inside, 0 outside, one half on the outline, which is `edge` pixels soft; `tilt` in radians."""
    rows, columns = grid(size)
    row, column = rotate((rows - centre[0], columns - centre[1]), -tilt)
    away = (np.hypot(row / half_axes[0], column / half_axes[1]) - 1) * min(half_axes)
    return np.asarray(0.5 - away / edge).clip(0, 1)


def ellipsoid(shape: Sequence[int], centre: Sequence[float], half_axes: Field) -> Field:
    """(X, Y, Z) 1 inside, 0 outside, soft over a voxel; lengths are shares of the volume's half axes."""
    axes = np.meshgrid(*[np.linspace(-1, 1, length) for length in shape], indexing="ij")
    scaled = [(axis - middle) / half for axis, middle, half in zip(axes, centre, half_axes, strict=True)]
    thinnest = min(half * length / 2 for half, length in zip(half_axes, shape, strict=True))
    away = (np.sqrt(np.sum(np.square(scaled), axis=0)) - 1) * thinnest
    return np.asarray(0.5 - away).clip(0, 1)


def rotate(point: Sequence[Any], angle: float) -> NDArray[Any]:
    """(row, column) turned by `angle` radians."""
    row, column = point
    return np.stack(np.broadcast_arrays(np.cos(angle) * row + np.sin(angle) * column, np.cos(angle) * column - np.sin(angle) * row))


def smooth_noise(rng: Generator, size: Sequence[int], sigma: float) -> Field:
    """Noise of mean 0 and deviation 1 whose bumps are about `sigma` pixels wide."""
    field = gaussian(rng.normal(0, 1, tuple(size)), sigma)
    return np.asarray((field - field.mean()) / field.std())


def gaussian(field: Field, sigma: float | Sequence[float]) -> Field:
    """Blurred along each axis; edges go on with their own value."""
    sigmas = [sigma] * field.ndim if isinstance(sigma, float | int) else sigma
    for axis, width in enumerate(sigmas):
        field = np.moveaxis(gaussian_lines(np.moveaxis(field, axis, -1), width), -1, axis)
    return field


def gaussian_lines(lines: Field, sigma: float) -> Field:
    """(..., N) blurred along the last axis."""
    reach = int(3 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(lines, [(0, 0)] * (lines.ndim - 1) + [(reach, reach)], mode="edge")
    return np.asarray(sliding_window_view(padded, len(weights), axis=-1) @ (weights / weights.sum()))


def to_bytes(unit: Field) -> Labels:
    """0 to 1 -> 0 to 255."""
    return (unit.clip(0, 1) * 255).round().astype(np.uint8)


# Files that are the same, byte for byte, each time. ---------------------------------------------------------------


def save_png(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def save_nifti(path: Path, voxels: NDArray[Any], matrix: Field) -> None:
    """Millimetres, qform and sform alike; gzip without the time of day."""
    volume = nibabel.Nifti1Image(voxels, matrix)
    volume.set_qform(matrix, code="scanner")
    volume.set_sform(matrix, code="scanner")
    volume.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(volume.to_bytes(), mtime=0))


def save_manifest(folder: Path, rows: Sequence[Sequence[str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "mask", "split", "group"])
        writer.writerows(rows)


if __name__ == "__main__":
    make_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
