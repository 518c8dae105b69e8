# SPDX-License-Identifier: Apache-2.0
"""The supervisor: keeps the embedded server at work, tells others how it is, and drains it before it stops."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType

from eulernet_serving.draining import CONTROL_FOLDER_VARIABLE, announce_draining
from eulernet_serving.embedded_server import HOST, EmbeddedServer, Ports, ServerError, served_repository
from eulernet_serving.health_port import HealthPort, Page
from eulernet_serving.inference_probe import WAYS
from eulernet_serving.prober import IMPATIENT_S, INTERVAL_S, Prober
from eulernet_serving.process_watch import SERVER, Fault, ProcessWatch, reap_orphans
from eulernet_serving.supervision_policy import Action, Limits, Observation, Phase, SupervisionPolicy
from eulernet_serving.supervisor_metrics import CONTENT_TYPE, SupervisorMetrics
from eulernet_serving.triton_config import read_config
from eulernet_serving.triton_metrics import read_metrics
from eulernet_serving.triton_wheel import TritonMissingError
from eulernet_serving.way_health import WayHealth

POLL_S = 0.2
ALIVE_S = 60.0  # a supervisor that has not looked for so long is not alive
DRAIN_METRICS_TIMEOUT_S = 1.0
_LOG = logging.getLogger(__name__)


class GaveUpError(ServerError):
    """The server has failed again after the configured number of restarts."""


class Supervisor:
    """Runs the server from `__enter__` to `__exit__`, and the health port beside it.

    Args:
        repository: a complete model repository.
        ports: of the server, and `health`; None opens no health port.
        log: file for the server's output; what it holds is kept.
        limits: the supervisor's patience.
    """

    def __init__(self, repository: Path, ports: Ports, log: Path, limits: Limits) -> None:
        self.repository, self.ports, self.log, self.limits = repository, ports, log, limits
        self._stack = contextlib.ExitStack()
        self._server: EmbeddedServer | None = None
        self._watch: ProcessWatch | None = None
        self._policy: SupervisionPolicy | None = None
        self._ways: list[WayHealth] = []
        self._judged: object = None  # the last round of probes that was taken into account
        self._looked_s = time.monotonic()
        self._stopping = False
        self._metrics = SupervisorMetrics(repository)

    @property
    def url(self) -> str:
        """host:port of the gRPC endpoint, the same over a restart."""
        return f"{HOST}:{self.ports.grpc}"

    def __enter__(self) -> Supervisor:
        """Opens the health port and starts the server. Raises: ServerError, TritonMissingError."""
        self.ports = self.ports.resolved()
        with contextlib.ExitStack() as stack:
            control = stack.enter_context(tempfile.TemporaryDirectory(prefix="eulernet-control-"))
            self._control = Path(control)
            if self.ports.health is not None:
                stack.enter_context(HealthPort(HOST, self.ports.health, self._page))
            self._prober = stack.enter_context(Prober(HOST, self.ports.grpc, self.ports.metrics))
            stack.callback(self._kill)
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def wait_ready(self) -> None:
        """Waits for the first start. Raises: ServerError where it fails; only a server that worked is restarted."""
        assert self._server is not None
        assert self._watch is not None
        self._server.wait_ready(self.limits.ready_timeout_s)
        stages = self._watch.find_stages()
        _LOG.debug("watching %s", ", ".join([SERVER, *stages]), extra={"stages": stages})
        now_s = time.monotonic()
        self._policy = SupervisionPolicy(self.limits, now_s)
        for way in self._ways:
            way.ready, way.started_s = True, now_s
        self._prober.every(INTERVAL_S)
        self._metrics.watches([SERVER, *stages])
        self._show()

    def run(self, stop_signals: Callable[[], int], ended: Callable[[], bool] = lambda: False, own: int = 0) -> None:
        """Supervises until the signals ask to stop and the streams are drained, or `ended` says so.

        Args:
            stop_signals: how many signals so far ask to stop; at the second one nothing is drained.
            own: process id of another child that the caller waits for.
        Raises: GaveUpError.
        """
        assert self._policy is not None
        while not ended():
            reap_orphans({own, self._server.pid or 0 if self._server else 0})
            now_s = self._looked_s = time.monotonic()
            before = self._policy.phase
            action = self._policy.decide(self._observe(stop_signals(), now_s), now_s)
            self._stopping = action is Action.STOP
            self._show()
            if self._stopping:
                return
            self._act(action)
            if (before, self._policy.phase) == (Phase.STARTING, Phase.SERVING):
                _LOG.info("serving again")
            time.sleep(POLL_S)

    def _observe(self, stop_signals: int, now_s: float) -> Observation:
        assert self._policy is not None
        phase = self._policy.phase
        if phase is Phase.WAITING:
            return Observation(stop_signals=stop_signals)
        self._judge()
        faults = self._faults(now_s)
        if faults:
            for way in self._ways:  # first, so that whoever reads the log finds /readyz to agree with it
                way.ready = False
        for fault in faults:
            fields = {"stage": fault.process, "pid": fault.pid, "fault": fault.kind, "cause": fault.cause}
            _LOG.error("%s", fault, extra=fields)
            if fault.kind == "died":
                self._metrics.died(fault.process)
        readings = None
        if phase is Phase.DRAINING:
            readings = read_metrics(HOST, self.ports.metrics, DRAIN_METRICS_TIMEOUT_S)
        return Observation(
            failed=faults[0].kind if faults else None,
            ready=all(way.ready for way in self._ways),
            silent_s=max(self._busy_s(), *(way.silent_s(now_s) for way in self._ways)),
            idle=readings is not None and readings.idle,
            stop_signals=stop_signals,
        )

    def _busy_s(self) -> float:
        """The longest time for which a stage has been busy with one batch, when a probe last looked at this run."""
        latest = self._prober.latest
        this_run = latest is not None and all(latest.begun_s >= way.started_s for way in self._ways)
        return latest.readings.busy_s if this_run and latest is not None and latest.readings is not None else 0.0

    def _faults(self, now_s: float) -> Sequence[Fault]:
        if self._server is None or self._watch is None:
            return [Fault(SERVER, 0, "died", "could not be started")]
        if self._policy is not None and self._policy.phase is Phase.STARTING:
            self._watch.find_stages()
        return self._watch.faults(now_s)

    def _judge(self) -> None:
        """Takes a new round of probes into account, unless it began with an earlier run of the server."""
        latest = self._prober.latest
        if latest is None or latest is self._judged:
            return
        self._judged = latest
        for way in self._ways:
            if latest.begun_s >= way.started_s:
                was_ready = way.ready
                way.update(latest)
                if was_ready and not way.ready:
                    _LOG.warning("%s does not answer: %s", way.way, latest.answers[way.way].value)

    def _act(self, action: Action) -> None:
        assert self._policy is not None
        if action is Action.GIVE_UP:
            raise GaveUpError(
                f"tritonserver {self._policy.reason} after {self._policy.restarts} restarts, and is not started again; "
                f"see {self.log}, and --max-restarts"
            )
        if action is Action.KILL:
            wait_s = self._policy.due_s - time.monotonic()
            _LOG.warning(
                "restart %d of at most %d in %.1f s: %s",
                self._policy.restarts,
                self.limits.max_restarts,
                max(wait_s, 0),
                self._policy.reason,
            )
            self._metrics.restarted(self._policy.reason, self._open_streams())
            self._prober.every(None)
            self._kill()
        if action is Action.START:
            with contextlib.suppress(ServerError, TritonMissingError, OSError):
                self._start()
            self._prober.every(IMPATIENT_S)
        if action is Action.DRAIN:
            _LOG.info("draining: no new streams, and at most %g s for open ones", self.limits.drain_timeout_s)
            announce_draining(self._control)
            self._prober.every(None)
        if self._policy.phase is Phase.SERVING:
            self._prober.every(INTERVAL_S)

    def _start(self) -> None:
        self._server = self._watch = None
        self._ways = [WayHealth(way, stages_of(self.repository, way), time.monotonic()) for way in WAYS]
        server = EmbeddedServer(
            self.repository,
            replace(self.ports, health=None),
            self.log,
            append=True,
            environment={CONTROL_FOLDER_VARIABLE: str(self._control)},
        )
        try:
            server.__enter__()
        except (ServerError, TritonMissingError, OSError) as error:
            _LOG.error("tritonserver could not be started: %s", error)
            raise
        assert server.pid is not None
        self._server, self._watch = server, ProcessWatch(server.pid)

    def _kill(self) -> None:
        """Ends the server. Triton's own way to stop refuses running requests too, and waits for abandoned streams."""
        if self._server is not None:
            self._server.kill()
        self._server = self._watch = None

    def _status(self) -> HTTPStatus:
        """The answer of /readyz."""
        if self._policy is None:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if self._policy.phase is Phase.DRAINING:
            return HTTPStatus.NOT_FOUND
        serving = self._policy.phase is Phase.SERVING and not self._stopping
        ready = serving and all(way.ready for way in self._ways)
        return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE

    def _open_streams(self) -> int:
        """How many streams were open when a probe last looked."""
        latest = self._prober.latest
        return latest.readings.open_streams if latest is not None and latest.readings is not None else 0

    def _show(self) -> None:
        phase = "starting" if self._policy is None else self._policy.phase.name.lower()
        self._metrics.phase(phase, ready=self._status() is HTTPStatus.OK)

    def _page(self, path: str) -> Page | None:
        """What the health port answers."""
        phase = "starting" if self._policy is None else self._policy.phase.value
        if path == "/livez":
            alive = time.monotonic() - self._looked_s < ALIVE_S or self._policy is None
            return Page(HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, "alive\n" if alive else "stuck\n")
        if path == "/readyz":
            return Page(self._status(), f"{phase}\n" + "".join(f"{way.way}: {way.ready}\n" for way in self._ways))
        if path == "/metrics":
            return Page(HTTPStatus.OK, self._metrics.text(), CONTENT_TYPE)
        return None


def stages_of(repository: Path, ensemble: str) -> Sequence[str]:
    """The models that an ensemble of the repository runs, itself where it is one stage; none where it has no such
    ensemble. Raises: ServerError."""
    path = served_repository(repository).config(ensemble)
    if not path.is_file():
        return []
    return [step.model_name for step in read_config(path).ensemble_scheduling.step] or [ensemble]
