"""The real-data JSON of Triton's perf_analyzer (its input_data.md): the same frames that `eulernet loadtest` sends.

For sequences a list stands for one sequence; for the clip call each entry is one request.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from eulernet_client._contract import CLIP_ENCODED, ENCODED
from eulernet_client.loadtest.plan import Mode
from eulernet_client.loadtest.traffic import Traffic

Tensor = dict[str, Any]


def perf_data(traffic: Traffic, mode: Mode) -> dict[str, Any]:
    """The document; a tensor's shape is without the batch."""
    if mode is Mode.CLIPS:
        return {"data": [dict(zip(CLIP_ENCODED, map(_tensor, clip), strict=True)) for clip in traffic.clips()]}
    return {"data": [[{ENCODED: _tensor(jpeg)} for jpeg in source.jpegs] for source in traffic.sources]}


def _tensor(jpeg: bytes) -> Tensor:
    return {"content": {"b64": base64.b64encode(jpeg).decode("ascii")}, "shape": [len(jpeg)]}


def write(path: Path, traffic: Traffic, mode: Mode) -> None:
    """Writes the document to `path`; makes its folder where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(perf_data(traffic, mode)), encoding="ascii")
