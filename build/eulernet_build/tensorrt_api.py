"""Every call into TensorRT's Python API, 10.13 and newer and 11: parse, build, load. Import it only where TensorRT is.

Networks are strongly typed, so that a tensor's precision is what the graph says: TensorRT 11 knows no other way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorrt as trt

from eulernet_build.plans import Profile

GIB = 1 << 30
SEE_LOG = "TensorRT's own messages are on standard error"


class BuildError(Exception):
    """TensorRT refused a graph, a plugin library or a plan; what it has to say itself is on standard error."""


@dataclass(frozen=True)
class BuildSettings:
    """`level`: of tactics tried, 0 to 5; `tf32`: 10-bit multiplications in float32 layers, faster and less exact."""

    level: int = 5
    workspace_gib: float = 4.0
    tf32: bool = False


def version() -> str:
    """Such as 10.13.3.9."""
    return ".".join(trt.__version__.split(".")[:4])


class PlanBuilder:
    """Builds plans of one process; plugin libraries once loaded stay loaded.

    Args:
        settings: for all plans.
        cache: file of the timing cache, read if there and written after each build; None for none.
    """

    def __init__(self, settings: BuildSettings, cache: Path | None = None) -> None:
        self._settings, self._cache = settings, cache
        self.logger = new_logger()
        try:
            self._builder = trt.Builder(self.logger)
        except TypeError:  # pybind's word for a null pointer
            raise BuildError(f"TensorRT's builder can't be made: {SEE_LOG}") from None

    def load_plugins(self, library: Path, creators: Iterable[tuple[str, str, str]]) -> None:
        """Loads a library that exports getCreators.

        Args:
            library: the shared library.
            creators: name, version and namespace of each creator that must be there afterwards.
        Raises: BuildError.
        """
        registry = self._builder.get_plugin_registry()
        if not registry.load_library(str(library)):
            raise BuildError(f"{library}: not taken as a plugin library: {SEE_LOG}; build it with make plugin")
        for name, number, namespace in creators:
            if registry.get_creator(name, number, namespace) is None:
                raise BuildError(f"{library}: brings no creator of {namespace}::{name}, version {number}; make plugin")

    def build(self, graph: bytes, profiles: Sequence[Profile], plugins: int, inside: Sequence[Path] = ()) -> bytes:
        """Builds one plan.

        Args:
            graph: the ONNX model.
            profiles: batch sizes; the first dimension of every input is the batch.
            plugins: how many of the graph's nodes a plugin must have taken.
            inside: plugin libraries to serialize into the plan.
        Raises: BuildError.
        """
        network = self._parse(graph)
        layers = (network.get_layer(i) for i in range(network.num_layers))
        taken = sum(layer.type == trt.LayerType.PLUGIN_V3 for layer in layers)
        if taken != plugins:
            raise BuildError(
                f"{taken} of {plugins} nodes were taken by the plugin, the rest by their bodies: make plugin"
            )
        config = self._configured(inside)
        for profile in profiles:
            config.add_optimization_profile(self._profile(network, profile))
        cache = self._timing_cache(config)
        plan = self._builder.build_serialized_network(network, config)
        if plan is None:
            raise BuildError(f"no plan came of it: {SEE_LOG}")
        if self._cache is not None:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            self._cache.write_bytes(bytes(cache.serialize()))
        return bytes(plan)

    def _parse(self, graph: bytes) -> trt.INetworkDefinition:
        network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse(graph):
            errors = (parser.get_error(i) for i in range(parser.num_errors))
            reasons = [f"{error.node_operator()} {error.node_name()}: {error.desc()}" for error in errors]
            raise BuildError("the graph can't be parsed: " + "; ".join(reasons))
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
                raise BuildError(f"input {tensor.name} {shape}: the first dimension must be free, and no other")
            sizes = (profile.least, profile.best, profile.most)
            least, best, most = (trt.Dims([size, *rest]) for size in sizes)
            made.set_shape(tensor.name, least, best, most)
        return made

    def _timing_cache(self, config: trt.IBuilderConfig) -> trt.ITimingCache:
        kept = self._cache.read_bytes() if self._cache is not None and self._cache.is_file() else b""
        cache = config.create_timing_cache(kept)
        if not config.set_timing_cache(cache, ignore_mismatch=False):
            # Another GPU's, or another TensorRT's: of no use, and no reason to stop.
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        return cache


def load_plan(plan: bytes, logger: trt.Logger, library: Path | None, inside: bool) -> trt.ICudaEngine:
    """A plan made ready to run, as a server would load it.

    Args:
        plan: of this GPU and this TensorRT.
        logger: must live as long as the engine.
        library: of the plugins that the plan needs; None where it needs none.
        inside: the library is in the plan and is run from there.
    Raises: BuildError.
    """
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = inside
    if library is not None and not inside:
        runtime.get_plugin_registry().load_library(str(library))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(f"the plan can't be loaded: {SEE_LOG}")
    return engine


def io_tensors(engine: trt.ICudaEngine) -> tuple[list[str], list[str]]:
    """Names of an engine's inputs and of its outputs."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    return inputs, [name for name in names if name not in inputs]


def _sizes(dims: trt.Dims) -> list[int]:
    return [dims[i] for i in range(len(dims))]


def new_logger() -> trt.Logger:
    """Warnings and errors to standard error."""
    return trt.Logger(trt.Logger.WARNING)


def context_for(
    engine: trt.ICudaEngine, profile: int, stream: int, shapes: Mapping[str, Sequence[int]]
) -> trt.IExecutionContext:
    """A context under one profile with the inputs' shapes set. Raises: BuildError where they do not fit."""
    context = engine.create_execution_context()
    context.set_optimization_profile_async(profile, stream)
    for name, shape in shapes.items():
        if not context.set_input_shape(name, trt.Dims(list(shape))):
            raise BuildError(f"input {name} {tuple(shape)}: not taken under profile {profile}: {SEE_LOG}")
    return context


def outputs_of(
    engine: trt.ICudaEngine, context: trt.IExecutionContext
) -> dict[str, tuple[list[int], type[np.generic]]]:
    """Shape and numpy type of every output, once the inputs' shapes are set."""
    _, outputs = io_tensors(engine)
    return {
        name: (_sizes(context.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name))) for name in outputs
    }


def bind(context: trt.IExecutionContext, addresses: Mapping[str, int]) -> None:
    """Tells a context where its tensors lie on the device. Raises: BuildError."""
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise BuildError(f"tensor {name}: its address is not taken: {SEE_LOG}")
