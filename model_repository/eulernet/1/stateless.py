"""A Triton model that infers a graph and keeps nothing: requests of any batch size each go as one batch."""

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(str(Path(__file__).parent))
from engine import EngineSettings, make_engine
from parameters import read_parameters


class StatelessModel:
    """Serves `model.onnx` of the model's version; inputs and outputs as the graph names them, first dimension batch."""

    def initialize(self, args):
        """Called once by Triton."""
        graph = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.engine = make_engine(graph, read_parameters(args["model_config"], EngineSettings))

    def execute(self, requests):
        """Several requests, inferred as one batch."""
        inputs = {
            name: [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self.engine.input_names
        }
        results = self.engine({name: np.concatenate(arrays) for name, arrays in inputs.items()})
        ends = np.cumsum([len(array) for array in next(iter(inputs.values()))])
        rows = [slice(end - len(array), end) for end, array in zip(ends, next(iter(inputs.values())), strict=True)]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, np.ascontiguousarray(value[row])) for name, value in results.items()]
            )
            for row in rows
        ]
