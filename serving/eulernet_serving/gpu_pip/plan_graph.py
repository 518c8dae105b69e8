# SPDX-License-Identifier: Apache-2.0
"""Runs a TensorRT plan through the Python bindings of TensorRT or of TensorRT for RTX, which have the same names."""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eulernet_serving.gpu_pip.torch_graph import TensorKind
from eulernet_serving.plan_records import RTX_BINDINGS, RTX_PREFIX, PlanRecord

TENSORRT = "tensorrt"


class PlanRunError(Exception):
    """A plan that can't be loaded or run here; the message gives the reason."""


def bindings_for(record: PlanRecord) -> Any:
    """The Python module whose runtime the plan needs. Raises: PlanRunError if it is missing or of another version."""
    name, wanted = (RTX_BINDINGS if record.for_rtx else TENSORRT), record.tensorrt.removeprefix(RTX_PREFIX)
    if find_spec(name) is None:
        raise PlanRunError(f"{name} {wanted} is not installed")
    module: Any = importlib.import_module(name)
    if module.__version__ != wanted:
        raise PlanRunError(f"the plan is of {name} {wanted}, {module.__version__} is installed")
    return module


class PlanGraph:
    """A plan in device memory; its plugin library, if it needs one, lies beside it.

    Args:
        plan: the file.
        record: the plan's record.
        plugins: the plugin library; None for a plan without plugins beside it.
        device: a GPU.
    Raises: PlanRunError.
    """

    def __init__(self, plan: Path, record: PlanRecord, plugins: Path | None, device: torch.device) -> None:
        trt = bindings_for(record)
        self._device, self._profiles = device, record.profiles
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        self._runtime.engine_host_code_allowed = record.plugin == "serialized"
        if record.plugin == "beside":
            if plugins is None or not plugins.is_file():
                raise PlanRunError(f"{plan.name} needs the plugin library, which is missing; make plugin builds it")
            self._runtime.get_plugin_registry().load_library(str(plugins.resolve()))
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise PlanRunError(f"{plan.name}: the runtime can't load it; its messages are above")
        self.inputs, self.outputs = _kinds(trt, self._engine)
        stream = torch.cuda.current_stream(device)
        self._contexts = []
        for index in range(self._engine.num_optimization_profiles):
            context = self._engine.create_execution_context()
            if context is None or not context.set_optimization_profile_async(index, stream.cuda_stream):
                raise PlanRunError(f"{plan.name}: no execution context for profile {index}")
            self._contexts.append(context)
        stream.synchronize()
        self._dims = trt.Dims

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch on torch's current stream, with the profile that is tuned for the nearest batch."""
        given = {name: inputs[name].contiguous() for name in self.inputs}
        count = len(next(iter(given.values())))
        context = self._contexts[profile_for(self._profiles, count)]
        made = {
            name: torch.empty((count, *kind.row), dtype=kind.dtype, device=self._device)
            for name, kind in self.outputs.items()
        }
        for name, tensor in given.items():
            if not context.set_input_shape(name, self._dims(list(tensor.shape))):
                raise PlanRunError(f"input {name} {tuple(tensor.shape)}: the plan takes no such shape")
        for name, tensor in (given | made).items():
            if not context.set_tensor_address(name, tensor.data_ptr()):
                raise PlanRunError(f"tensor {name}: TensorRT refuses its address")
        if not context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream):
            raise PlanRunError("TensorRT could not enqueue the plan; its messages are above")
        return made


def profile_for(profiles: Any, count: int) -> int:
    """Number of the profile, of those that take a batch of `count`, whose best batch is nearest: Triton's rule.

    Raises: PlanRunError if none takes it.
    """
    fitting = [index for index, each in enumerate(profiles) if each.least <= count <= each.most]
    if not fitting:
        raise PlanRunError(f"a batch of {count}: the plan takes at most {max(each.most for each in profiles)}")
    return min(fitting, key=lambda index: abs(profiles[index].best - count))


def _kinds(trt: Any, engine: Any) -> tuple[dict[str, TensorKind], dict[str, TensorKind]]:
    types = {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.INT32: torch.int32,
        trt.DataType.UINT8: torch.uint8,
    }
    inputs: dict[str, TensorKind] = {}
    outputs: dict[str, TensorKind] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name)
        if dtype not in types:
            raise PlanRunError(f"tensor {name}: type {dtype} is not served")
        shape = engine.get_tensor_shape(name)
        kind = TensorKind(tuple(shape[axis] for axis in range(1, len(shape))), types[dtype])
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs)[name] = kind
    return inputs, outputs
