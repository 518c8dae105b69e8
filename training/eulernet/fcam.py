# SPDX-License-Identifier: Apache-2.0
"""FCAM, the feature-compressed attention module of EulerNet (SEKE 2022 slides): changes gate the features."""

import torch
from torch import Tensor, nn

from eulernet.diirf import DIIRF, POLE_RADIUS, started


class FCAM(nn.Module):
    """Attention to changes between frames.

    The slides state: features compressed over the channels, a DIIRF, and its sigmoid multiplied with the input.
    Declared choices: the compression is a 1x1 convolution to K maps, and map k gates the k-th group of C / K
    consecutive channels, so K = 1 is one spatial map for all channels. The pixels are independent, so one kernel can do
    all of it in one pass over memory.
    """

    def __init__(self, channels: int, maps: int, differential: bool = False, pole_radius: float = POLE_RADIUS) -> None:
        super().__init__()
        if channels % maps:
            raise ValueError(
                f"FCAM: {channels} channels over {maps} maps are not divisible; use a divisor of {channels}"
            )
        self.channels = channels
        self.maps = maps
        self.compress = nn.Conv2d(channels, maps, kernel_size=1, bias=False)
        self.filter = DIIRF(maps, differential=differential, pole_radius=pole_radius)

    def forward(
        self, x: Tensor, h1: Tensor, h2: Tensor, usable: Tensor | None = None, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gate the features of N sequences of T frames.

        Args:
            x: float (N * T, C, H, W), frames of a sequence next to each other.
            h1, h2: float (N, K, H, W), filter state before the first frame.
            usable: bool (N, T); a False frame does not enter the state. None: all frames are usable.
            start: bool (N, T); at a True frame a sequence starts: the state before it comes from the frame itself, by
                `DIIRF.start`. None: at the first frame, so that h1 and h2 are not used.

        Returns:
            The gated features (N * T, C, H, W), the filtered maps (N * T, K, H, W), and h1, h2 after the last frame
            (N, K, H, W).
        """
        n, (k, height, width) = h1.shape[0], h1.shape[1:]
        compressed = self.compress(x).reshape(n, -1, k, height, width)
        if usable is None or start is None:
            h1, h2 = started(compressed[:, 0].to(h1.dtype), self.filter.start())
            y, h1, h2 = self.filter(compressed, h1, h2)
        else:
            y, h1, h2 = self._filter_by_status(compressed, h1, h2, usable, start)
        y = y.reshape(-1, k, height, width)
        # The filter is float32 under autocast too. Without the cast the product and its gradient are float32 as well,
        # which costs 6 % of a training step.
        gate = torch.sigmoid(y).to(x.dtype)
        return x * gate.repeat_interleave(self.channels // k, dim=1), y, h1, h2

    def _filter_by_status(
        self, x: Tensor, h1: Tensor, h2: Tensor, usable: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Frame by frame with T = 1, because each row of a batch keeps or drops its state at other frames.
        outputs = []
        for t in range(x.shape[1]):
            use, begin = usable[:, t, None, None, None], start[:, t, None, None, None]
            first1, first2 = started(x[:, t], self.filter.start())
            h1, h2 = torch.where(begin, first1, h1), torch.where(begin, first2, h2)
            y, new1, new2 = self.filter(x[:, t : t + 1], h1, h2)
            h1, h2 = torch.where(use, new1, h1), torch.where(use, new2, h2)
            outputs.append(y)
        return torch.cat(outputs, dim=1), h1, h2
