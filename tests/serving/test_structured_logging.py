# SPDX-License-Identifier: Apache-2.0
"""Log lines of the served stages: fields, formats, the limit on repeats, and the real server's log."""

import json
import logging

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from eulernet_core.status import NOT_SCORED
from eulernet_core.tensors import ENCODED, STREAM_MODEL
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.structured_logging import (
    FORMAT_VARIABLE,
    LEVEL_VARIABLE,
    configure_stage_logging,
    log_caught,
)

LOG = logging.getLogger("eulernet_serving.test")


@pytest.fixture
def configured(monkeypatch):
    """`configured(level, kind)` sets the stages' logging up; afterwards it is as it was."""
    logger = logging.getLogger("eulernet_serving")
    before = logger.handlers, logger.propagate, logger.level

    def configure(level: str, kind: str) -> None:
        monkeypatch.setenv(LEVEL_VARIABLE, level)
        monkeypatch.setenv(FORMAT_VARIABLE, kind)
        configure_stage_logging()

    yield configure
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def test_text_has_the_fields(configured, capsys):
    configured("debug", "text")
    LOG.debug("answered", extra={"model": "eulernet", "sequence": 7, "status": (4,), "duration_ms": 1.5})
    line = capsys.readouterr().err
    assert "DEBUG eulernet_serving.test answered model=eulernet sequence=7 status=(4,) duration_ms=1.5\n" in line


def test_json_is_a_line_an_event(configured, capsys):
    configured("INFO", "json")
    LOG.debug("not shown")
    log_caught(LOG, "frame refused", ValueError('a "quoted"\nreason'), model="eulernet", sequence="stream-1")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event["level"] == "INFO"
    assert event["exception"] == "ValueError"
    assert event["reason"] == 'a "quoted"\nreason'
    assert (event["model"], event["sequence"]) == ("eulernet", "stream-1")
    assert event["time"]


def test_a_kind_of_exception_is_logged_once_a_second(configured, capsys):
    configured("INFO", "text")
    for number in range(100):
        log_caught(LOG, "frame refused", ValueError(str(number)))
        log_caught(LOG, "frame refused", KeyError(str(number)))
        log_caught(LOG, "batch failed", ValueError(str(number)))
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize(
    ("level", "kind", "named"), [("LOUD", "text", LEVEL_VARIABLE), ("INFO", "xml", FORMAT_VARIABLE)]
)
def test_unknown_settings_are_refused(configured, level, kind, named):
    with pytest.raises(ValueError, match=named):
        configured(level, kind)


@pytest.mark.triton
def test_the_server_s_log_has_an_event_for_each_answer_and_each_caught_exception(
    repository, moving_faces, tmp_path, monkeypatch
):
    monkeypatch.setenv(LEVEL_VARIABLE, "DEBUG")
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    with EmbeddedServer(repository, Ports(0, 0), tmp_path / "server.log") as server:
        server.wait_ready(120)
        with triton.InferenceServerClient(server.url) as client:

            def send(data: bytes, **flags: bool) -> None:
                tensor = triton.InferInput(ENCODED, [1, len(data)], "UINT8")
                tensor.set_data_from_numpy(np.frombuffer(data, np.uint8)[None])
                client.infer(STREAM_MODEL, [tensor], sequence_id=4711, client_timeout=30, **flags)

            send(moving_faces(1, 0)[0], sequence_start=True)
            send(b"no picture", sequence_end=True)
            with pytest.raises(InferenceServerException):
                send(b"never started")
    events = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines() if line.startswith("{")]
    answered = [event for event in events if event["message"] == "answered" and event.get("sequence") == 4711]
    assert [
        (event["model"], [each & NOT_SCORED for each in event["status"]])
        for event in answered
        if event["model"] in ("face_crop", "eulernet")
    ] == [
        ("face_crop", [0]),
        ("eulernet", [0]),
        ("face_crop", [8]),
        ("eulernet", [8]),
    ]
    assert all(event["duration_ms"] > 0 and event["batch"] == 1 for event in answered)
