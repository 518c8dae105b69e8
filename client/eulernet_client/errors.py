# SPDX-License-Identifier: Apache-2.0
"""Every error that the client raises.

EulerNetError
├── MediaError                  a file or folder, before a request is sent
│   ├── MissingFileError
│   ├── NotAFileError           a pipe, a socket, a device or an address
│   ├── UnreadableFileError
│   ├── NotAVideoError
│   │   └── TruncatedVideoError
│   ├── EmptyFolderError
│   └── TooFewFramesError
├── FrameError                  one picture, by the server's STATUS
│   ├── NoFaceError
│   ├── UndecodableError
│   ├── TooLargeError
│   └── FaceMovedError
├── BatchError                  an archive and its table of scores
│   ├── TableError              the table can't be written
│   ├── JournalError            an earlier run's journal can't be continued
│   │   └── OtherWeightsError   its scores are another model's
│   ├── BatchStoppedError       start again to continue
│   ├── RayClusterError         Ray is missing, or there is no cluster to use
│   └── WorkerDiedError         the Ray worker that read a source died, each time
├── PerfAnalyzerError           Triton's own load tester is missing, or failed
├── CredentialsError            a certificate, a key or a token can't be used
├── ClientStateError            a client that is closed, or used in another process or event loop
└── ServerError
    ├── ServerUnavailableError
    │   ├── ServerBusyError     its queue is full
    │   └── ConnectionSetupError  another port, TLS on one side only, or a certificate
    ├── RequestTimeoutError
    ├── RequestRefusedError     sending it again would not help
    ├── ServerFailedError       a stage of the ensemble failed
    ├── MixedServersError       the servers' weights or precisions differ
    ├── ResponseError           a response that breaks the contract
    └── SequenceError           a stream used against its order
        └── StreamLostError     play the stream again from its first frame
"""

from __future__ import annotations

from eulernet_core.errors import (
    EmptyFolderError,
    EulerNetError,
    MediaError,
    MissingFileError,
    NotAFileError,
    NotAVideoError,
    TooFewFramesError,
    TruncatedVideoError,
    UnreadableFileError,
)

__all__ = [
    "BatchError",
    "BatchStoppedError",
    "ClientStateError",
    "ConnectionSetupError",
    "CredentialsError",
    "EmptyFolderError",
    "EulerNetError",
    "FaceMovedError",
    "FrameError",
    "JournalError",
    "MediaError",
    "MissingFileError",
    "MixedServersError",
    "NoFaceError",
    "NotAFileError",
    "NotAVideoError",
    "OtherWeightsError",
    "PerfAnalyzerError",
    "RayClusterError",
    "RequestRefusedError",
    "RequestTimeoutError",
    "ResponseError",
    "SequenceError",
    "ServerBusyError",
    "ServerError",
    "ServerFailedError",
    "ServerUnavailableError",
    "StreamLostError",
    "TableError",
    "TooFewFramesError",
    "TooLargeError",
    "TruncatedVideoError",
    "UndecodableError",
    "UnreadableFileError",
    "WorkerDiedError",
]


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
    """The bytes are not a JPEG that can be decoded."""


class TooLargeError(FrameError):
    """The picture is over the server's limits, or its JPEG is larger than the client sends."""


class FaceMovedError(FrameError):
    """The face left its box within the clip, so the filter restarted and the clip has no score."""


class BatchError(EulerNetError):
    """An archive could not be scored into a table."""


class TableError(BatchError):
    """The table cannot be written, or not under this name."""


class JournalError(BatchError):
    """This run cannot use the journal beside the table."""


class OtherWeightsError(JournalError):
    """The table would mix scores of two models."""


class BatchStoppedError(BatchError):
    """The run ended before every source was scored. The scores so far are kept; start again to continue."""


class RayClusterError(BatchError):
    """Ray is not installed, or no Ray cluster can be used."""


class WorkerDiedError(BatchError):
    """The Ray worker that read this source ended without an answer, and so did those that tried again."""


class PerfAnalyzerError(EulerNetError):
    """perf_analyzer is missing, does not run on this machine, or measured nothing."""


class CredentialsError(EulerNetError):
    """A certificate, a key or a token is missing or not valid, or a token would be sent in plain text."""


class ClientStateError(EulerNetError):
    """The client is closed, or it is used outside of the process or the event loop that it belongs to."""


class ServerError(EulerNetError):
    """The server, or the connection to it."""


class ServerUnavailableError(ServerError):
    """No server answers, or it is not ready."""


class ServerBusyError(ServerUnavailableError):
    """The server's queue is full, or all of its streams are taken."""


class ConnectionSetupError(ServerUnavailableError):
    """A port answers, but not to this client: another protocol, TLS on one side only, or a refused certificate."""


class RequestTimeoutError(ServerError):
    """No response within the timeout."""


class RequestRefusedError(ServerError):
    """The server refuses the request itself."""


class ServerFailedError(ServerError):
    """The server accepted the request and failed."""


class MixedServersError(ServerError):
    """The servers of one client, or a server before and after its restart, differ in weights or precision."""


class ResponseError(ServerError):
    """The response lacks a tensor, has another shape, or holds a number that is not finite."""


class SequenceError(ServerError):
    """A frame out of its stream's order."""


class StreamLostError(SequenceError):
    """The server's state of this stream is lost or unknown. Play the stream again from its first frame.

    `__cause__` is the error of the frame that was lost.
    """
