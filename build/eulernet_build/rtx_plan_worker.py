# SPDX-License-Identifier: Apache-2.0
"""The process that builds one plan with TensorRT for RTX: an `Order` on standard input, plan and report in two files.

Its Python bindings have the names of TensorRT's, so `tensorrt_api` makes its calls into whichever is imported first.
"""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eulernet_build.rtx_plan_order import BINDINGS, Order

if TYPE_CHECKING:
    from eulernet_build.tensorrt_api import PlanBuilder


def build(order: Order) -> "tuple[bytes, PlanBuilder]":
    """Builds the plan in this process. Raises: BuildError of `tensorrt_api`."""
    trt: Any = importlib.import_module(BINDINGS)
    sys.modules["tensorrt"] = trt
    from eulernet_build.tensorrt_api import BuildSettings, PlanBuilder

    class RtxPlanBuilder(PlanBuilder):
        """A builder for a GPU that this machine need not have. It has no timing cache: nothing is measured."""

        def _configured(self, inside: Any) -> Any:
            config: Any = super()._configured(inside)
            config.num_compute_capabilities = 1
            target = f"SM{order.capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
            return config

    builder = RtxPlanBuilder(BuildSettings(level=order.level, tf32=order.tf32))
    if order.library:
        builder.load_plugins(order.library, order.creators)
    inside = [order.library] if order.library and order.inside else []
    return builder.build(order.graph.read_bytes(), order.profiles, order.plugins, inside), builder


def main(arguments: list[str]) -> int:
    """Exit status: 0 built, 1 TensorRT refused; the reason is on standard error."""
    order = Order.from_json(sys.stdin.read())
    try:
        plan, builder = build(order)
    except Exception as error:
        if type(error).__name__ != "BuildError":  # the class can't be imported before the bindings are
            raise
        print(error, file=sys.stderr)
        return 1
    assert builder.network is not None
    report = {
        "version": sys.modules["tensorrt"].__version__,
        "network": asdict(builder.network),
        "profiles": builder.profile_shapes,
    }
    result, described = map(Path, arguments)
    result.write_bytes(plan)
    described.write_text(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
