# SPDX-License-Identifier: Apache-2.0
"""All calls into TensorRT's Python API (10.13 and newer, 11): parse, build, load. Importing it needs TensorRT.

Networks are strongly typed: the graph defines the precision of each tensor. TensorRT 11 supports no other kind.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import tensorrt as trt

from eulernet_build.plan_checks import NetworkDescription, NetworkTensor, PluginLayer, network_faults
from eulernet_core.whole_files import write_whole
from eulernet_serving.plan_records import Profile

GIB = 1 << 30
SEE_LOG = "see TensorRT's messages on standard error"


class BuildError(Exception):
    """TensorRT refused a graph, a plugin library or a plan, and logged the reason on standard error."""


@dataclass(frozen=True)
class BuildSettings:
    """`level`: effort of the search for tactics, 0 to 5; `tf32`: float32 layers multiply with 10-bit mantissas."""

    level: int = 5
    workspace_gib: float = 4.0
    tf32: bool = False


def version() -> str:
    """TensorRT's version, such as `10.13.3.9`."""
    return ".".join(trt.__version__.split(".")[:4])


class PlanBuilder:
    """Builds plans in this process. Loaded plugin libraries stay loaded.

    Args:
        settings: for all plans.
        cache: file of the timing cache, read if it exists and written after each build; None disables it.
    """

    def __init__(self, settings: BuildSettings, cache: Path | None = None) -> None:
        self._settings, self._cache = settings, cache
        self.logger = new_logger()
        self.network: NetworkDescription | None = None  # of the latest build
        self.profile_shapes: list[dict[str, list[list[int]]]] = []  # least, best and most of every input
        try:
            self._builder = trt.Builder(self.logger)
        except TypeError:  # pybind's error for a null pointer
            raise BuildError(f"TensorRT can't create a builder: {SEE_LOG}") from None

    def load_plugins(self, library: Path, creators: Iterable[tuple[str, str, str]]) -> None:
        """Loads a library that exports getCreators.

        Args:
            library: the shared library.
            creators: name, version and namespace of each creator that the library must register.
        Raises: BuildError.
        """
        registry = self._builder.get_plugin_registry()
        if not registry.load_library(str(library.resolve())):
            raise BuildError(f"{library}: TensorRT refuses this plugin library: {SEE_LOG}; build it with make plugin")
        for name, number, namespace in creators:
            if registry.get_creator(name, number, namespace) is None:
                raise BuildError(f"{library}: lacks the creator {namespace}::{name}, version {number}; run make plugin")

    def build(self, graph: bytes, profiles: Sequence[Profile], plugins: int, inside: Sequence[Path] = ()) -> bytes:
        """Builds one plan.

        Args:
            graph: the ONNX model.
            profiles: batch sizes; the first dimension of every input is the batch.
            plugins: number of the graph's nodes that must become plugin layers.
            inside: plugin libraries to serialize into the plan.
        Raises: BuildError.
        """
        network = self._parse(graph)
        self.network = described(network)
        if faults := network_faults(self.network, onnx.load_from_string(graph), plugins):
            raise BuildError(f"{'; '.join(faults)}: run make plugin")
        config = self._configured(inside)
        made = [self._profile(network, profile) for profile in profiles]
        for each in made:
            config.add_optimization_profile(each)
        names = [tensor.name for tensor in self.network.inputs]
        self.profile_shapes = [
            {name: [_sizes(dims) for dims in each.get_shape(name)] for name in names} for each in made
        ]
        cache = self._timing_cache(config) if self._cache is not None else None
        plan = self._builder.build_serialized_network(network, config)
        if plan is None:
            raise BuildError(f"TensorRT built no plan: {SEE_LOG}")
        if self._cache is not None and cache is not None:
            write_whole(self._cache, bytes(cache.serialize()))
        return bytes(plan)

    def _parse(self, graph: bytes) -> trt.INetworkDefinition:
        network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse(graph):
            errors = (parser.get_error(i) for i in range(parser.num_errors))
            reasons = [f"{error.node_operator()} {error.node_name()}: {error.desc()}" for error in errors]
            raise BuildError("TensorRT can't parse the graph: " + "; ".join(reasons))
        return network

    def _configured(self, inside: Sequence[Path]) -> trt.IBuilderConfig:
        config = self._builder.create_builder_config()
        config.builder_optimization_level = self._settings.level
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(self._settings.workspace_gib * GIB))
        if not self._settings.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if inside:
            config.plugins_to_serialize = [str(library) for library in inside]
        return config

    def _profile(self, network: trt.INetworkDefinition, profile: Profile) -> trt.IOptimizationProfile:
        made = self._builder.create_optimization_profile()
        for i in range(network.num_inputs):
            tensor = network.get_input(i)
            batch, *rest = shape = _sizes(tensor.shape)
            if batch != -1 or -1 in rest:
                raise BuildError(
                    f"input {tensor.name} {shape}: only the first dimension may be dynamic, and it must be"
                )
            sizes = (profile.least, profile.best, profile.most)
            least, best, most = (trt.Dims([size, *rest]) for size in sizes)
            made.set_shape(tensor.name, least, best, most)
        return made

    def _timing_cache(self, config: trt.IBuilderConfig) -> trt.ITimingCache:
        kept = self._cache.read_bytes() if self._cache is not None and self._cache.is_file() else b""
        cache = config.create_timing_cache(kept)
        if not config.set_timing_cache(cache, ignore_mismatch=False):
            # The file belongs to another GPU or another TensorRT: start an empty cache.
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        return cache


def described(network: trt.INetworkDefinition) -> NetworkDescription:
    """A network's inputs, outputs and plugin layers."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return NetworkDescription(
        inputs=tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs)),
        outputs=tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs)),
        plugins=tuple(
            PluginLayer(
                name=layer.name,
                inputs=tuple(_tensor(layer.get_input(i)) for i in range(layer.num_inputs)),
                outputs=tuple(_tensor(layer.get_output(i)) for i in range(layer.num_outputs)),
            )
            for layer in layers
            if layer.type == trt.LayerType.PLUGIN_V3
        ),
        layers=len(layers),
    )


def _tensor(tensor: trt.ITensor) -> NetworkTensor:
    try:
        return NetworkTensor(tensor.name, tuple(_sizes(tensor.shape)), tensor.dtype.name)
    except RuntimeError as error:  # a plugin that can't tell its output shapes
        raise BuildError(f"tensor {tensor.name}: {error}") from None


def load_plan(plan: bytes, logger: trt.Logger, library: Path | None, inside: bool) -> trt.ICudaEngine:
    """Loads a plan as a server does.

    Args:
        plan: for this GPU and this TensorRT.
        logger: must live as long as the engine.
        library: of the plugins that the plan needs; None if it needs none.
        inside: the plan contains the library.
    Raises: BuildError.
    """
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = inside
    if library is not None and not inside:
        runtime.get_plugin_registry().load_library(str(library.resolve()))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(f"TensorRT can't load the plan: {SEE_LOG}")
    return engine


def io_tensors(engine: trt.ICudaEngine) -> tuple[list[str], list[str]]:
    """Names of an engine's inputs, and of its outputs."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    return inputs, [name for name in names if name not in inputs]


def _sizes(dims: trt.Dims) -> list[int]:
    return [dims[i] for i in range(len(dims))]


def new_logger() -> trt.Logger:
    """A logger of warnings and errors on standard error."""
    return trt.Logger(trt.Logger.WARNING)


def context_for(
    engine: trt.ICudaEngine, profile: int, stream: int, shapes: Mapping[str, Sequence[int]]
) -> trt.IExecutionContext:
    """A context with one profile and the inputs' shapes set. Raises: BuildError if the profile excludes a shape."""
    context = engine.create_execution_context()
    context.set_optimization_profile_async(profile, stream)
    for name, shape in shapes.items():
        if not context.set_input_shape(name, trt.Dims(list(shape))):
            raise BuildError(f"input {name} {tuple(shape)}: profile {profile} excludes this shape: {SEE_LOG}")
    return context


def outputs_of(
    engine: trt.ICudaEngine, context: trt.IExecutionContext
) -> dict[str, tuple[list[int], type[np.generic]]]:
    """Shape and numpy type of every output, after the inputs' shapes were set."""
    _, outputs = io_tensors(engine)
    return {
        name: (_sizes(context.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name))) for name in outputs
    }


def bind(context: trt.IExecutionContext, addresses: Mapping[str, int]) -> None:
    """Sets the device addresses of a context's tensors. Raises: BuildError."""
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise BuildError(f"tensor {name}: TensorRT refuses its address: {SEE_LOG}")
