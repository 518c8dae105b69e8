# SPDX-License-Identifier: Apache-2.0
"""Published error rates on OULU-NPU, from the slides of EulerNet."""

from dataclasses import dataclass

SOURCE = (
    "Cong, Zhang, He, Gao: Multi-Frames Temporal Abnormal Clues Learning Method for Face Anti-Spoofing, SEKE 2022, "
    'slide "Comparison on OULU-NPU"'
)
OURS = "EulerNet"


@dataclass(frozen=True)
class Rate:
    """A percentage, and for protocols 3 and 4 the value after ±, a spread that the slides do not define."""

    percent: float
    spread: float | None = None


@dataclass(frozen=True)
class Published:
    """A row of the slides' table."""

    protocol: int
    method: str
    apcer: Rate
    bpcer: Rate
    acer: Rate


def _row(protocol: int, method: str, *percents: float) -> Published:
    """Three percentages, or three pairs of a percentage and its spread."""
    if len(percents) == 3:
        return Published(protocol, method, *(Rate(percent) for percent in percents))
    pairs = zip(percents[::2], percents[1::2], strict=True)
    return Published(protocol, method, *(Rate(percent, spread) for percent, spread in pairs))


PUBLISHED = (
    _row(1, "Disentangled", 1.7, 0.8, 1.3),
    _row(1, "FAS-SGTD", 2.0, 0.0, 1.0),
    _row(1, "DeepPixBiS", 0.8, 0.0, 0.4),
    _row(1, "CDCN", 0.4, 1.7, 1.0),
    _row(1, OURS, 0.4, 3.3, 1.9),
    _row(2, "DeepPixBiS", 11.4, 0.6, 6.0),
    _row(2, "Disentangled", 1.1, 3.6, 2.4),
    _row(2, "FAS-SGTD", 2.5, 1.3, 1.9),
    _row(2, "CDCN", 1.5, 1.4, 1.5),
    _row(2, OURS, 2.1, 1.4, 1.7),
    _row(3, "DeepPixBiS", 11.7, 19.6, 10.6, 14.1, 11.1, 9.4),
    _row(3, "FAS-SGTD", 3.2, 2.0, 2.2, 1.4, 2.7, 0.6),
    _row(3, "CDCN", 2.4, 1.3, 2.2, 2.0, 2.3, 1.4),
    _row(3, "Disentangled", 2.8, 2.2, 1.7, 2.6, 2.2, 2.2),
    _row(3, OURS, 2.6, 1.3, 1.6, 0.8, 2.1, 0.5),
    _row(4, "DeepPixBiS", 36.7, 29.7, 13.3, 14.1, 25.0, 12.7),
    _row(4, "CDCN", 4.6, 4.6, 9.2, 8.0, 6.9, 2.9),
    _row(4, "FAS-SGTD", 6.7, 7.5, 3.3, 4.1, 5.0, 2.2),
    _row(4, "Disentangled", 5.4, 2.9, 3.3, 6.0, 4.4, 3.0),
    _row(4, OURS, 1.8, 1.9, 4.3, 2.4, 3.1, 0.9),
)


def published(protocol: int) -> tuple[Published, ...]:
    """The slides' rows of one protocol."""
    return tuple(row for row in PUBLISHED if row.protocol == protocol)
