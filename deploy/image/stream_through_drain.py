# SPDX-License-Identifier: Apache-2.0
"""Runs inside the container: opens a stream, says so, and goes on sending while the server drains.

Prints `open` after the first frame, and in the end how many frames were scored, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import simplejpeg

from eulernet_client import Client
from eulernet_core.video import read_frames

FRAMES, INTERVAL_S = 24, 0.25


def main(video: str, url: str) -> None:
    """Raises: ServerError where a frame is not answered; nothing is replayed."""
    jpegs = list(read_frames(Path(video), lambda frame: simplejpeg.encode_jpeg(frame.to_ndarray(format="rgb24"))))
    scored = 0
    with Client(url) as client, client.stream(replay_mb=0) as stream:
        for number in range(FRAMES):
            result = stream.score(jpegs[number % len(jpegs)], last=number == FRAMES - 1)
            scored += result.status.usable
            if number == 0:
                print("open", flush=True)
            time.sleep(INTERVAL_S)
    print(json.dumps({"frames": FRAMES, "scored": scored}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
