# SPDX-License-Identifier: Apache-2.0
"""The precision of the networks on a CPU: by the processor, the graphs at hand and their measured error, or as asked.

int8 is faster on processors with AVX2, and most with VNNI. Without VNNI a sum of two products has 16 bits: weights
above NARROW overflow it, and equal identities would give different scores. So such graphs run with VNNI only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a stage of the server loads prepared graphs, without the package onnx
    import onnx

AUTO, FP32, BF16, INT8 = "auto", "fp32", "bf16", "int8"
CPU_PRECISIONS = (AUTO, FP32, BF16, INT8)
GRAPH, INT8_GRAPH = "model.onnx", "model.int8.onnx"  # beside each other; `eulernet precision` measures the second
GOLDEN, INT8_GOLDEN = "golden.npz", "golden.int8.npz"  # inputs of a graph, and its outputs for them
ACER_CHANGE = "acer_change"  # property of an int8 graph: its ACER minus fp32's
MOST_ACER_LOSS = 0.005  # of an int8 variant that may replace fp32
# Processor features in Linux; one of them is enough.
VNNI = ("avx512_vnni", "avx_vnni")
NEEDED_FEATURES = {INT8: ("avx2", *VNNI), BF16: ("avx512_bf16", "amx_bf16")}
NARROW = 64  # the largest int8 weight with which 2 * 255 * weight fits into 16 bits
_RUNTIMES = {BF16: "openvino-bf16", INT8: "openvino"}
_RUNTIME_LINE = re.compile(r'(key: "runtime" value \{ string_value: ")([^"]+)(")')


class PrecisionError(ValueError):
    """A precision that is unknown, or that this processor or these graphs do not have."""


def processor_features() -> frozenset[str]:
    """The features of this processor, by their names in /proc/cpuinfo; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def processor_runs(precision: str) -> bool:
    """Whether this processor has the instructions of a precision."""
    needed = NEEDED_FEATURES.get(precision, ())
    return not needed or bool(processor_features() & set(needed))


def has_vnni() -> bool:
    """Whether this processor multiplies int8 without an intermediate sum of 16 bits."""
    return bool(processor_features() & set(VNNI))


def check_int8(widest_weight: int) -> None:
    """Raises: PrecisionError where this processor would compute other sums of a graph with such a weight."""
    check_processor(INT8)
    if widest_weight > NARROW and not has_vnni():
        raise PrecisionError(
            f"precision {INT8}: weights up to {widest_weight} need {' or '.join(VNNI)}, which this processor lacks; "
            "make the graph again with eulernet precision --install, or choose --precision fp32"
        )


def check_processor(precision: str) -> None:
    """Raises: PrecisionError where this processor lacks the instructions of a precision."""
    if not processor_runs(precision):
        needed = ", ".join(NEEDED_FEATURES[precision])
        raise PrecisionError(
            f"precision {precision}: this processor has none of {needed}; choose --precision fp32, and "
            "put a repository for another machine together there"
        )


def chosen_precision(repository: Path, models: Sequence[str], asked: str) -> str:
    """The precision to serve.

    Args:
        repository: the sources.
        models: the networks.
        asked: of CPU_PRECISIONS. `auto`: int8 where the graphs are there, their measured error is within
            MOST_ACER_LOSS and the processor can; else `auto`, which leaves the configuration as it is.
    Raises: PrecisionError.
    """
    if asked not in CPU_PRECISIONS:
        raise PrecisionError(f"precision {asked}: choose one of {', '.join(CPU_PRECISIONS)}")
    if asked == AUTO:
        try:
            for model in models:
                _check_loss(_int8_graph(repository, model))
        except PrecisionError:
            return AUTO
        return INT8
    check_processor(asked)
    if asked == INT8:
        for model in models:
            _int8_graph(repository, model)
    return asked


def apply_precision(repository: Path, configs: Mapping[str, Path], precision: str) -> None:
    """Puts the graphs and runtimes of a `chosen_precision` in place in an assembled repository.

    Args:
        repository: with the graphs.
        configs: the configuration that names the runtime, by the network's model.
        precision: as chosen.
    Raises: PrecisionError for a configuration without a runtime.
    """
    for model, config in configs.items():
        for name, served in ((INT8_GRAPH, GRAPH), (INT8_GOLDEN, GOLDEN)):
            int8 = repository / model / "1" / name
            if precision == INT8 and int8.is_file():
                int8.replace(int8.with_name(served))
            int8.unlink(missing_ok=True)
        text = config.read_text()
        found = _RUNTIME_LINE.search(text)
        if found is None:
            raise PrecisionError(f"{config}: has no parameter runtime; use the shipped configuration")
        runtime = _RUNTIMES.get(precision, found[2])
        if precision == FP32:
            runtime = runtime.removesuffix("-bf16")
        if runtime != found[2]:
            config.write_text(_RUNTIME_LINE.sub(rf"\g<1>{runtime}\g<3>", text))


def int8_name(graphs: Sequence[Path]) -> str:
    """`int8-1a2b3c4d`: two calibrations of the same weights are two precisions."""
    digest = hashlib.sha256()
    for path in graphs:
        digest.update(path.read_bytes())
    return f"{INT8}-{digest.hexdigest()[:8]}"


def _int8_graph(repository: Path, model: str) -> onnx.ModelProto:
    """Raises: PrecisionError if it is missing, of other weights, not int8, or not for this processor."""
    import onnx

    from eulernet_serving.plan_records import graph_properties, precision_of, widest_weight

    path = repository / model / "1" / INT8_GRAPH
    if not path.is_file():
        raise PrecisionError(f"{path}: missing; eulernet precision --install puts it there")
    graph = onnx.load(path)
    served = graph_properties(onnx.load(path.with_name(GRAPH)))
    if graph_properties(graph).get("parameters_sha256") != served.get("parameters_sha256"):
        raise PrecisionError(f"{path}: of other weights than {GRAPH}; make it again with eulernet precision --install")
    if precision_of(graph) != INT8:
        raise PrecisionError(f"{path}: does not quantize; make it again with eulernet precision --install")
    check_int8(widest_weight(graph))
    return graph


def _check_loss(graph: onnx.ModelProto) -> None:
    """Raises: PrecisionError if the measured error is unknown or too large."""
    from eulernet_serving.plan_records import graph_properties

    loss = graph_properties(graph).get(ACER_CHANGE, "")
    if not re.fullmatch(r"-?\d+(\.\d+)?", loss) or float(loss) > MOST_ACER_LOSS:
        raise PrecisionError(f"int8 changes ACER by {loss or 'an unknown amount'}, {MOST_ACER_LOSS} is the limit")
