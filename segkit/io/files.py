"""Which pictures lie below a folder, and where the result of each will go."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from segkit.errors import CollisionError, EmptyFileError, FormatError, ReadError, SettingsError
from segkit.io.sniff import ENDINGS, Format, as_read_error, named, sniff

PICTURE_ENDINGS = tuple(ending for endings in ENDINGS.values() for ending in endings)
_STRANGE_ENDINGS = (".webp", ".jp2", ".j2k", ".jxl", ".heic", ".heif", ".nrrd", ".mha", ".mhd", ".hdr")  # pictures too: they get a row that says why not
_MASK_ENDINGS = {Format.TIFF: (".tif",), Format.GIF: (".png", ".tif"), Format.DICOM: (".png", ".nii.gz")}  # the others: .png
_ALL_MASK_ENDINGS = (".png", ".tif", ".nii", ".nii.gz")
_PAIRS_TOLD = 5
_TOLD_EVERY = 1000
_PASSED_OVER = ("thumbs.db", "desktop.ini", "@eadir", "__macosx")


@dataclass(frozen=True, slots=True, init=False)
class Source:
    """One picture or volume to be read. Paths are kept as texts, a third as large: ten million of them must fit into memory.

    Attributes
    ----------
    files : one file, or those of a DICOM series
    output : where its result goes below the output folder, without an ending
    """

    _files: str | tuple[str, ...]
    _output: str

    def __init__(self, files: Sequence[Path], output: PurePath) -> None:
        object.__setattr__(self, "_files", str(files[0]) if len(files) == 1 else tuple(map(str, files)))
        object.__setattr__(self, "_output", str(output))

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(map(Path, self.places))

    @property
    def output(self) -> PurePath:
        return PurePath(self._output)

    @property
    def name(self) -> str:
        """For messages and tables: the file, or the folder of a series."""
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)

    @property
    def key(self) -> str:
        """Its place below the folder that was searched, with its ending: tells it from all others, wherever that folder lies. Slashes everywhere."""
        place = os.path.join(self.folder, os.path.basename(self._files)) if isinstance(self._files, str) else self._output
        return place.replace(os.sep, "/")

    @property
    def folder(self) -> str:
        """Where its result goes below the output folder, without its name; empty for the output folder itself."""
        return os.path.dirname(self._output)

    @property
    def places(self) -> tuple[str, ...]:
        """Its files as texts, which are quicker than paths where there are millions."""
        return (self._files,) if isinstance(self._files, str) else self._files


@dataclass(frozen=True)
class Found:
    """What a search has met.

    Attributes
    ----------
    sources : in the order of their outputs
    ignored : number of files that are no pictures, and of links to folders, which are not followed
    failures : what could not even be looked at, and why
    """

    sources: tuple[Source, ...]
    ignored: int = 0
    failures: tuple[tuple[Path, ReadError], ...] = ()


def find_sources(
    root: Path | str, recursive: bool = False, exclude: Path | str | None = None, tell: Callable[[int], object] = lambda found: None
) -> Found:
    """The pictures in a folder, or the one that `root` itself is; files named like pictures stay in, so that what is wrong with them is told.

    Files without an ending are judged by their bytes. Several DICOM files of one series in one folder are one source.
    Hidden files, what systems leave behind (Thumbs.db, @eaDir), and anything below `exclude` are passed over. `tell` hears now and then how
    many were found so far: there may be millions.

    Raises
    ------
    VanishedError, DeniedError
        There is no `root`, or it may not be listed.
    SettingsError
        Nothing was found, or `exclude` is `root`.
    CollisionError
        Two results would have the same name, perhaps on a disk that takes A for a.
    """
    root = Path(root)
    if not root.is_dir():
        return _single(root)
    search = _Search(root, recursive, None if exclude is None else os.path.realpath(exclude), tell)
    if search.exclude == os.path.realpath(root):
        raise SettingsError(f"{root}: is the folder of the pictures and of the results; choose another for the results, or they will be read as pictures")
    search.run()
    sources = tuple(sorted(search.sources, key=lambda source: source._output.replace(os.sep, "\0")))  # as their parts are sorted
    if not sources and not search.failures:
        deeper = "" if recursive else "; for its subfolders add --recursive"
        raise SettingsError(f"{root}: no pictures found (looked for {', '.join(PICTURE_ENDINGS)}; {search.ignored} other files){deeper}")
    check_outputs(sources)
    return Found(sources, search.ignored, tuple(search.failures))


def check_outputs(sources: Sequence[Source], *, beside: bool = False) -> None:
    """Results that would have the same name, perhaps on a disk that takes A for a, are refused all at once.

    a.png and a.tif become a.png and a.tif, which are two names. With `beside`, further results lie beside the masks (overlays, ...), and they would share one.

    Raises
    ------
    CollisionError
        Names up to five pairs.
    """
    told = [words for group in _namesakes(sources) for words in _collisions(group, beside)] + list(_under_folders(sources))
    if told:
        more = f"; and {len(told) - _PAIRS_TOLD} more pairs" if len(told) > _PAIRS_TOLD else ""
        raise CollisionError(f"{'; '.join(told[:_PAIRS_TOLD])}{more}; rename one of each pair, or put them into two folders")


def shared_outputs(sources: Sequence[Source]) -> frozenset[PurePath]:
    """What more than one picture is named by, but for their endings."""
    return frozenset(source.output for group in _namesakes(sources) for source in group)


def _namesakes(sources: Sequence[Source]) -> Collection[list[Source]]:
    """Those that share a name, group by group; of all others no more than a number is held."""
    met: set[int] = set()
    repeated: set[int] = set()
    for source in sources:
        number = hash(_plain(source))
        (repeated if number in met else met).add(number)
    groups: dict[str, list[Source]] = {}
    for source in sources if repeated else ():
        if hash(_plain(source)) in repeated:
            groups.setdefault(_plain(source), []).append(source)
    return [group for group in groups.values() if len(group) > 1]


def _plain(source: Source) -> str:
    """Its output as a disk may know it that takes A for a, and an accent for the same one written in two signs."""
    return unicodedata.normalize("NFC", source._output).casefold()


def _collisions(namesakes: list[Source], beside: bool) -> Iterator[str]:
    taken: dict[str, Source] = {}
    for source in namesakes:
        endings = ("",) if beside else _mask_endings(source)
        shared = next((ending for ending in endings if ending in taken), None)
        if shared is not None:
            yield f"{taken[shared].name} and {source.name} would both be written as {source.output}{shared}"
        taken = dict.fromkeys(endings, source) | taken


def _under_folders(sources: Sequence[Source]) -> Iterator[str]:
    """A mask a.png beside a folder that is named a.png."""
    folders = {str(parent).casefold() for folder in {source.folder for source in sources} for parent in (PurePath(folder), *PurePath(folder).parents)}
    folders = {folder for folder in folders if folder.endswith(_ALL_MASK_ENDINGS)}
    for source in sources if folders else ():
        ending = next((ending for ending in _mask_endings(source) if _plain(source) + ending in folders), None)
        if ending is not None:
            yield f"{source.name} would be written as {source.output}{ending}, which is a folder of other results"


def _mask_endings(source: Source) -> tuple[str, ...]:
    """What the mask of a source ends in, as far as its first bytes tell; where they tell nothing its name does."""
    if len(source.files) > 1:
        return (".nii.gz",)
    (path,) = source.files
    try:
        kind: Format | None = sniff(path)
    except ReadError:
        kind = named(path)
    if kind is Format.NIFTI:
        return tuple(ending for ending in ENDINGS[kind] if path.name.lower().endswith(ending)) or ENDINGS[kind]
    return _ALL_MASK_ENDINGS if kind is None else _MASK_ENDINGS.get(kind, (".png",))


def stem(path: PurePath) -> str:
    """The name without its ending; .nii.gz is one ending, and a number behind a dot is none."""
    name = path.name
    if name.lower().endswith(".nii.gz"):
        return name[: -len(".nii.gz")]
    return name if _lacks_ending(path) else path.stem


def is_named_like_a_picture(path: PurePath) -> bool:
    return path.name.lower().endswith(PICTURE_ENDINGS + _STRANGE_ENDINGS)


def is_passed_over(name: str) -> bool:
    """Hidden files (also ._x and our own temporary ones) and what operating systems leave behind."""
    return name.startswith(".") or name.lower() in _PASSED_OVER


@dataclass
class _Search:
    """One walk through the folders: each listed once, links to folders not followed, so that no ring of links can hold it."""

    root: Path
    recursive: bool
    exclude: str | None  # with links resolved
    tell: Callable[[int], object]
    sources: list[Source] = field(default_factory=list)
    ignored: int = 0
    failures: list[tuple[Path, ReadError]] = field(default_factory=list)

    def run(self) -> None:
        folders = [self.root]
        while folders:
            folder = folders.pop()
            dicoms: list[Path] = []
            for number, entry in enumerate(self._entries(folder)):
                if number % _TOLD_EVERY == 0:
                    self.tell(len(self.sources))
                try:
                    self._sort(entry, folders, dicoms)
                except OSError as error:  # a link that leads to itself
                    self.failures.append((Path(entry.path), as_read_error(error, Path(entry.path))))
            self._add_series(folder, dicoms)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as listing:
                return sorted((entry for entry in listing if not is_passed_over(entry.name)), key=lambda entry: entry.name)
        except OSError as error:
            if folder == self.root:
                raise as_read_error(error, folder) from error
            self.failures.append((folder, as_read_error(error, folder)))
            return []

    def _sort(self, entry: os.DirEntry[str], folders: list[Path], dicoms: list[Path]) -> None:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if self.recursive and os.path.realpath(path) != self.exclude:
                folders.append(path)
        elif entry.is_file() or (entry.is_symlink() and not path.exists()):  # a broken link is told of when it is read
            self._add_file(path, dicoms)
        else:  # a link to a folder, or a pipe, which would block for ever
            self.ignored += 1

    def _add_file(self, path: Path, dicoms: list[Path]) -> None:
        if is_named_like_a_picture(path) and named(path) is not Format.DICOM:
            self._add_single(path)
        elif named(path) is Format.DICOM or _lacks_ending(path):
            self._add_by_bytes(path, dicoms)
        else:
            self.ignored += 1

    def _add_by_bytes(self, path: Path, dicoms: list[Path]) -> None:
        try:
            kind = sniff(path)
        except ReadError as error:
            if is_named_like_a_picture(path):
                self._add_single(path)
            elif isinstance(error, FormatError | EmptyFileError):
                self.ignored += 1
            else:
                self.failures.append((path, error))
            return
        if kind is Format.DICOM:
            dicoms.append(path)
        else:
            self._add_single(path)

    def _add_single(self, path: Path) -> None:
        self.sources.append(Source((path,), path.relative_to(self.root).with_name(stem(path))))

    def _add_series(self, folder: Path, dicoms: list[Path]) -> None:
        if not dicoms:
            return
        from segkit.io import dicom

        series = sorted(sorted(files) for files in dicom.series_of(dicoms).values())
        self.ignored += len(dicoms) - sum(len(files) for files in series)  # plans, reports: DICOM without pixels
        volumes = [files for files in series if len(files) > 1]
        for files in series:
            if len(files) == 1:
                self._add_single(files[0])
        for number, files in enumerate(volumes, start=1):
            output = self._output_of(folder)
            self.sources.append(Source(tuple(files), output if len(volumes) == 1 else output.with_name(f"{output.name}_series{number}")))

    def _output_of(self, folder: Path) -> PurePath:
        below = folder.relative_to(self.root)
        return below if below.name else PurePath(folder.resolve().name)


def _single(path: Path) -> Found:
    try:
        path.stat()
    except OSError as error:
        raise as_read_error(error, path) from error
    return Found((Source((path,), PurePath(stem(path))),))


def _lacks_ending(path: PurePath) -> bool:
    """No ending, or only digits behind the last dot: scanners name files by long numbers with dots."""
    ending = path.suffix[1:]
    return not ending or ending.isdigit()
