"""The errors that a user can cause or fix, as one tree.

    ExplorerError
    ├── AssetError           a pinned file is not available, or differs from what was pinned
    ├── CorpusError          audio, RTTM, UEM or splits are invalid
    ├── LeakageError         recordings that are evaluated would also be used for training or calibration
    ├── ModelError           a checkpoint is not a PyanNet, or not a known embedding
    ├── OperatingPointError  a value lies outside the design space
    ├── BundleError          an exported operating point is damaged, or cannot be written correctly
    ├── EvaluationError      one operating point could not be measured: its trial fails, the study continues
    ├── DeviceError          a GPU is lost to this process for good: the trial fails, another process continues
    ├── StudyError           a study definition is invalid, or its storage or its resumption fails
    └── OutputError          standard output is closed, or cannot be written to

Each message names the file, the value and the remedy. The command line prints the message and exits with 1. Any other
exception is a bug and shows its traceback.
"""

LONGEST_VALUE = 80  # characters of a value that are quoted in a message
LONGEST_REASON = 300  # characters of another library's message that are quoted


class ExplorerError(Exception):
    """Root of the tree."""


class AssetError(ExplorerError):
    """A pinned file is not available, or differs from what was pinned."""


class CorpusError(ExplorerError):
    """Audio, RTTM, UEM or splits are invalid."""


class LeakageError(ExplorerError):
    """Recordings that are evaluated would also be used for training or calibration."""


class ModelError(ExplorerError):
    """A checkpoint is not a PyanNet, or not a known embedding."""


class OperatingPointError(ExplorerError, ValueError):
    """A value lies outside the design space."""


class BundleError(ExplorerError):
    """An exported operating point is damaged, or cannot be written correctly."""


class EvaluationError(ExplorerError):
    """One operating point could not be measured: its trial fails, the study continues."""


class DeviceError(ExplorerError):
    """A GPU is lost to this process for good: the trial fails, another process continues."""


class StudyError(ExplorerError):
    """A study definition is invalid, or its storage or its resumption fails."""


class OutputError(ExplorerError):
    """Standard output is closed, or cannot be written to."""


def quoted(value: object) -> str:
    """Return a value as a message shows it.

    Text is put in quotes, control characters are escaped so that no terminal acts on them, and only 80 characters are
    kept by leaving out the middle.
    """
    return shortened(ascii_controls(repr(value)))


def reason_of(error: object) -> str:
    """Return another library's error message as part of one line."""
    return shortened(ascii_controls(" ".join(str(error).split())), LONGEST_REASON)


def shortened(text: str, most: int = LONGEST_VALUE) -> str:
    """Return text of at most `most` characters by leaving out the middle."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def ascii_controls(text: str) -> str:
    """Escape what does not print (control characters, direction marks, lone surrogates). Line ends stay."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )
