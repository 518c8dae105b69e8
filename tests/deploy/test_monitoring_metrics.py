# SPDX-License-Identifier: Apache-2.0
"""The service's metrics on Triton's port: what is counted, under which names, and what stays current by itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families

from deploy.tools import PROMTOOL, ToolError
from eulernet_client import Client
from eulernet_core.limits import CALLER_HEADER
from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL, ENCODED, PROBE_REQUEST_ID, STREAM_MODEL
from eulernet_serving.embedded_server import HOST, EmbeddedServer, Ports
from eulernet_serving.metric_catalog import (
    CATALOG,
    LIVENESS_BUCKETS,
    QUALITY_FLAGS,
    QUALITY_WORDS,
    STATUS_ORDER,
    STATUS_WORDS,
    Source,
)
from eulernet_serving.sequence_store import SequenceStore, StoreLimits
from eulernet_serving.supervisor_metrics import SupervisorMetrics, model_identity
from tests.conftest import TIGHT_SLOTS, Encode

Faces = Callable[[int, int], list[bytes]]
Samples = dict[tuple[str, ...], float]  # (name, label=value, …) -> value
SHOWN_S = 8.0  # a metric is shown within a second, on a busy machine later


def samples(text: str) -> Samples:
    """The service's own samples of a page."""
    families = text_string_to_metric_families(text)
    found = (sample for family in families for sample in family.samples if sample.name.startswith("eulernet_"))
    return {(each.name, *(f"{k}={v}" for k, v in sorted(each.labels.items()))): each.value for each in found}


def page(server: EmbeddedServer) -> str:
    """Triton's metrics."""
    with urllib.request.urlopen(f"http://{HOST}:{server.ports.metrics}/metrics") as answer:
        text: str = answer.read().decode()
        return text


class Caller:
    """Sends clips and streams, and compares the metrics before and after."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server, self.client = server, triton.InferenceServerClient(server.url)
        self.shown = self.settled()

    def settled(self) -> Samples:
        """The metrics once they no longer change."""
        before: Samples = {}
        while (now := {k: v for k, v in samples(page(self.server)).items() if "age" not in k[0]}) != before:
            before = now
            time.sleep(1.5)
        return now

    def grown(self, wanted: Samples) -> Samples:
        """What has grown by how much since the last call, once it has the wanted and stands still, or at the end."""
        deadline_s, before = time.monotonic() + SHOWN_S, None
        while True:
            now = samples(page(self.server))
            counted = {k: v for k, v in now.items() if k[0].endswith(("_total", "_count"))}
            grown = {k: v - self.shown.get(k, 0) for k, v in counted.items() if v != self.shown.get(k, 0)}
            if (wanted.items() <= grown.items() and grown == before) or time.monotonic() > deadline_s:
                self.shown |= now
                return grown
            before = grown
            time.sleep(0.4)

    def clip(self, frames: Sequence[bytes], request_id: str = "") -> None:
        """One clip."""
        inputs = [jpeg_input(name, frame) for name, frame in zip(CLIP_ENCODED, frames, strict=True)]
        self.client.infer(CLIP_MODEL, inputs, request_id=request_id, client_timeout=30)

    def frame(
        self, jpeg: bytes, sequence: int, *, start: bool, end: bool, request_id: str = "", caller: str = ""
    ) -> None:
        """A frame of a stream; `caller`: as a gateway names it."""
        self.client.infer(
            STREAM_MODEL,
            [jpeg_input(ENCODED, jpeg)],
            request_id=request_id,
            sequence_id=sequence,
            sequence_start=start,
            sequence_end=end,
            client_timeout=30,
            headers={CALLER_HEADER: caller} if caller else None,
        )


def jpeg_input(name: str, jpeg: bytes) -> triton.InferInput:
    """One JPEG as an input uint8 (1, bytes)."""
    tensor = triton.InferInput(name, [1, len(jpeg)], "UINT8")
    tensor.set_data_from_numpy(np.frombuffer(jpeg, np.uint8)[None])
    return tensor


@pytest.fixture(scope="module")
def caller(server: EmbeddedServer) -> Caller:
    """Calls the server that the tests share; each test looks at what has grown."""
    return Caller(server)


@pytest.fixture(scope="module")
def blank(encode: Encode) -> bytes:
    """A picture without a face."""
    return encode(np.full((240, 320, 3), 128, np.uint8))


def _frames(model: str, status: str) -> tuple[str, ...]:
    return ("eulernet_frames_total", f"model={model}", f"status={status}")


def _quality(model: str, flag: str) -> tuple[str, ...]:
    return ("eulernet_quality_total", f"flag={flag}", f"model={model}")


@pytest.mark.triton
def test_a_scored_clip_counts(caller: Caller, moving_faces: Faces) -> None:
    caller.clip(moving_faces(4, 1))
    wanted: Samples = {
        ("eulernet_clips_total", "outcome=scored"): 1.0,
        ("eulernet_liveness_count", f"model={CLIP_MODEL}"): 1.0,
    }
    seen = caller.grown(wanted)
    assert wanted.items() <= seen.items()
    assert sum(count for key, count in seen.items() if key[0] == "eulernet_frames_total") == 4
    buckets = [
        value
        for key, value in samples(page(caller.server)).items()
        if key[0] == "eulernet_liveness_bucket" and f"model={CLIP_MODEL}" in key
    ]
    assert len(buckets) == len(LIVENESS_BUCKETS) + 1


@pytest.mark.triton
def test_frames_that_are_not_scored_count_but_have_no_liveness(
    caller: Caller, moving_faces: Faces, blank: bytes
) -> None:
    caller.clip([blank, b"no picture", blank, blank])
    wanted: Samples = {
        ("eulernet_clips_total", "outcome=not_scored"): 1.0,
        _frames(CLIP_MODEL, "no_face"): 3.0,
        _frames(CLIP_MODEL, "undecodable"): 1.0,
    }
    assert caller.grown(wanted) == wanted


@pytest.mark.triton
def test_a_stream_counts_once_and_its_frames_each(caller: Caller, blank: bytes, moving_faces: Faces) -> None:
    faces = moving_faces(3, 2)
    for t, jpeg in enumerate([blank, *faces, faces[-1]]):
        caller.frame(jpeg, 4711, start=t == 0, end=t == 4)
    wanted: Samples = {
        ("eulernet_streams_total",): 1.0,
        _frames(STREAM_MODEL, "no_face"): 1.0,
        ("eulernet_liveness_count", f"model={STREAM_MODEL}"): 1.0,  # from the fourth one on
        _quality(STREAM_MODEL, "repeated"): 1.0,
    }
    seen = caller.grown(wanted)
    assert wanted.items() <= seen.items()
    assert sum(count for key, count in seen.items() if key[0] == "eulernet_frames_total") == 5


@pytest.mark.triton
def test_probes_do_not_count(caller: Caller, blank: bytes) -> None:
    caller.clip([blank] * 4, PROBE_REQUEST_ID)
    caller.frame(blank, 4712, start=True, end=True, request_id=PROBE_REQUEST_ID)
    caller.frame(blank, 4713, start=True, end=True)  # comes later, and is shown: so is all before
    wanted: Samples = {_frames(STREAM_MODEL, "no_face"): 1.0, ("eulernet_streams_total",): 1.0}
    assert caller.grown(wanted) == wanted


@pytest.mark.triton
def test_the_bare_end_of_a_stream_is_no_frame(caller: Caller, blank: bytes, moving_faces: Faces) -> None:
    with Client(caller.server.url) as client, client.stream() as stream:
        stream.score(moving_faces(1, 6)[0])
    caller.frame(blank, 4715, start=True, end=True)  # comes later, and is shown: so is all before
    seen = caller.grown({_frames(STREAM_MODEL, "no_face"): 1.0})
    assert sum(count for key, count in seen.items() if key[0] == "eulernet_frames_total") == 2
    assert _frames(STREAM_MODEL, "undecodable") not in seen


@pytest.mark.triton
def test_open_streams_age_while_nobody_calls(caller: Caller, moving_faces: Faces) -> None:
    jpeg = moving_faces(1, 3)[0]
    caller.frame(jpeg, 4714, start=True, end=False)
    ages = []
    for _ in range(2):
        time.sleep(2.5)
        now = samples(page(caller.server))
        assert now["eulernet_open_streams",] >= 1
        ages.append(max(value for key, value in now.items() if key[0] == "eulernet_oldest_stream_age_seconds"))
    assert 1 <= ages[0] < ages[1]
    caller.frame(jpeg, 4714, start=False, end=True)


@pytest.mark.triton
def test_refusals_are_counted_by_reason(tight_server: EmbeddedServer, moving_faces: Faces) -> None:
    calls = Caller(tight_server)
    jpeg = moving_faces(1, 4)[0]

    def begin(number: int) -> None:
        calls.frame(jpeg, 4800 + number, start=True, end=False, caller="kiosk")

    with ThreadPoolExecutor(TIGHT_SLOTS // 4) as pool:  # at once: they are forgotten after five seconds
        list(pool.map(begin, range(TIGHT_SLOTS // 4)))
    with pytest.raises(triton.InferenceServerException, match="the most of one caller"):
        begin(99)
    wanted: Samples = {
        ("eulernet_streams_refused_total", "reason=caller_full"): 1.0,
        ("eulernet_streams_total",): TIGHT_SLOTS / 4,
    }
    assert wanted.items() <= calls.grown(wanted).items()
    with pytest.raises(triton.InferenceServerException, match="no state"):
        calls.frame(jpeg, 4899, start=False, end=True)
    calls.frame(jpeg, 4950, start=True, end=True)  # comes later, and is shown: so is all before
    later: Samples = {("eulernet_streams_total",): 1.0}
    seen = calls.grown(later)
    assert later.items() <= seen.items()
    assert not [key for key in seen if key[0] == "eulernet_streams_lost_total"]  # it was refused before


@pytest.mark.triton
@pytest.mark.slow
def test_the_first_stages_count_where_the_networks_cannot(repository: Path, tmp_path: Path, blank: bytes) -> None:
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy)
    for model in ("face_crop", "clip_crop"):
        path = copy / model / "configs" / "cpu.pbtxt"
        off = '"count_frames" value { string_value: "false" }'
        assert off in path.read_text()
        path.write_text(path.read_text().replace(off, off.replace("false", "true")))
    with EmbeddedServer(copy, Ports(0, 0), tmp_path / "server.log") as server:
        server.wait_ready(240)
        calls = Caller(server)
        calls.clip([blank] * 4)
        calls.frame(blank, 4950, start=True, end=True)
        wanted: Samples = {  # the networks of this server count too
            ("eulernet_clips_total", "outcome=not_scored"): 2.0,
            ("eulernet_streams_total",): 1.0,
            _frames(CLIP_MODEL, "no_face"): 8.0,
            _frames(STREAM_MODEL, "no_face"): 2.0,
        }
        assert calls.grown(wanted) == wanted
        server.kill()


@pytest.mark.triton
def test_the_pages_show_the_catalogue_and_nothing_else(caller: Caller, repository: Path) -> None:
    supervisor = SupervisorMetrics(repository)
    supervisor.watches(["face_crop"])
    for source, text in ((Source.STAGES, page(caller.server)), (Source.SUPERVISOR, supervisor.text())):
        types = dict(re.findall(r"^# TYPE (eulernet_\w+) (\w+)", text, re.MULTILINE))
        specs = {spec.name: spec for spec in CATALOG if spec.source is source}
        assert types == {name: spec.kind.value for name, spec in specs.items()}
        for key in samples(text):
            name = re.sub(r"_(bucket|sum|count)$", "", key[0])
            labels = {label.partition("=")[0] for label in key[1:]} - {"le"}
            assert labels == set(specs[name].labels), key


@pytest.mark.triton
def test_names_follow_the_conventions(caller: Caller, repository: Path) -> None:
    try:
        promtool = PROMTOOL.command()
    except ToolError as error:
        pytest.skip(f"no promtool: {error}")
    own = re.compile(r"^(# (HELP|TYPE) )?eulernet_")
    stages = "".join(line for line in page(caller.server).splitlines(keepends=True) if own.match(line))
    for text in (stages, SupervisorMetrics(repository).text()):
        done = subprocess.run([*promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    bad = stages.replace("eulernet_streams_total", "eulernet_streams")
    done = subprocess.run([*promtool, "check", "metrics"], input=bad, capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_the_oldest_sequence_is_the_one_that_began_first() -> None:
    now_s = [0.0]
    store: SequenceStore[str] = SequenceStore(str, StoreLimits(8, 0, 30.0), lambda: now_s[0])
    assert store.oldest_age_s() == 0
    for when_s, sequence, start, end in ((1, 1, True, False), (5, 2, True, False), (9, 1, False, False)):
        now_s[0] = when_s
        store.put(sequence, "state", start, end)
    assert store.oldest_age_s() == 8
    store.put(1, None, start=False, end=True)
    assert store.oldest_age_s() == 4
    store.put(2, "state", start=True, end=False)
    assert store.oldest_age_s() == 0


def test_every_flag_has_a_word_and_a_rank() -> None:
    assert set(STATUS_ORDER) == set(Status) - {Status.OK}
    assert len(set(STATUS_WORDS)) == len(STATUS_ORDER) + 1
    assert set(QUALITY_FLAGS) == {flag for flag in STATUS_ORDER if flag.usable}
    assert QUALITY_WORDS == ("degraded", "small_face", "several_faces", "relocated", "repeated")


def test_the_supervisor_tells_what_it_serves(repository: Path) -> None:
    identity = model_identity(repository)
    assert re.fullmatch("[0-9a-f]{16}", identity["sha256"])
    assert identity["precision"] == "fp32"
    supervisor = SupervisorMetrics(repository)
    supervisor.phase("draining", ready=False)
    supervisor.died("face_crop")
    supervisor.restarted("died", 3)
    shown = samples(supervisor.text())
    labelled = ("eulernet_model_info", *sorted(f"{k}={v}" for k, v in identity.items()))
    assert shown[labelled] == 1
    states = {key[1]: value for key, value in shown.items() if key[0] == "eulernet_supervisor_state"}
    assert [state for state, value in states.items() if value] == ["state=draining"]
    assert shown["eulernet_stage_deaths_total", "stage=face_crop"] == 1
    assert shown["eulernet_streams_lost_total", "reason=restart"] == 3
