# SPDX-License-Identifier: Apache-2.0
"""Health by a real inference. Triton's readiness stays true when a Python stage has died."""

from __future__ import annotations

import time

import numpy as np

from eulernet_client._result import Health
from eulernet_client._session import Session
from eulernet_client._stream_session import StreamSession
from eulernet_client.errors import FrameError, NoFaceError, ServerFailedError, ServerUnavailableError
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.jpeg import encode_jpeg
from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL

_MODELS = (STREAM_MODEL, CLIP_MODEL)
_PICTURE = "the built-in test picture"


def probe_jpeg() -> bytes:
    """A grey ramp, 320x240: a picture that decodes and shows no face."""
    ramp = np.linspace(64, 192, 320).astype(np.uint8)
    return encode_jpeg(np.broadcast_to(ramp[None, :, None], (240, 320, 3)))


async def check(session: Session) -> Health:
    """See Client.check."""
    url = session.connection.urls[0]
    version = await session.server_version()
    missing = [model for model in _MODELS if not await session.ready(model)]
    if missing:
        raise ServerUnavailableError(f"{url}: {', '.join(missing)} not ready; see the server's log")
    picture = probe_jpeg()
    begun = time.monotonic()
    try:
        await session.score_frames([picture] * CLIP_FRAMES, _PICTURE, keep_jpegs=False)
    except NoFaceError:
        pass  # the expected result, which passed every stage
    except FrameError as error:
        raise ServerFailedError(f"{url}: {CLIP_MODEL} rejects a valid picture: {error}") from error
    clip_done = time.monotonic()
    stream = StreamSession(session, None)
    frame = await stream.score(picture, last=True)
    stream_done = time.monotonic()
    if not frame.status.usable and frame.status != Status.NO_FACE:
        raise ServerFailedError(f"{url}: {STREAM_MODEL} rejects a valid picture: {frame.status.label}")
    model = await session.served()
    seconds = clip_done - begun, stream_done - clip_done
    return Health(url, version, _MODELS, model.weights, model.identity, *seconds)
