# SPDX-License-Identifier: Apache-2.0
"""The real-data JSON of Triton's perf_analyzer (its input_data.md), with the frames that `eulernet loadtest` sends.

For sequences an inner list is one sequence; for the clip call an entry is one request.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from eulernet_core.tensors import CLIP_ENCODED, ENCODED
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.plan import Mode
from eulernet_loadtest.traffic import Traffic

Tensor = dict[str, Any]


def perf_data(traffic: Traffic, mode: Mode) -> dict[str, Any]:
    """The document; a tensor's shape leaves out the batch."""
    if mode is Mode.CLIPS:
        return {"data": [dict(zip(CLIP_ENCODED, map(_tensor, clip), strict=True)) for clip in traffic.clips()]}
    return {"data": [[{ENCODED: _tensor(jpeg)} for jpeg in source.jpegs] for source in traffic.sources]}


def _tensor(jpeg: bytes) -> Tensor:
    return {"content": {"b64": base64.b64encode(jpeg).decode("ascii")}, "shape": [len(jpeg)]}


def write(path: Path, traffic: Traffic, mode: Mode) -> None:
    """Writes the document to `path`; makes its folder if missing."""
    write_whole_text(path, json.dumps(perf_data(traffic, mode)))
