# SPDX-License-Identifier: Apache-2.0
"""A running Triton server as a scorer: the whole pipeline, or its network stage alone.

The input of the pipeline is JPEGs of whole frames, and it locates the faces, so that its scores differ from the cached
crops' scores by the loss of the JPEGs. The input of the stage is the crops, so that its scores equal the checkpoint's.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet.datasets.clip_pictures import PictureClip, picture_clips
from eulernet.datasets.records import Problems, Video
from eulernet.evaluation.scores import Score
from eulernet.scoring.scorers import CropModel, ScorerError
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.errors import MediaError
from eulernet_core.status import Status
from eulernet_core.tensors import (
    CLIP_ENCODED,
    CLIP_MODEL,
    CLIP_NETWORK_MODEL,
    FACE,
    FRAME_COUNT,
    LIVENESS,
    STATUS,
    usable_clips,
)
from eulernet_core.weights_label import WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN

PREFIX = "grpc://"
PIPELINE, STAGE = CLIP_MODEL, CLIP_NETWORK_MODEL
TIMEOUT_S = 30.0


class Connection:
    """Calls a server's models. Raises: ScorerError if the server does not answer."""

    def __init__(self, address: str) -> None:
        try:
            import tritonclient.grpc as triton
            from tritonclient.utils import InferenceServerException, np_to_triton_dtype
        except ModuleNotFoundError as error:
            raise ScorerError(f"{error.name} is not installed: pip install 'eulernet[client]'") from None
        self._triton, self._failure, self._dtype = triton, InferenceServerException, np_to_triton_dtype
        self._address = address
        self._client = triton.InferenceServerClient(address)
        parameters = self.config(PIPELINE).parameters
        self.weights: str = (
            parameters[WEIGHTS_PARAMETER].string_value if WEIGHTS_PARAMETER in parameters else WEIGHTS_UNKNOWN
        )

    def config(self, model: str) -> Any:
        """A model's configuration on the server."""
        try:
            return self._client.get_model_config(model, client_timeout=TIMEOUT_S).config
        except self._failure as error:
            raise ScorerError(f"{self._address}: {error.message()}; start a server with `eulernet serve`") from error

    def infer(self, model: str, inputs: Mapping[str, NDArray[Any]]) -> Any:
        """Sends one request; the result has `as_numpy`."""
        tensors = []
        for name, value in inputs.items():
            tensors.append(self._triton.InferInput(name, list(value.shape), self._dtype(value.dtype)))
            tensors[-1].set_data_from_numpy(value)
        try:
            return self._client.infer(model, tensors, client_timeout=TIMEOUT_S)
        except self._failure as error:
            raise ScorerError(f"{self._address}, {model}: {error.message()}") from error


class Server:
    """The whole pipeline, for JPEGs of whole frames."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.weights = connection.weights

    def score(self, videos: Iterable[Video], clips_per_video: int, problems: Problems) -> Iterator[Score]:
        """Scores clips at the same positions as in the cache of crops; unscored ones are added to `problems`."""
        for video in videos:
            try:
                answers = [self.answer(clip) for clip in picture_clips(video.path, clips_per_video)]
            except MediaError as error:
                problems.add("unreadable video", video.name, str(error))
                continue
            scored = [Score(video, liveness, start) for start, liveness in answers if liveness is not None]
            if len(scored) < len(answers):
                missing = f"{len(answers) - len(scored)} of {len(answers)} clips"
                problems.add("clips not scored", video.name, f"{missing}; the server could not score them")
            yield from scored

    def answer(self, clip: PictureClip) -> tuple[int, float | None]:
        """The clip's start and its last frame's liveness; None if the server did not score all frames."""
        from eulernet_core.jpeg import encode_jpeg

        jpegs = (np.frombuffer(encode_jpeg(picture), np.uint8)[None] for picture in clip.items)
        result = self._connection.infer(PIPELINE, dict(zip(CLIP_ENCODED, jpegs, strict=True)))
        start = clip.indices[0]
        usable = Status(int(result.as_numpy(STATUS)[0, -1])).usable
        if not usable or result.as_numpy(FRAME_COUNT)[0, -1] != CLIP_FRAMES:
            return start, None
        return start, float(result.as_numpy(LIVENESS)[0, -1])


def open_stage(connection: Connection) -> CropModel:
    """The network stage alone, for face crops."""
    face = next(each for each in connection.config(STAGE).input if each.name == FACE)

    def infer(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        result = connection.infer(STAGE, usable_clips(clips))
        last: NDArray[np.float32] = result.as_numpy(LIVENESS)[:, -1]
        return last

    return CropModel(infer, int(face.dims[1]), connection.weights)


def open_server(url: str) -> Server | CropModel:
    """The scorer for grpc://host:port or grpc://host:port/eulernet_clip. Raises: ScorerError."""
    address, slash, model = url.removeprefix(PREFIX).partition("/")
    if slash and model != STAGE:
        raise ScorerError(f"{url}: give {PREFIX}{address} for the whole pipeline or {PREFIX}{address}/{STAGE}")
    connection = Connection(address)
    return open_stage(connection) if slash else Server(connection)
