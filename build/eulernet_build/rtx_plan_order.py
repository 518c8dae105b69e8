# SPDX-License-Identifier: Apache-2.0
"""Orders a plan from TensorRT for RTX, which needs no GPU to build one: its builder runs in a process of its own.

The process needs the library's plain name on LD_LIBRARY_PATH, because the parser opens it by that name when it imports
a plugin; and a crash in a plugin ends that process only.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eulernet_build.plan_checks import NetworkDescription, NetworkTensor, PluginLayer, plan_faults
from eulernet_serving.plan_records import RTX_BINDINGS, Profile

BINDINGS = RTX_BINDINGS
LIBRARIES = "tensorrt_rtx_libs"  # beside the bindings
PLAIN_NAME = "libtensorrt_rtx.so"
WORKER = "eulernet_build.rtx_plan_worker"
REQUIREMENTS = ("tensorrt-rtx-cu13-bindings==1.7.1.116", "tensorrt-rtx-cu13-libs==1.7.1.116")
# Compute capabilities of the GPUs that it builds plans for: GeForce and RTX from Turing to Blackwell, not H100 or B200.
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
TIMEOUT_S = 1800.0


class RtxError(Exception):
    """TensorRT for RTX is missing, or built no plan; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class Order:
    """One plan.

    Attributes:
        graph: ONNX file.
        capability: compute capability of the GPU, one of `CAPABILITIES`.
        profiles: batch sizes.
        plugins: number of the graph's nodes that must become plugin layers.
        library: the plugin library; None for a network without plugins.
        creators: name, version and namespace of each creator that the library must register.
        inside: serialize the library into the plan.
        level: effort of the search for tactics, 0 to 5.
        tf32: float32 layers multiply with 10-bit mantissas.
    """

    graph: Path
    capability: str
    profiles: tuple[Profile, ...]
    plugins: int = 0
    library: Path | None = None
    creators: tuple[tuple[str, str, str], ...] = ()
    inside: bool = False
    level: int = 3
    tf32: bool = False

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Order":
        """Reads the text of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        values["graph"] = Path(values["graph"])
        values["library"] = Path(values["library"]) if values["library"] else None
        values["profiles"] = tuple(Profile(**each) for each in values["profiles"])
        values["creators"] = tuple((name, version, space) for name, version, space in values["creators"])
        return cls(**{field.name: values[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class RtxPlan:
    """A plan, the version of the TensorRT for RTX that built it, the parsed network, the builder's messages.

    `profiles`: smallest, best and largest shape of every input, for each optimization profile.
    """

    plan: bytes
    version: str
    network: NetworkDescription
    profiles: tuple[dict[str, tuple[tuple[int, ...], ...]], ...]
    messages: str


def find_packages() -> Path | None:
    """The folder with the installed packages of TensorRT for RTX, or None."""
    spec = find_spec(BINDINGS)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parents[1]
    return folder if (folder / LIBRARIES).is_dir() else None


def build_rtx_plan(order: Order, packages: Path | None = None, environment: Mapping[str, str] | None = None) -> RtxPlan:
    """Builds a plan in a process of its own.

    Args:
        order: the plan.
        packages: folder of TensorRT for RTX; by default the installed one.
        environment: additional variables of the process.
    Raises: RtxError if the packages are missing, the builder refuses or crashes, or the plan lacks a plugin's fields.
    """
    packages = packages or find_packages()
    if packages is None:
        raise RtxError(f"TensorRT for RTX is not installed: pip install --no-deps {' '.join(REQUIREMENTS)}")
    if order.capability not in CAPABILITIES:
        raise RtxError(f"compute capability {order.capability}: builds only for {', '.join(CAPABILITIES)}")
    with tempfile.TemporaryDirectory(prefix="eulernet-rtx-") as scratch:
        folder = Path(scratch)
        (folder / PLAIN_NAME).symlink_to(_library(packages))
        paths = {"LD_LIBRARY_PATH": [scratch], "PYTHONPATH": [str(packages)]}
        joined = {name: ":".join([*first, *filter(None, [os.environ.get(name)])]) for name, first in paths.items()}
        result, report = folder / "plan", folder / "report.json"
        command = [sys.executable, "-m", WORKER, str(result), str(report)]
        done = subprocess.run(
            command,
            input=order.to_json(),
            env={**os.environ, **joined, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RtxError(_reason(done.returncode, done.stdout + done.stderr))
        plan = result.read_bytes()
        if faults := plan_faults(plan, order.plugins):
            raise RtxError("; ".join(faults))
        return _read_report(plan, json.loads(report.read_text()), done.stdout + done.stderr)


def _library(packages: Path) -> Path:
    found = sorted((packages / LIBRARIES).glob(f"{PLAIN_NAME}.*"))
    if not found:
        raise RtxError(f"{packages / LIBRARIES}: no {PLAIN_NAME}; pip install --no-deps {' '.join(REQUIREMENTS)}")
    return found[0]


def _reason(status: int, messages: str) -> str:
    said = messages.strip() or "no message"
    if status < 0:
        return f"the builder ended with signal {-status}, probably in a plugin library: {said}"
    return said


def _read_report(plan: bytes, report: dict[str, Any], messages: str) -> RtxPlan:
    network = report["network"]
    plugins = (
        PluginLayer(each["name"], _tensors(each["inputs"]), _tensors(each["outputs"])) for each in network["plugins"]
    )
    return RtxPlan(
        plan=plan,
        version=report["version"],
        network=NetworkDescription(
            _tensors(network["inputs"]), _tensors(network["outputs"]), tuple(plugins), network["layers"]
        ),
        profiles=tuple(
            {name: tuple(map(tuple, shapes)) for name, shapes in profile.items()} for profile in report["profiles"]
        ),
        messages=messages,
    )


def _tensors(values: Sequence[dict[str, Any]]) -> tuple[NetworkTensor, ...]:
    return tuple(NetworkTensor(each["name"], tuple(each["shape"]), each["dtype"]) for each in values)
