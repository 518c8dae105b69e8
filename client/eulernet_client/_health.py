"""Is a server well? Only an inference can tell: readiness keeps answering yes when a Python stage has died."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from eulernet_client._contract import CLIP_FRAMES, CLIP_MODEL, STREAM_MODEL, Status
from eulernet_client._result import Health
from eulernet_client.errors import FrameError, NoFaceError, ServerFailedError, ServerUnavailableError

if TYPE_CHECKING:
    from eulernet_client.client import Client

_MODELS = (STREAM_MODEL, CLIP_MODEL)
_PICTURE = "the built-in test picture"


def probe_jpeg() -> bytes:
    """A grey ramp, 320x240: a picture that decodes and shows no face."""
    from eulernet_client._video import encode_jpeg

    ramp = np.linspace(64, 192, 320).astype(np.uint8)
    return encode_jpeg(np.broadcast_to(ramp[None, :, None], (240, 320, 3)))


def check(client: Client) -> Health:
    """See Client.check."""
    version = client.server_version()
    missing = [model for model in _MODELS if not client.ready(model)]
    if missing:
        raise ServerUnavailableError(f"{client.urls[0]}: {', '.join(missing)} not ready; see the server's log")
    picture = probe_jpeg()
    begun = time.monotonic()
    try:
        client.score_frames([picture] * CLIP_FRAMES, name=_PICTURE)
    except NoFaceError:
        pass  # the right answer, and it has come through every stage
    except FrameError as error:
        raise ServerFailedError(f"{client.urls[0]}: {CLIP_MODEL} misjudges a good picture: {error}") from error
    clip_done = time.monotonic()
    with client.stream() as stream:
        frame = stream.score(picture, last=True)
    stream_done = time.monotonic()
    if not frame.status.usable and frame.status != Status.NO_FACE:
        raise ServerFailedError(f"{client.urls[0]}: {STREAM_MODEL} misjudges a good picture: {frame.status.label}")
    return Health(client.urls[0], version, _MODELS, client.weights(), clip_done - begun, stream_done - clip_done)
