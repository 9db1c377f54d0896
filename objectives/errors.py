"""Every error that a user can cause or mend, as one tree.

    ExplorerError
    ├── AssetError           a pinned file cannot be had, or is not what was pinned
    ├── CorpusError          audio, RTTM, UEM or splits are wrong
    ├── LeakageError         recordings that are evaluated would have reached training or calibration
    ├── ModelError           a checkpoint is not a PyanNet, or not a known embedding
    ├── OperatingPointError  a value outside the design space
    ├── BundleError          an exported operating point is damaged, or cannot be written as it should be
    ├── EvaluationError      one operating point could not be measured: its trial fails, the study goes on
    ├── DeviceError          a GPU failed this process for good: the trial fails, and another process goes on
    ├── StudyError           a study definition, its storage or its resumption
    └── OutputError          standard output is closed, or takes nothing more

The message of each names the file, the value and the remedy. The command line prints it and exits with 1; anything
outside the tree is a bug and shows its traceback.
"""

MOST_QUOTED = 80  # characters of a value in a message
MOST_TOLD = 300  # characters of another library's message


class ExplorerError(Exception):
    """Root of the tree."""


class AssetError(ExplorerError):
    """A pinned file cannot be had, or is not what was pinned."""


class CorpusError(ExplorerError):
    """Audio, RTTM, UEM or splits are wrong."""


class LeakageError(ExplorerError):
    """Recordings that are evaluated would have reached training or calibration."""


class ModelError(ExplorerError):
    """A checkpoint is not a PyanNet, or not a known embedding."""


class OperatingPointError(ExplorerError, ValueError):
    """A value outside the design space."""


class BundleError(ExplorerError):
    """An exported operating point is damaged, or cannot be written as it should be."""


class EvaluationError(ExplorerError):
    """One operating point could not be measured: its trial fails, the study goes on."""


class DeviceError(ExplorerError):
    """A GPU failed this process for good: the trial fails, and another process goes on."""


class StudyError(ExplorerError):
    """A study definition, its storage or its resumption."""


class OutputError(ExplorerError):
    """Standard output is closed, or takes nothing more."""


def quoted(value: object) -> str:
    """A value for a message: in quotes where it is text, nothing in it that a terminal would obey, and at most 80
    characters of it, the middle left out."""
    return shortened(ascii_controls(repr(value)))


def reason_of(error: object) -> str:
    """What another library complains of, as a part of one line."""
    return shortened(ascii_controls(" ".join(str(error).split())), MOST_TOLD)


def shortened(text: str, most: int = MOST_QUOTED) -> str:
    """Text of at most so many characters, the middle left out."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def ascii_controls(text: str) -> str:
    """Text in which what does not print (control characters, direction marks, half characters) is escaped; line ends
    stay."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )
