"""Errors a user can mend.

Every error that is raised on purpose is one of this tree; the command line shows it as one line and ends with status 2.
Anything else is a bug of ours (status 70).

    SwapError
    ├── OptionError          an option is unknown, out of range or contradicts another
    ├── VideoError           a file is missing, is no video, holds no frame, or cannot be written
    ├── DatasetError         a dataset folder is missing, damaged, or not what the stage needs
    │   └── NoFaceError      nothing in the input to work with
    ├── RunError             a run folder is missing, damaged, or made with other choices
    │   └── TrainingDiverged training cannot go on from any good state
    ├── WeightsError         a shipped or named weight file is missing or is not the one it says
    └── StorageError         the disk is full, or a folder cannot be written
"""


class SwapError(Exception):
    """Base of all errors a user can mend. The text says what was found, what was expected and what to do next."""


class OptionError(SwapError):
    """An option is unknown, out of range or contradicts another."""


class VideoError(SwapError):
    """A file is missing, is no video, holds no frame, or cannot be written."""


class DatasetError(SwapError):
    """A dataset folder is missing, damaged, or not what the stage needs."""


class NoFaceError(DatasetError):
    """No face, or too few faces, to work with."""


class RunError(SwapError):
    """A run folder is missing, damaged, or made with other choices."""


class TrainingDiverged(RunError):
    """Training cannot go on from any good state."""


class WeightsError(SwapError):
    """A weight file is missing or is not the one it says."""


class StorageError(SwapError):
    """The disk is full, or a folder cannot be written."""
