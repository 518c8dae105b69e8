"""Stage 3 of `antispoof` on a CPU: one step of EulerNet for one frame each of several sequences, in one batch.

The filters' state, which the TensorRT backend keeps as Triton's implicit state, is kept here by correlation id.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(str(Path(__file__).parent))
from engine import EngineSettings, make_engine
from gauge import open_sequences_gauge
from parameters import read_parameters
from sequences import SequenceLostError, SequenceStore

START, END = 1, 2  # TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, _END
OUTPUTS = ("LIVENESS", "LOCATION_MAP", "FRAME_COUNT")


@dataclass(frozen=True)
class Parameters(EngineSettings):
    """`parameters` of this model's configuration."""

    max_sequences: int = 1024
    max_idle_s: float = 60.0


class TritonPythonModel:
    """FACE uint8 (1, 256, 256, 3), STATUS int32 (1, 1) -> LIVENESS, LOCATION_MAP, FRAME_COUNT."""

    def initialize(self, args):
        """Called once by Triton."""
        parameters = read_parameters(args["model_config"], Parameters)
        self.engine = make_engine(Path(args["model_repository"]) / args["model_version"] / "model.onnx", parameters)
        self.state_names = sorted(name.removesuffix("_in") for name in self.engine.input_names if name.endswith("_in"))
        initial = tuple(self.engine.zeros(f"{name}_in") for name in self.state_names)
        self.states = SequenceStore(lambda: initial, parameters.max_sequences, parameters.max_idle_s)
        self.gauge_family, self.gauge = open_sequences_gauge(args["model_name"])

    def execute(self, requests):
        """One frame each of several sequences."""
        responses = [None] * len(requests)
        batch = []
        for i, request in enumerate(requests):
            try:
                batch.append((i, self.states.take(request.correlation_id(), bool(request.flags() & START))))
            except SequenceLostError as error:
                responses[i] = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        if batch:
            self._infer(requests, batch, responses)
        self.gauge.set(len(self.states))
        return responses

    def _infer(self, requests, batch, responses):
        inputs = {
            name: np.concatenate([pb_utils.get_input_tensor_by_name(requests[i], name).as_numpy() for i, _ in batch])
            for name in ("FACE", "STATUS")
        }
        for k, name in enumerate(self.state_names):
            inputs[f"{name}_in"] = np.concatenate([state[k] for _, state in batch])
        results = self.engine(inputs)
        for row, (i, _) in enumerate(batch):
            # Copies: a view would keep the whole batch alive for as long as one of its sequences lives.
            state = tuple(results[f"{name}_out"][row : row + 1].copy() for name in self.state_names)
            self.states.put(requests[i].correlation_id(), state, bool(requests[i].flags() & END))
            responses[i] = pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, np.ascontiguousarray(results[name][row : row + 1])) for name in OUTPUTS]
            )
