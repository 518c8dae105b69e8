# SPDX-License-Identifier: Apache-2.0
"""Watches tritonserver and the processes of its Python stages: which died, and which were stopped."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

SERVER = "tritonserver"
STUB = "triton_python_backend_stub"
STOPPED_S = 1.0  # so long must a process be seen stopped; one stopped for 2 s under load takes the server down


@dataclass(frozen=True)
class Fault:
    """A process that died or was stopped. `process`: tritonserver or a model's name; `cause`: such as SIGKILL."""

    process: str
    pid: int
    kind: Literal["died", "stopped"]
    cause: str

    def __str__(self) -> str:
        return f"{self.process} (process {self.pid}) {self.kind}: {self.cause}"


@dataclass
class _Watched:
    name: str
    process: psutil.Process
    stopped_since_s: float | None = None


class ProcessWatch:
    """The processes of one run of the server.

    Args:
        pid: of tritonserver, a child of this process.
    """

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)
        self._watched = {pid: _Watched(SERVER, self._server)}

    def find_stages(self) -> Sequence[str]:
        """Adds the stages that have started since. Returns: the models of all watched stages."""
        with contextlib.suppress(psutil.Error):
            for child in self._server.children():
                with contextlib.suppress(psutil.Error):
                    if child.pid not in self._watched and (model := _model_of(child.cmdline())):
                        self._watched[child.pid] = _Watched(model, child)
        return sorted(each.name for each in self._watched.values() if each.name != SERVER)

    def faults(self, now_s: float) -> list[Fault]:
        """Processes that have died, and processes that have been stopped for STOPPED_S."""
        found = []
        for each in self._watched.values():
            state = _state(each.process)
            if state is None or state == psutil.STATUS_ZOMBIE:
                found.append(Fault(each.name, each.process.pid, "died", _cause(each.process.pid)))
                continue
            if state != psutil.STATUS_STOPPED:
                each.stopped_since_s = None
            elif each.stopped_since_s is None:
                each.stopped_since_s = now_s
            elif now_s - each.stopped_since_s >= STOPPED_S:
                found.append(Fault(each.name, each.process.pid, "stopped", "a signal such as SIGSTOP"))
        return found


def _state(process: psutil.Process) -> str | None:
    """psutil's name of a state; None where the process is gone."""
    try:
        return str(process.status()) if process.is_running() else None
    except psutil.Error:
        return None


def _model_of(command: Sequence[str]) -> str | None:
    """The model of a stage's process: it is started with the path of the model's code, MODEL/VERSION/model.py."""
    if not command or Path(command[0]).name != STUB:
        return None
    return next((Path(each).parents[1].name for each in command if each.endswith(".py")), None)


def _cause(pid: int) -> str:
    """What ended a process that its parent has not waited for yet: the signal or the exit status."""
    try:
        code = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[-1])
    except (OSError, ValueError, IndexError):
        return "cause unknown"
    if os.WIFSIGNALED(code):
        return signal.Signals(os.WTERMSIG(code)).name
    return f"exit status {os.WEXITSTATUS(code)}"


def reap_orphans(own: set[int]) -> None:
    """Waits for children that nobody waits for: a container's first process inherits them.

    Args:
        own: processes that other code waits for.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, 0)
