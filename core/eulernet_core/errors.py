# SPDX-License-Identifier: Apache-2.0
"""Base of the client's errors, and the errors of videos and folders before anything is sent.

EulerNetError
└── MediaError                  the file or folder, before anything is sent
    ├── MissingFileError
    ├── NotAFileError           a pipe, a socket, a device or an address
    ├── UnreadableFileError
    ├── NotAVideoError
    │   └── TruncatedVideoError
    ├── EmptyFolderError
    └── TooFewFramesError
"""

from __future__ import annotations


class EulerNetError(Exception):
    """Base of all errors of the client."""

    def to_dict(self) -> dict[str, str]:
        """For JSON: the class and the text."""
        return {"type": type(self).__name__, "message": str(self)}


class MediaError(EulerNetError):
    """The file or folder cannot be turned into a clip."""


class MissingFileError(MediaError):
    """There is nothing at that path."""


class NotAFileError(MediaError):
    """A pipe, a socket, a device or an address, and videos are read from files only."""


class UnreadableFileError(MediaError):
    """The operating system refused to read the file."""


class NotAVideoError(MediaError):
    """The file holds no pictures that can be decoded."""


class TruncatedVideoError(NotAVideoError):
    """The file ends before the index that a player needs."""


class EmptyFolderError(MediaError):
    """The folder holds no frames."""


class TooFewFramesError(MediaError):
    """Shorter than one clip."""
