# SPDX-License-Identifier: Apache-2.0
"""Infers the rows of a batch one by one, by as many threads as there are sessions of a graph.

A session's shapes are fixed, which makes OpenVINO faster, and it releases Python's global lock while it infers. So a
row's answer does not depend on its company, and no thread waits for another's part of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from eulernet_serving.prepared_graph import PreparedGraph, Tensor

# Infers one row, from its inputs into its outputs. Each session has memory of its own, for one thread.
Session = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]


class RowRuntime:
    """One graph, for one calling thread at a time.

    Args:
        prepared: what the sessions were made from.
        sessions: one for each thread that shares the rows of a batch.
    """

    def __init__(self, prepared: PreparedGraph, sessions: Sequence[Session]) -> None:
        self._prepared = prepared
        self.input_names = tuple(prepared.inputs)
        self._sessions = sessions
        self._pool = ThreadPoolExecutor(len(sessions))

    def zeros(self, name: str) -> Tensor:
        """An input's value before anything was seen, for a batch of one."""
        return self._prepared.inputs[name].zeros()

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""
        count = len(inputs[self.input_names[0]])
        outputs = {name: spec.zeros(count) for name, spec in self._prepared.outputs.items()}
        parts = [slice(row, row + 1) for row in range(count)]
        self._infer(
            [{name: inputs[name][part] for name in self.input_names} for part in parts],
            [{name: value[part] for name, value in outputs.items()} for part in parts],
        )
        return outputs

    def rows(self, rows: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Infers several batches of one. Returns the outputs of each, in separate memory."""
        outputs = [{name: spec.zeros() for name, spec in self._prepared.outputs.items()} for _ in rows]
        self._infer(rows, outputs)
        return outputs

    def _infer(self, inputs: Sequence[Mapping[str, Tensor]], outputs: Sequence[Mapping[str, Tensor]]) -> None:
        waiting = iter(zip(inputs, outputs, strict=True))

        def work(session: Session) -> None:
            while (row := next(waiting, None)) is not None:
                session(*row)

        sessions = self._sessions[: len(inputs)]
        if len(sessions) == 1:
            work(sessions[0])  # in this thread: what it has just cropped is in its core's cache
        else:
            list(self._pool.map(work, sessions))
