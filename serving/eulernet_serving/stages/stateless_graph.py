# SPDX-License-Identifier: Apache-2.0
"""Infers a graph without state: requests of any batch size each are inferred as one batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.runtime import RuntimeSettings, make_runtime
from eulernet_serving.stages.stage import Answer, Stage, asked, graph_path, read, respond


class StatelessGraph(Stage):
    """Serves `model.onnx` of the model's version; inputs and outputs as the graph names them, first dimension batch."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the graph."""
        self.runtime = make_runtime(graph_path(args), read_parameters(args["model_config"], RuntimeSettings))

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """Several requests, inferred as one batch."""
        inputs = {name: [read(request, name) for request in requests] for name in self.runtime.input_names}
        results = self.runtime({name: np.concatenate(arrays) for name, arrays in inputs.items()})
        counts = [len(array) for array in next(iter(inputs.values()))]
        rows = [slice(end - count, end) for end, count in zip(np.cumsum(counts), counts, strict=True)]
        parts = [{name: value[row] for name, value in results.items()} for row in rows]
        for request, part in zip(requests, parts, strict=True):
            self.inferred(request, part)
        return [Answer(respond(asked(request, part))) for request, part in zip(requests, parts, strict=True)]

    def inferred(self, request: Any, results: Mapping[str, NDArray[Any]]) -> None:
        """Called with the results of each request."""
