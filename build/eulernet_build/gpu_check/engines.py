# SPDX-License-Identifier: Apache-2.0
"""Builds plans of the served graphs, compares them with ONNX Runtime through polygraphy, and times them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from eulernet_build.engine import EngineError, Request, build_engine, require
from eulernet_build.engine_command import MODELS, golden_for, served_graph
from eulernet_build.gpu_check.judge import FAIL, PASS, SKIPPED, Row
from eulernet_build.gpu_check.kernel_speed import measure
from eulernet_build.parity import ParityError, TensorMap
from eulernet_serving.plan_records import TOLERANCES, PlanRecord
from eulernet_serving.triton_config import read_config

if TYPE_CHECKING:
    import tensorrt as trt


def check_engines(source: Path, out: Path, plugin: Path) -> Iterator[Row]:
    """Yields rows for each served model, or one `skipped` row without TensorRT.

    Args:
        source: the sources of the model repository.
        out: folder for the plans.
        plugin: the plugin library.
    """
    try:
        require()
    except EngineError as error:
        yield Row("engines", ", ".join(MODELS), SKIPPED, str(error), {})
        return
    from eulernet_build import tensorrt_api

    for model in MODELS:
        graph = served_graph(model, source, out)
        golden = golden_for(model, graph, None, source)
        max_batch = read_config(source / model / "config.pbtxt").max_batch_size
        request = Request(model=model, graph=graph, max_batch=max_batch, golden=golden, plugin=plugin)
        try:
            path, record = build_engine(request, out, tensorrt_api.BuildSettings())
        except (tensorrt_api.BuildError, ParityError) as error:
            yield Row("engines", model, FAIL, str(error), {})
            continue
        figure = f"built in {record.build_s:.0f} s, {record.difference:.1e} from the golden case"
        yield Row("engines", f"{model} built", PASS, figure, {"plan": str(path), "difference": record.difference})
        logger = tensorrt_api.new_logger()
        engine = tensorrt_api.load_plan(path.read_bytes(), logger, plugin, inside=False)
        yield compare(model, [onnxruntime_runner(graph), tensorrt_runner(engine)], golden.inputs, record.precision)
        yield from time_engine(model, engine, golden.inputs, record)


def onnxruntime_runner(graph: Path) -> Any:
    """polygraphy's runner of a graph on the CPU."""
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

    return OnnxrtRunner(SessionFromOnnx(onnx.load(graph).SerializeToString(), providers=["cpu"]), name="ONNX Runtime")


def tensorrt_runner(engine: "trt.ICudaEngine") -> Any:
    """polygraphy's runner of an engine, with the last profile, which supports every batch."""
    from polygraphy.backend.trt import TrtRunner

    return TrtRunner(engine, name="TensorRT", optimization_profile=engine.num_optimization_profiles - 1)


def compare(model: str, runners: Sequence[Any], inputs: TensorMap, precision: str) -> Row:
    """Compares the outputs of two runners through polygraphy."""
    from polygraphy.comparator import Comparator, SimpleCompareFunc

    tolerance = TOLERANCES[precision]
    results = Comparator.run(list(runners), data_loader=[dict(inputs)])
    func = SimpleCompareFunc(atol=tolerance, rtol=tolerance, check_error_stat="elemwise")
    same = bool(Comparator.compare_accuracy(results, compare_func=func))
    verdict = f"agree within {tolerance:g}" if same else f"differ by more than {tolerance:g}, see the log"
    figure = f"{' and '.join(runner.name for runner in runners)} {verdict}"
    return Row("engines", f"{model} by polygraphy", PASS if same else FAIL, figure, {"tolerance": tolerance})


def time_engine(model: str, engine: "trt.ICudaEngine", inputs: TensorMap, record: PlanRecord) -> Iterator[Row]:
    """Times a batch of one and a full batch, with inputs and outputs on the GPU."""
    for index, profile in enumerate(record.profiles):
        seconds = measure([execution(engine, inputs, index, profile.best)])
        figure = f"{seconds * 1e3:.3f} ms, {profile.best / seconds:.0f}/s"
        values = {"seconds": seconds, "batch": profile.best}
        yield Row("engines", f"{model} at batch {profile.best}", PASS, figure, values)


def execution(engine: "trt.ICudaEngine", inputs: TensorMap, profile: int, batch: int) -> Callable[[], object]:
    """Function that enqueues one batch on torch's current stream."""
    import numpy as np
    import torch

    from eulernet_build import tensorrt_api

    stream = torch.cuda.current_stream().cuda_stream
    buffers = {name: torch.from_numpy(value[np.arange(batch) % len(value)]).cuda() for name, value in inputs.items()}
    context = tensorrt_api.context_for(engine, profile, stream, {name: tuple(b.shape) for name, b in buffers.items()})
    for name, (shape, dtype) in tensorrt_api.outputs_of(engine, context).items():
        buffers[name] = torch.from_numpy(np.zeros(shape, dtype)).cuda()
    tensorrt_api.bind(context, {name: buffer.data_ptr() for name, buffer in buffers.items()})

    def call(kept: object = buffers) -> object:
        return context.execute_async_v3(stream)

    return call
