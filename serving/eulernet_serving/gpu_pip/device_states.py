# SPDX-License-Identifier: Apache-2.0
"""The filters' state of many streams in device memory: one table a state tensor, one row a stream.

A stream's state is a `Slot`, which `SequenceStore` keeps by correlation id within its bounds of number and age. When
the store drops a slot, its row is free again. A step reads the rows of the old slots and writes new ones, so that a
batch that fails leaves every stream as it was.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eulernet_core.tensors import STATE_INPUT_SUFFIX, STATE_OUTPUT_SUFFIX
from eulernet_serving.gpu_pip.torch_graph import TensorKind

START_ROW, SPARE_ROW = 0, 1  # the state before a stream's first frame, never written; and where padding writes
FIRST_ROW = 2


class Slot:
    """A row of the tables, taken until this object is dropped."""

    def __init__(self, row: int, free: "deque[int] | None") -> None:
        self.row, self._free = row, free

    def __del__(self) -> None:
        if self._free is not None:
            self._free.append(self.row)


@dataclass(frozen=True)
class DeviceStates:
    """The tables.

    Attributes:
        tables: by the state's name (`s0`, …), (rows, …) each, in device memory.
        free: rows that no slot holds; its operations are atomic, since a store drops slots in any thread.
    """

    tables: Mapping[str, Tensor]
    free: "deque[int]"

    @classmethod
    def of(cls, inputs: Mapping[str, TensorKind], streams: int, batch: int, device: torch.device) -> "DeviceStates":
        """Tables for the state inputs of a graph.

        Args:
            inputs: all inputs of the graph.
            streams: the most with a state.
            batch: the most that one step advances, which need a second row meanwhile.
            device: of the tables.
        """
        rows = FIRST_ROW + streams + batch
        states = {n.removesuffix(STATE_INPUT_SUFFIX): k for n, k in inputs.items() if n.endswith(STATE_INPUT_SUFFIX)}
        tables = {name: torch.zeros((rows, *k.row), dtype=k.dtype, device=device) for name, k in states.items()}
        return cls(tables, deque(range(FIRST_ROW, rows)))

    @property
    def start(self) -> Slot:
        """The state before a stream's first frame."""
        return Slot(START_ROW, None)

    def take(self) -> Slot:
        """A free row. Raises: RuntimeError if there is none, which the store's bound prevents."""
        try:
            return Slot(self.free.popleft(), self.free)
        except IndexError:
            raise RuntimeError("no free row for a stream's state; end some streams") from None

    def read(self, rows: Tensor) -> dict[str, Tensor]:
        """The graph's state inputs for rows int64 (n,) on the device."""
        return {name + STATE_INPUT_SUFFIX: table.index_select(0, rows) for name, table in self.tables.items()}

    def write(self, rows: Tensor, results: Mapping[str, Tensor]) -> None:
        """Stores the graph's state outputs in rows int64 (n,) on the device."""
        for name, table in self.tables.items():
            table.index_copy_(0, rows, results[name + STATE_OUTPUT_SUFFIX])

    def bytes_per_stream(self) -> int:
        """Device memory of one row."""
        return sum(table[0].numel() * table.element_size() for table in self.tables.values())


def rows_of(slots: Sequence[Slot], device: torch.device) -> Tensor:
    """int64 (n,) on the device."""
    return torch.tensor([slot.row for slot in slots], dtype=torch.int64, device=device)
