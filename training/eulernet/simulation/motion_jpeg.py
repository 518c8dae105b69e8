# SPDX-License-Identifier: Apache-2.0
"""Writes a simulated video: Motion JPEG in AVI, which encodes frames separately and so keeps small changes of colour.

The eye file beside it has a line `frame,xR,yR,xL,yL` per frame: whole pixels, the subject's right eye first.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.codec.context
import numpy as np

from eulernet.simulation.randomness import Floats, Pixels
from eulernet_core.whole_files import write_whole_text


def write_video(path: Path, frames: Iterable[Pixels], fps: float, quantiser: int) -> None:
    """Encodes frames, uint8 (H, W, 3) RGB. The same frames give the same bytes.

    `quantiser` is Motion JPEG's: 2 is about JPEG quality 95, 6 about 80.
    """
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("mjpeg", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.thread_count = 1
        # A single allowed value turns rate control off, so that frames do not depend on earlier ones.
        stream.codec_context.qmin = stream.codec_context.qmax = quantiser
        stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)
        for index, picture in enumerate(frames):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuvj420p", dst_colorspace="ITU601")))
        container.mux(stream.encode())


def write_eyes(path: Path, eyes: Iterable[Floats]) -> None:
    """Writes the eye file for the eyes of each frame, float32 (2, 2)."""
    lines = (f"{index},{','.join(str(int(v)) for v in np.rint(each).ravel())}\n" for index, each in enumerate(eyes))
    write_whole_text(path, "".join(lines))
