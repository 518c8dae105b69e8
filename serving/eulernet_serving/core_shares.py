# SPDX-License-Identifier: Apache-2.0
"""How many threads each stage uses on N cores: the one place where that is decided.

A stage's parameter `threads` wins over it. The networks may use all cores, since they take most of a frame's time.
Decoding and resizing may too: of large pictures they take longer than the network. The face detector takes less: it
runs for each 10th frame of a stream.
Libraries beside these (OpenCV's own pool, OpenMP, OpenBLAS) get one thread, so that none waits for another's.
"""

from __future__ import annotations

import os

LIBRARY_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
OPENCV_THREADS = 1  # calls release Python's global lock, so a stage's own threads run them side by side
DETECTOR_THREADS = 1
MOST_INSTANCES = 8  # of a stage that does everything: each has its own copy of the networks


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def network_threads(asked: int = 0) -> int:
    """Threads that infer a network's batch. `asked`: the stage's parameter, 0 for all cores."""
    return asked or cores()


def decoder_threads(asked: int = 0) -> int:
    """Threads that decode and resize a batch's frames. `asked`: the stage's parameter, 0 for all cores."""
    return asked or cores()


def one_stage_instances(on_cores: int = 0) -> int:
    """Instances of a stage that does everything, with one thread each: none waits for another's part of a batch.

    `on_cores`: of the machine that serves; 0: this process's.
    """
    return min(on_cores or cores(), MOST_INSTANCES)


def instance_threads(instances: int, asked: int = 0) -> int:
    """Threads of one of a stage's instances that do everything. `asked`: the stage's parameter, 0 for its share."""
    return asked or max(1, cores() // instances)
