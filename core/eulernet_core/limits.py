# SPDX-License-Identifier: Apache-2.0
"""Limits that several packages state or enforce."""

from __future__ import annotations

# A frame over one of these limits is answered with TOO_LARGE.
MAX_ENCODED_BYTES = 16 << 20  # of one frame's JPEG; the client refuses more before it sends it
MAX_PIXELS = 16_777_216  # height x width, 4096 x 4096: a clip of four costs less than a second of one core
MAX_PROGRESSIVE_PIXELS = 4_194_304  # of a picture with several scans, whose coefficients are all held in memory
MAX_SCANS = 16  # a usual progressive picture has 10; each scan of a picture costs a pass over all of it
MIN_FACE_WIDTH_PERCENT = 15  # short-range BlazeFace finds faces of this share of the frame's width and up
FACE_TOO_SMALL = f"the face must be at least {MIN_FACE_WIDTH_PERCENT} % of the frame's width and in full view"
MAX_CHUNK_FRAMES = 8  # of a stream in one request; while they are scored, other streams of the batch wait
MAX_CHUNK_BYTES = 4 * MAX_ENCODED_BYTES  # of their JPEGs: as much as a clip may have
MAX_STREAMS = 1024  # open streams of a server whose filters have a state
MAX_STREAMS_PER_CALLER = 256  # of one caller, where a gateway names the caller
CALLER_HEADER = "eulernet-caller"  # gRPC header that names the caller; a gateway sets it and removes a forged one
STREAM_HEADER = "eulernet-stream"  # gRPC header, one value a stream: a gateway sends its frames to one server by it
TRACK_HEADER = "eulernet-track"  # gRPC header that asks a gateway for one version: stable or canary
LONGEST_SEQUENCE_ID = 128  # characters of a string correlation id
MIN_FACE_PX = 96  # side of the box in px of the frame, below which a score is marked with SMALL_FACE
