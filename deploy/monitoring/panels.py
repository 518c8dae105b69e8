# SPDX-License-Identifier: Apache-2.0
"""The panels of the dashboards: their queries, units and order. Grafana's JSON and the pictures are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from eulernet_core.weights_label import LIVE_THRESHOLD

ENSEMBLES = "antispoof|antispoof_clip"
STAGES = "(face|clip)_(locate|crop)|face_detector|eulernet|eulernet_clip"
WHERE = 'namespace=~"$namespace",job=~"$job"'
OF_GATEWAY = 'namespace=~"$namespace",proxy=~"clients|replicas|canary"'  # the gateway is another job
SCORES_WHERE = f'{WHERE},model=~"$model"'
RATE = "[$__rate_interval]"


class Kind(Enum):
    """How a panel draws its queries."""

    NUMBER = "number"
    LINES = "lines"
    AREAS = "areas"  # stacked
    HEATMAP = "heatmap"
    TABLE = "table"


@dataclass(frozen=True)
class Query:
    """PromQL with Grafana's variables, and the template of a series' name, such as `{{model}}`."""

    expr: str
    name: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel. `unit`: Grafana's name of it; `help`: what the panel says, for its tooltip."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = Kind.LINES
    help: str = ""


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """A dashboard. `by_model`: it can be limited to streams or clips."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    by_model: bool = False


def _rate(metric: str, by: str, where: str = WHERE, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{where}{more}}}{RATE}))"


def _increase(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (increase({metric}{{{WHERE}{more}}}{RATE}))"


def _mean_s(duration_us: str, models: str) -> str:
    """Seconds a request, by model."""
    chosen = f',model=~"{models}"'
    return f"{_rate(duration_us, 'model', more=chosen)} / 1e6 / {_rate(_OK, 'model', more=chosen)}"


_OK = "nv_inference_request_success"
_CALLS, _OF_STAGES = (f',model=~"{models}"' for models in (ENSEMBLES, STAGES))
_STATE = Row(
    "State",
    (
        Panel("Ready replicas", (Query(f"sum(eulernet_ready{{{WHERE}}})"),), kind=Kind.NUMBER),
        Panel("Replicas", (Query(f"count(eulernet_ready{{{WHERE}}})"),), kind=Kind.NUMBER),
        Panel(
            "Served weights",
            (Query(f"count by (weights, sha256, precision) (eulernet_model_info{{{WHERE}}})"),),
            kind=Kind.TABLE,
            help="Replicas by weights and precision. More than one line: an update runs, or has stopped half way.",
        ),
        Panel(
            "Supervisors by state",
            (Query(f"sum by (state) (eulernet_supervisor_state{{{WHERE}}})", "{{state}}"),),
            kind=Kind.AREAS,
            help="waiting: between a failure and the next start.",
        ),
        Panel(
            "Deaths and restarts",
            (
                Query(_increase("eulernet_stage_deaths_total", "stage"), "{{stage}} died"),
                Query(_increase("eulernet_supervisor_restarts_total", "reason"), "restart: {{reason}}"),
            ),
        ),
    ),
)
_LOAD = Row(
    "Requests",
    (
        Panel("Frames", (Query(_rate("eulernet_frames_total", "model"), "{{model}}"),), "cps"),
        Panel("Requests answered", (Query(_rate(_OK, "model", more=_CALLS), "{{model}}"),), "reqps"),
        Panel(
            "Requests failed",
            (Query(_rate("nv_inference_request_failure", "model, reason", more=_CALLS), "{{model}} {{reason}}"),),
            "reqps",
        ),
        Panel(
            "Time of a request",
            (Query(_mean_s("nv_inference_request_duration_us", ENSEMBLES), "{{model}}"),),
            "s",
            help="The mean inside the server, queues included. Triton has no percentiles of it.",
        ),
        Panel(
            "Time in a stage's queue",
            (Query(_mean_s("nv_inference_queue_duration_us", STAGES), "{{model}}"),),
            "s",
            help="The mean for a request. It grows when the stage is at its limit.",
        ),
        Panel(
            "Time in a stage",
            (Query(_mean_s("nv_inference_compute_infer_duration_us", STAGES), "{{model}}"),),
            "s",
            help="The mean for a request, of the whole batch that it was in.",
        ),
        Panel(
            "Rows of a batch",
            (
                Query(
                    f"{_rate('nv_inference_count', 'model', more=_OF_STAGES)}"
                    f" / {_rate('nv_inference_exec_count', 'model', more=_OF_STAGES)}",
                    "{{model}}",
                ),
            ),
        ),
    ),
)
_STREAMS = Row(
    "Streams",
    (
        Panel("Open streams", (Query(f"eulernet_open_streams{{{WHERE}}}", "{{instance}}"),)),
        Panel(
            "Oldest open stream",
            (Query(f"max by (instance) (eulernet_oldest_stream_age_seconds{{{WHERE}}})", "{{instance}}"),),
            "s",
            help="A drain waits for it, or ends it at --drain-timeout-s.",
        ),
        Panel(
            "Streams admitted and refused",
            (
                Query(f"sum(rate(eulernet_streams_total{{{WHERE}}}{RATE}))", "admitted"),
                Query(_rate("eulernet_streams_refused_total", "reason"), "refused: {{reason}}"),
            ),
            "cps",
        ),
        Panel("Streams lost", (Query(_increase("eulernet_streams_lost_total", "reason"), "{{reason}}"),)),
    ),
)
_GATEWAY = Row(
    "Gateway",
    (
        Panel(
            "Replicas that a gateway may call",
            (
                Query(
                    f"sum by (instance, proxy) (haproxy_backend_active_servers{{{OF_GATEWAY}}})",
                    "{{instance}} {{proxy}}",
                ),
            ),
        ),
        Panel(
            "Requests through the gateways",
            (Query(f"sum by (code) (rate(haproxy_frontend_http_responses_total{{{OF_GATEWAY}}}{RATE}))", "{{code}}"),),
            "reqps",
            help="Refusals of gRPC have the code 2xx: their status is inside the answer.",
        ),
        Panel(
            "Connections of callers",
            (Query(f"sum by (instance) (haproxy_frontend_current_sessions{{{OF_GATEWAY}}})", "{{instance}}"),),
        ),
    ),
)
_BUCKETS = f"rate(eulernet_liveness_bucket{{{SCORES_WHERE}}}{RATE})"
_SCORES = Row(
    "Scores",
    (
        Panel(
            "Liveness",
            (Query(f"sum by (le) (increase(eulernet_liveness_bucket{{{SCORES_WHERE}}}{RATE}))", "{{le}}"),),
            kind=Kind.HEATMAP,
            help="Clips and scored frames of streams by score: 0 attack, 1 bona fide.",
        ),
        Panel(
            "Quantiles of liveness",
            tuple(
                Query(f"histogram_quantile({share}, sum by (le) ({_BUCKETS}))", f"{share:.0%}")
                for share in (0.1, 0.5, 0.9)
            ),
        ),
        Panel(
            "Share called live",
            (
                Query(
                    f'1 - sum by (model) (rate(eulernet_liveness_bucket{{{SCORES_WHERE},le="{LIVE_THRESHOLD}"}}{RATE}))'
                    f" / {_rate('eulernet_liveness_count', 'model', SCORES_WHERE)}",
                    "{{model}}",
                ),
            ),
            "percentunit",
            help=f"Scores above the threshold of {LIVE_THRESHOLD}. A jump without a change of the traffic is drift.",
        ),
        Panel(
            "Mean liveness by replica",
            (
                Query(
                    f"{_rate('eulernet_liveness_sum', 'instance', SCORES_WHERE)}"
                    f" / {_rate('eulernet_liveness_count', 'instance', SCORES_WHERE)}",
                    "{{instance}}",
                ),
            ),
            help="One replica apart from the others: other weights, or other callers.",
        ),
    ),
)
_INPUT = Row(
    "Input",
    (
        Panel(
            "Frames by STATUS",
            (Query(_rate("eulernet_frames_total", "status", SCORES_WHERE), "{{status}}"),),
            "cps",
            Kind.AREAS,
            help="A frame counts once, under its gravest flag.",
        ),
        Panel(
            "Frames that were not scored",
            (
                Query(
                    _rate("eulernet_frames_total", "status", SCORES_WHERE, ',status=~"no_face|undecodable|too_large"')
                    + f" / ignoring (status) group_left sum(rate(eulernet_frames_total{{{SCORES_WHERE}}}{RATE}))",
                    "{{status}}",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Quality flags of scored frames",
            (
                Query(
                    _rate("eulernet_quality_total", "flag", SCORES_WHERE)
                    + " / ignoring (flag) group_left sum(rate(eulernet_frames_total"
                    + f'{{{SCORES_WHERE},status!~"no_face|undecodable|too_large"}}{RATE}))',
                    "{{flag}}",
                ),
            ),
            "percentunit",
            help="Shares of the scored frames; a frame may have several flags.",
        ),
        Panel("Clips", (Query(_rate("eulernet_clips_total", "outcome"), "{{outcome}}"),), "cps", Kind.AREAS),
    ),
)
SERVICE = Board("eulernet-service", "EulerNet: service", (_STATE, _LOAD, _STREAMS, _GATEWAY))
SCORES = Board("eulernet-scores", "EulerNet: scores and input", (_SCORES, _INPUT), by_model=True)
BOARDS = (SERVICE, SCORES)
