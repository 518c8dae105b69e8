# SPDX-License-Identifier: Apache-2.0
"""A network's forward and backward pass as CUDA graphs: one launch instead of one per kernel."""

import torch
from torch import Tensor, nn

from eulernet.network import EulerNet


class Logits(nn.Module):
    """`EulerNet.logits` as a module, under autocast to `dtype`; None turns autocast off."""

    def __init__(self, network: EulerNet, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, pictures: Tensor, before: int = 0) -> Tensor:
        # Each weight is used once, so a cache of casts would save nothing, and it would outlive the CUDA graph.
        on, dtype = self.dtype is not None, self.dtype or torch.bfloat16
        with torch.autocast(pictures.device.type, dtype, enabled=on, cache_enabled=False):
            return self.network.logits(pictures, before)


class GraphedLogits:
    """`Logits` for training on a GPU, captured at the first call; batches of another shape run without a graph.

    So do batches with frames before.

    On an H100, launching the kernels of a step on windows of 96 px takes several times as long as running them: a step
    of 28 windows takes 6.7 ms with a graph and 22.2 without, one of 56 windows 10.1 and 21.0 (torch 2.11, all cores
    busy rendering).
    """

    def __init__(self, plain: Logits) -> None:
        self._plain = plain
        self._graphed: Logits | None = None
        self._shape: torch.Size | None = None

    def __call__(self, pictures: Tensor, before: int = 0) -> Tensor:
        """As `EulerNet.logits`; pictures on the GPU."""
        if before:
            unseen: Tensor = self._plain(pictures, before)
            return unseen
        if self._graphed is None:
            self._shape, self._graphed = pictures.shape, self._capture(pictures)
        chosen = self._graphed if pictures.shape == self._shape else self._plain
        logits: Tensor = chosen(pictures)
        return logits

    def _capture(self, pictures: Tensor) -> Logits:
        # Capturing runs the network a few times; the statistics of its normalisations must not change.
        before = {name: buffer.clone() for name, buffer in self._plain.named_buffers()}
        graphed = Logits(self._plain.network, self._plain.dtype)
        # The gradients of a graph are computed on its capture stream; that is intended, and a test checks the result.
        quiet = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
        if quiet is not None:  # older versions of torch do not warn
            quiet(False)
        torch.cuda.make_graphed_callables(graphed, (pictures.clone(),))  # modifies the module in place
        with torch.no_grad():
            for name, buffer in self._plain.named_buffers():
                buffer.copy_(before[name])
        return graphed
