# SPDX-License-Identifier: Apache-2.0
"""Writes a simulated video: Motion JPEG, which encodes frames separately, or H.264; both in AVI.

The eye file beside it has a line `frame,xR,yR,xL,yL` per frame: whole pixels, the subject's right eye first.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.codec.context
import numpy as np
from av.video.reformatter import Colorspace

from eulernet.datasets.mp4 import SAME_EVERYWHERE
from eulernet.simulation.randomness import Floats, Pixels
from eulernet.simulation.recording import Encoding
from eulernet_core.whole_files import write_whole_text

_KEY_FRAMES = 30  # frames from one to the next, a second


def write_video(path: Path, frames: Iterable[Pixels], fps: float, encoding: Encoding) -> None:
    """Encodes frames, uint8 (H, W, 3) RGB. The same frames give the same bytes."""
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = (_h264 if encoding.h264 else _motion_jpeg)(container, rate, encoding.quality)
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)
        for index, picture in enumerate(frames):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt, dst_colorspace=Colorspace.ITU601)))
        container.mux(stream.encode())


def _motion_jpeg(container: Any, rate: Fraction, quantiser: int) -> Any:
    stream = container.add_stream("mjpeg", rate=rate)
    stream.pix_fmt = "yuvj420p"
    # A single allowed value turns rate control off, so that frames do not depend on earlier ones.
    stream.codec_context.qmin = stream.codec_context.qmax = quantiser
    return stream


def _h264(container: Any, rate: Fraction, crf: int) -> Any:
    # AVI has no time stamps of display, so frames must be stored in their order.
    options = {"crf": str(crf), "preset": "veryfast", "bf": "0", "g": str(_KEY_FRAMES), **SAME_EVERYWHERE}
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.pix_fmt = "yuv420p"
    return stream


def write_eyes(path: Path, eyes: Iterable[Floats]) -> None:
    """Writes the eye file for the eyes of each frame, float32 (2, 2)."""
    lines = (f"{index},{','.join(str(int(v)) for v in np.rint(each).ravel())}\n" for index, each in enumerate(eyes))
    write_whole_text(path, "".join(lines))
