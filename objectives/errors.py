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
    └── StudyError           a study definition, its storage or its resumption

The message of each names the file, the value and the remedy. The command line prints it and exits with 1; anything
outside the tree is a bug and shows its traceback.
"""


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
