# SPDX-License-Identifier: Apache-2.0
"""Every metric of the service itself: name, type, labels, meaning. Stages, supervisor, docs and dashboards share it.

Names follow Prometheus' conventions: base units, `_total` for counters. Triton's own metrics (`nv_…`) are not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL


class Kind(Enum):
    """Prometheus' type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(Enum):
    """The port that shows a metric."""

    STAGES = "metrics"  # Triton's metrics port, written by the Python stages
    SUPERVISOR = "health"  # the supervisor's health port


@dataclass(frozen=True)
class MetricSpec:
    """One metric.

    Attributes:
        name: as Prometheus sees it.
        kind, source: its type and its port.
        labels: names of its labels.
        meaning: its help text, one sentence.
        watch: what an operator looks for, for the docs.
    """

    name: str
    kind: Kind
    source: Source
    labels: tuple[str, ...]
    meaning: str
    watch: str


LIVENESS_STEP = 0.05
LIVENESS_BUCKETS = tuple(round(LIVENESS_STEP * i, 2) for i in range(1, 21))  # upper bounds, 0.05 to 1.0

# A frame counts once, under its gravest flag: the first of these that it has.
STATUS_ORDER = (
    Status.TOO_LARGE,
    Status.UNDECODABLE,
    Status.NO_FACE,
    Status.DEGRADED,
    Status.SMALL_FACE,
    Status.SEVERAL_FACES,
    Status.RELOCATED,
    Status.REPEATED,
)
QUALITY_FLAGS = (Status.DEGRADED, Status.SMALL_FACE, Status.SEVERAL_FACES, Status.RELOCATED, Status.REPEATED)


def word(flag: Status) -> str:
    """The label's value of a single flag, such as `no_face`; `ok` without one."""
    return (flag.name or "").lower() if flag else "ok"


STATUS_WORDS = ("ok", *(word(flag) for flag in STATUS_ORDER))
QUALITY_WORDS = tuple(word(flag) for flag in QUALITY_FLAGS)
MODELS = (STREAM_MODEL, CLIP_MODEL)  # values of the label `model`
SCORED, NOT_SCORED = "scored", "not_scored"  # values of `outcome`
DRAINING, SERVER_FULL, CALLER_FULL = "draining", "server_full", "caller_full"  # why a stream was refused
NO_STATE, RESTART = "no_state", "restart"  # why a stream was lost
PHASES = ("starting", "serving", "waiting", "draining")

LIVENESS = MetricSpec(
    "eulernet_liveness",
    Kind.HISTOGRAM,
    Source.STAGES,
    ("model",),
    "Liveness of each scored clip (at its last frame) and of each scored frame of a stream with FRAME_COUNT 4 or more.",
    "a change of its shape: drift",
)
FRAMES = MetricSpec(
    "eulernet_frames_total",
    Kind.COUNTER,
    Source.STAGES,
    ("model", "status"),
    "Frames by STATUS; a frame counts once, under its gravest flag.",
    "the shares of no_face and undecodable",
)
QUALITY = MetricSpec(
    "eulernet_quality_total",
    Kind.COUNTER,
    Source.STAGES,
    ("model", "flag"),
    "Scored frames that carry a quality flag; a frame with two flags counts under both.",
    "a share that rises: camera, light, resampling",
)
CLIPS = MetricSpec(
    "eulernet_clips_total",
    Kind.COUNTER,
    Source.STAGES,
    ("outcome",),
    "Clips; scored: all four frames are usable and show one face in one place.",
    "the share of not_scored",
)
STREAMS = MetricSpec(
    "eulernet_streams_total",
    Kind.COUNTER,
    Source.STAGES,
    (),
    "Streams that were admitted.",
    "nothing: the base of the shares below",
)
STREAMS_REFUSED = MetricSpec(
    "eulernet_streams_refused_total",
    Kind.COUNTER,
    Source.STAGES,
    ("reason",),
    "Refusals of a stream; draining, server_full and caller_full.",
    "server_full: add replicas; caller_full: one caller leaves streams open",
)
STREAMS_LOST = MetricSpec(
    "eulernet_streams_lost_total",
    Kind.COUNTER,
    Source.STAGES,
    ("reason",),
    "Streams that came to a stage without their state; no_state: a frame came after the idle limit.",
    "any increase outside a rollout",
)
OPEN_STREAMS = MetricSpec(
    "eulernet_open_streams",
    Kind.GAUGE,
    Source.STAGES,
    (),
    "Open streams, at most a second old.",
    "close to the limit of 1,024",
)
OLDEST_STREAM = MetricSpec(
    "eulernet_oldest_stream_age_seconds",
    Kind.GAUGE,
    Source.STAGES,
    ("model_instance",),
    "Seconds since the first frame of the oldest open stream; 0 without one.",
    "longer than a drain may take",
)
OPEN_SEQUENCES = MetricSpec(
    "eulernet_open_sequences",
    Kind.GAUGE,
    Source.STAGES,
    ("model",),
    "Sequences whose state a stage keeps; the first stage has the open streams.",
    "eulernet far above the first stage",
)
BUSY = MetricSpec(
    "eulernet_stage_busy_seconds",
    Kind.GAUGE,
    Source.STAGES,
    ("model_instance",),
    "Seconds for which an instance of a stage has been busy with its current batch, at most a second old.",
    "more than a few seconds: it hangs; the supervisor restarts the server at --stall-timeout-s",
)
READY = MetricSpec(
    "eulernet_ready",
    Kind.GAUGE,
    Source.SUPERVISOR,
    (),
    "1 while clips and streams are answered.",
    "0",
)
SUPERVISOR_STATE = MetricSpec(
    "eulernet_supervisor_state",
    Kind.GAUGE,
    Source.SUPERVISOR,
    ("state",),
    "1 for the supervisor's state, 0 for the others; waiting: before a restart.",
    "anything but serving for minutes",
)
RESTARTS = MetricSpec(
    "eulernet_supervisor_restarts_total",
    Kind.COUNTER,
    Source.SUPERVISOR,
    ("reason",),
    "Restarts of tritonserver.",
    "any increase",
)
STAGE_DEATHS = MetricSpec(
    "eulernet_stage_deaths_total",
    Kind.COUNTER,
    Source.SUPERVISOR,
    ("stage",),
    "Deaths of a stage's process, or of tritonserver.",
    "any increase; SIGKILL is often a lack of memory",
)
STREAMS_LOST_BY_RESTART = MetricSpec(
    "eulernet_streams_lost_total",
    Kind.COUNTER,
    Source.SUPERVISOR,
    ("reason",),
    "Streams that a restart of tritonserver lost; restart: were open when it was last looked at, within five seconds.",
    "any increase; clients replay them where they can",
)
MODEL_INFO = MetricSpec(
    "eulernet_model_info",
    Kind.GAUGE,
    Source.SUPERVISOR,
    ("weights", "sha256", "precision"),
    "1; the label of the served weights, the first 16 digits of their hash, and the networks' precision.",
    "two values at once outside a rollout",
)

CATALOG = (
    LIVENESS,
    FRAMES,
    QUALITY,
    CLIPS,
    STREAMS,
    STREAMS_REFUSED,
    STREAMS_LOST,
    OPEN_STREAMS,
    OLDEST_STREAM,
    OPEN_SEQUENCES,
    BUSY,
    READY,
    SUPERVISOR_STATE,
    RESTARTS,
    STAGE_DEATHS,
    STREAMS_LOST_BY_RESTART,
    MODEL_INFO,
)
