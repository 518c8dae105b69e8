"""FCAM, the feature-compressed attention module of EulerNet (SEKE 2022 slides): change gates the features."""

import torch
from torch import Tensor, nn

from eulernet.diirf import DIIRF


class FCAM(nn.Module):
    """Attention that follows what changes between frames.

    The slides state: features compressed over the channels, a DIIRF, and the sigmoid of it multiplied back onto the
    input. Declared choices: the compression is a 1x1 convolution to K maps, and map k gates the k-th run of C / K
    consecutive channels, so K = 1 is one spatial map for all. Every pixel depends on itself alone, so one kernel can
    do all of it in one pass over memory.
    """

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        if channels % maps:
            raise ValueError(f"FCAM: {channels} channels over {maps} maps leave a rest; use a divisor of {channels}")
        self.channels = channels
        self.maps = maps
        self.compress = nn.Conv2d(channels, maps, kernel_size=1, bias=False)
        self.filter = DIIRF(maps)

    def forward(
        self, x: Tensor, h1: Tensor, h2: Tensor, usable: Tensor | None = None, restart: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gate the features of N sequences of T frames.

        Args:
            x: float (N * T, C, H, W), frames of a sequence next to each other.
            h1, h2: float (N, K, H, W), filter state before the first frame.
            usable: bool (N, T); a False frame leaves the state as it was. None: all are.
            restart: bool (N, T); a True frame is filtered from zero state. None: none is.

        Returns:
            The gated features (N * T, C, H, W), and h1, h2 after the last frame (N, K, H, W).
        """
        n, (k, height, width) = h1.shape[0], h1.shape[1:]
        compressed = self.compress(x).reshape(n, -1, k, height, width)
        if usable is None or restart is None:
            y, h1, h2 = self.filter(compressed, h1, h2)
        else:
            y, h1, h2 = self._filter_by_status(compressed, h1, h2, usable, restart)
        # The filter is float32 under autocast too: without the cast the product and its gradient were, 6 % of a step.
        gate = torch.sigmoid(y.reshape(-1, k, height, width)).to(x.dtype)
        return x * gate.repeat_interleave(self.channels // k, dim=1), h1, h2

    def _filter_by_status(
        self, x: Tensor, h1: Tensor, h2: Tensor, usable: Tensor, restart: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Frame by frame with T = 1: where the state is held or dropped differs from row to row of a batch.
        outputs = []
        for t in range(x.shape[1]):
            use, again = usable[:, t, None, None, None], restart[:, t, None, None, None]
            y, new1, new2 = self.filter(x[:, t : t + 1], torch.where(again, 0.0, h1), torch.where(again, 0.0, h2))
            h1, h2 = torch.where(use, new1, h1), torch.where(use, new2, h2)
            outputs.append(y)
        return torch.cat(outputs, dim=1), h1, h2
