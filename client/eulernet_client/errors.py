"""Every error the client raises.

EulerNetError
├── MediaError                  the file or folder, before anything is sent
│   ├── MissingFileError
│   ├── UnreadableFileError
│   ├── NotAVideoError
│   │   └── TruncatedVideoError
│   ├── EmptyFolderError
│   └── TooFewFramesError
├── FrameError                  one picture, as the server saw it
│   ├── NoFaceError
│   ├── UndecodableError
│   ├── TooLargeError
│   └── FaceMovedError
├── BatchError                  an archive and its table of scores
│   ├── TableError              the table can't be written
│   ├── JournalError            what an earlier run left can't be gone on with
│   │   └── OtherWeightsError   its scores are another model's
│   └── BatchStoppedError       start again to go on
├── PerfAnalyzerError           Triton's own load tester is missing, or failed
└── ServerError
    ├── ServerUnavailableError
    │   └── ServerBusyError     its queue is full
    ├── RequestTimeoutError
    ├── RequestRefusedError     asking again would not help
    ├── ServerFailedError       a stage of the ensemble failed
    ├── ResponseError           an answer that breaks the contract
    └── SequenceError           a stream used against its order
        └── StreamLostError     play the stream again from its first frame
"""

from __future__ import annotations


class EulerNetError(Exception):
    """Base of all errors of this client."""

    def to_dict(self) -> dict[str, str]:
        """For JSON: the class and the text."""
        return {"type": type(self).__name__, "message": str(self)}


class MediaError(EulerNetError):
    """The file or folder cannot be turned into a clip."""


class MissingFileError(MediaError):
    """There is nothing at that path."""


class UnreadableFileError(MediaError):
    """The operating system would not let the file be read."""


class NotAVideoError(MediaError):
    """The file holds no pictures that can be decoded."""


class TruncatedVideoError(NotAVideoError):
    """The file ends before the index that a player needs."""


class EmptyFolderError(MediaError):
    """The folder holds no JPEG."""


class TooFewFramesError(MediaError):
    """Shorter than one clip."""


class FrameError(EulerNetError):
    """A picture could not be scored.

    Args:
        message: names the file, the frame and the remedy.
        path: the file or folder.
        index: number of the frame in its source, counted from 0.
    """

    def __init__(self, message: str, *, path: str = "", index: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.index = index


class NoFaceError(FrameError):
    """The detector found no face."""


class UndecodableError(FrameError):
    """The bytes are no JPEG that can be decoded."""


class TooLargeError(FrameError):
    """The picture is over the server's pixel limit."""


class FaceMovedError(FrameError):
    """The face left its box within the clip, so its frames do not make one clip."""


class BatchError(EulerNetError):
    """An archive could not be scored into a table."""


class TableError(BatchError):
    """The table cannot be written, or not there."""


class JournalError(BatchError):
    """The journal beside the table cannot be used by this run."""


class OtherWeightsError(JournalError):
    """Scores of two models would come into one table."""


class BatchStoppedError(BatchError):
    """The run ended before its sources did. What was scored is kept; start again to go on."""


class PerfAnalyzerError(EulerNetError):
    """perf_analyzer is not to be had, does not run here, or measured nothing."""


class ServerError(EulerNetError):
    """The server, or the way to it."""


class ServerUnavailableError(ServerError):
    """No server answers, or it is not ready."""


class ServerBusyError(ServerUnavailableError):
    """The server's queue is full."""


class RequestTimeoutError(ServerError):
    """No answer within the time allowed."""


class RequestRefusedError(ServerError):
    """The server refuses the request itself."""


class ServerFailedError(ServerError):
    """The server took the request and failed at it."""


class ResponseError(ServerError):
    """The answer lacks a tensor, has another shape, or holds a number that is not finite."""


class SequenceError(ServerError):
    """A frame out of its stream's order."""


class StreamLostError(SequenceError):
    """The server's state of this stream is lost or unknown. Play the stream again from its first frame."""
