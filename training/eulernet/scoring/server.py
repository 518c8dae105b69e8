"""A running Triton server as a scorer: the whole pipeline as a client sees it, or its network stage alone.

The pipeline gets JPEGs of whole frames and finds the faces itself, so that its scores differ from those of the cached
crops by what a JPEG loses. The stage gets the crops, so that its scores must be those of the checkpoint.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet.datasets.records import Problems, Video
from eulernet.datasets.video import FRAMES, Clip, VideoError, map_clips
from eulernet.evaluation.scores import Score
from eulernet.scoring.scorers import CropModel, ScorerError

PREFIX = "grpc://"
PIPELINE, STAGE = "antispoof_clip", "eulernet_clip"
JPEG_QUALITY = 95  # as the client sends frames
UNUSABLE = 4  # STATUS from here up: the frame was not scored
TIMEOUT_S = 30.0


class Connection:
    """Calls a server's models. Raises: ScorerError where none answers."""

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
        self.weights: str = parameters["weights"].string_value if "weights" in parameters else "unknown"

    def config(self, model: str) -> Any:
        """A model's configuration as the server has it."""
        try:
            return self._client.get_model_config(model, client_timeout=TIMEOUT_S).config
        except self._failure as error:
            raise ScorerError(f"{self._address}: {error.message()}; start a server with `eulernet serve`") from error

    def infer(self, model: str, inputs: Mapping[str, NDArray[Any]]) -> Any:
        """One request; its result has `as_numpy`."""
        tensors = []
        for name, value in inputs.items():
            tensors.append(self._triton.InferInput(name, list(value.shape), self._dtype(value.dtype)))
            tensors[-1].set_data_from_numpy(value)
        try:
            return self._client.infer(model, tensors, client_timeout=TIMEOUT_S)
        except self._failure as error:
            raise ScorerError(f"{self._address}, {model}: {error.message()}") from error


class Server:
    """The whole pipeline, from JPEGs of whole frames."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.weights = connection.weights

    def score(self, videos: Iterable[Video], clips_per_video: int, problems: Problems) -> Iterator[Score]:
        """Scores clips at the same places as the cache of crops has them; what can't be scored goes to `problems`."""
        for video in videos:
            try:
                answers = map_clips(video.path, clips_per_video, self._answer)
            except VideoError as error:
                problems.add("unreadable video", video.name, str(error))
                continue
            scored = [Score(video, liveness, start) for start, liveness in answers if liveness is not None]
            if len(scored) < len(answers):
                missing = f"{len(answers) - len(scored)} of {len(answers)} clips"
                problems.add("clips not scored", video.name, f"{missing}; the server could not score them")
            yield from scored

    def _answer(self, clip: Clip) -> tuple[int, float | None]:
        """The clip's start and its last frame's liveness; None where the server could not score all four frames."""
        import simplejpeg

        pictures = map(np.ascontiguousarray, clip.pictures)
        jpegs = [simplejpeg.encode_jpeg(picture, JPEG_QUALITY, colorsubsampling="420") for picture in pictures]
        inputs = {f"ENCODED_{t}": np.frombuffer(jpeg, np.uint8)[None] for t, jpeg in enumerate(jpegs)}
        result = self._connection.infer(PIPELINE, inputs)
        if result.as_numpy("STATUS")[0, -1] >= UNUSABLE or result.as_numpy("FRAME_COUNT")[0, -1] != FRAMES:
            return clip.start, None
        return clip.start, float(result.as_numpy("LIVENESS")[0, -1])


def open_stage(connection: Connection) -> CropModel:
    """The network stage alone, from face crops."""
    face = next(each for each in connection.config(STAGE).input if each.name == "FACE")

    def infer(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        result = connection.infer(STAGE, {"FACE": clips, "STATUS": np.zeros(clips.shape[:2], np.int32)})
        last: NDArray[np.float32] = result.as_numpy("LIVENESS")[:, -1]
        return last

    return CropModel(infer, int(face.dims[1]), connection.weights)


def open_server(url: str) -> Server | CropModel:
    """What grpc://host:port or grpc://host:port/eulernet_clip stands for. Raises: ScorerError."""
    address, slash, model = url.removeprefix(PREFIX).partition("/")
    if slash and model != STAGE:
        raise ScorerError(f"{url}: give {PREFIX}{address} for the whole pipeline or {PREFIX}{address}/{STAGE}")
    connection = Connection(address)
    return open_stage(connection) if slash else Server(connection)
