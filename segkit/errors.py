"""Everything that segkit raises on purpose, one tree.

::

    SegkitError                  code          what happened                          command line
    ├── SettingsError            E_SETTINGS    a setting or an argument is wrong      exit 2
    │   └── DeviceError          E_DEVICE      the device or precision is not there   exit 2
    ├── MissingExtraError        E_EXTRA       an optional package is not installed   exit 2
    ├── ReadError                E_READ        a file can't be used as a picture      exit 1, or a row
    │   ├── EmptyFileError       E_EMPTY       no bytes                               in failures.csv
    │   ├── CorruptFileError     E_CORRUPT     cut short or damaged
    │   ├── FormatError          E_FORMAT      not what its name says, or unknown
    │   ├── TooLargeError        E_TOO_LARGE   more pixels than allowed
    │   ├── UnsupportedError     E_UNSUPPORTED readable, but not by segkit
    │   ├── CodecError           E_CODEC       a decoder is missing
    │   ├── MultiPageError       E_MULTI       several pictures where one is expected
    │   ├── EmptyContentError    E_EMPTY_CONTENT  no finite pixel
    │   ├── VanishedError        E_VANISHED    gone, or never there
    │   ├── DeniedError          E_PERM        permission denied
    │   └── CrashError           E_CRASH       reading it crashed, or took too long
    ├── WriteError               E_WRITE       a file could not be written
    ├── CollisionError           E_COLLISION   two inputs would share one output      exit 2
    ├── ShapeError               E_SHAPE       two things differ in shape
    ├── ChannelsError            E_CHANNELS    a picture has other channels than the model takes
    ├── RangeError               E_RANGE       a picture's values are not of the scale that the model takes
    ├── MaskValuesError          E_MASK        a mask holds values that no label names
    ├── PairingError             E_PAIRS       a picture without a mask, or a mask without a picture
    ├── WeightsError             E_WEIGHTS     a model file can't be used
    └── TrainingError            E_TRAINING    training can't go on

Each message is one line: which file or setting, what was found, what was expected, what to do.
The classes are also of the built-in kind that a caller expects (`OSError`, `ValueError`, ...), and
each takes its message alone, so that it survives the way out of a worker process.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar


class SegkitError(Exception):
    """The root: `code` goes into tables, `exit_code` to the shell."""

    code: ClassVar[str] = "E_SEGKIT"
    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return " ".join(" ".join(str(part) for part in self.args).split("\n"))


class SettingsError(SegkitError, ValueError):
    code = "E_SETTINGS"
    exit_code = 2


class DeviceError(SettingsError):
    code = "E_DEVICE"


class MissingExtraError(SegkitError, ImportError):
    code = "E_EXTRA"
    exit_code = 2


class ReadError(SegkitError, OSError):
    code = "E_READ"


class EmptyFileError(ReadError):
    code = "E_EMPTY"


class CorruptFileError(ReadError):
    code = "E_CORRUPT"


class FormatError(ReadError):
    code = "E_FORMAT"


class TooLargeError(ReadError):
    code = "E_TOO_LARGE"


class UnsupportedError(ReadError):
    code = "E_UNSUPPORTED"


class CodecError(ReadError):
    code = "E_CODEC"


class MultiPageError(ReadError):
    code = "E_MULTI"


class EmptyContentError(ReadError):
    code = "E_EMPTY_CONTENT"


class VanishedError(ReadError, FileNotFoundError):
    code = "E_VANISHED"


class DeniedError(ReadError, PermissionError):
    code = "E_PERM"


class CrashError(ReadError):
    code = "E_CRASH"


class WriteError(SegkitError, OSError):
    code = "E_WRITE"


class CollisionError(SegkitError, ValueError):
    code = "E_COLLISION"
    exit_code = 2


class ShapeError(SegkitError, ValueError):
    code = "E_SHAPE"


class ChannelsError(SegkitError, ValueError):
    code = "E_CHANNELS"


class RangeError(SegkitError, ValueError):
    code = "E_RANGE"


class MaskValuesError(SegkitError, ValueError):
    code = "E_MASK"


class PairingError(SegkitError, ValueError):
    code = "E_PAIRS"


class WeightsError(SegkitError, ValueError):
    code = "E_WEIGHTS"


class TrainingError(SegkitError, RuntimeError):
    code = "E_TRAINING"


def counted(count: int, what: str) -> str:
    """1, "case" -> "1 case"; 2 -> "2 cases"."""
    return f"{count} {what}{'s' * (count != 1)}"


def shown(value: Any) -> str:
    """A value in a message, cut short where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(name: str, choices: Iterable[str]) -> str:
    """What to ask of a name that is none of the choices, "did you mean cbam?"; nothing where none is like it. Capitals don't count."""
    plain = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(name.casefold(), plain, n=1)
    return f"did you mean {plain[close[0]]}?" if close else ""
