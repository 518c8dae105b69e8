# SPDX-License-Identifier: Apache-2.0
"""Writes videos as H.264 in MP4, which every player shows."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from eulernet_core.whole_files import replacing

Picture = NDArray[np.uint8]
# One thread, and no instructions whose results differ, so that the same frames give the same stream on every machine:
# with AVX-512 some even differ from call to call.
SAME_EVERYWHERE = {"threads": "1", "x264-params": "cpu-independent=1"}
_X264 = {"crf": "16", "preset": "veryfast", **SAME_EVERYWHERE}


def write_mp4(path: Path, frames: Iterable[Picture], rate_fps: Fraction) -> int:
    """Encodes frames, uint8 (H, W, 3) RGB, all of one size; the file appears when it is complete.

    The colours are BT.709 and labelled as such. The pixel format is yuv420p for even sizes and yuv444p for odd ones,
    which yuv420p does not support.

    Returns: the number of frames; without any, no file is written.
    """
    count = 0
    with replacing(path) as temporary:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream: Any = container.add_stream("libx264", rate=rate_fps, options=_X264)
            for picture in frames:
                if count == 0:
                    _describe(stream, *picture.shape[:2])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(
                    format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                container.mux(stream.encode(frame))
                count += 1
            if count:
                container.mux(stream.encode())
        if not count:
            temporary.unlink()
    return count


def _describe(stream: Any, height: int, width: int) -> None:
    stream.height, stream.width = height, width
    stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    label_bt709(stream.codec_context)


def label_bt709(encoder: Any) -> None:
    """Makes an encoder, an `av.CodecContext`, label its colours as BT.709 with the range of video."""
    encoder.colorspace, encoder.color_range = Colorspace.ITU709, ColorRange.MPEG
    encoder.color_primaries, encoder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
