# SPDX-License-Identifier: Apache-2.0
"""NAL units of H.264 (ITU-T H.264, 7.3 and 7.4): pictures that no other picture refers to, and the order of storage."""

from __future__ import annotations

from collections.abc import Iterator

_START = b"\0\0\1"  # before each unit where packets have no lengths (annex B)
_SLICES = frozenset({1, 2, 3, 4})  # of pictures that are no IDR pictures; 2 to 4 are partitions
_NO_PICTURE = frozenset({6, 9, 12})  # supplemental information, delimiter, filler
_PARAMETERS = 7  # a sequence parameter set
# Profiles whose sequence parameter set describes the colour format (7.3.2.1.1).
_COLOUR_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_SAME_ORDER = 2  # pic_order_cnt_type of streams in which pictures are shown in the order in which they are stored


class H264Units:
    """Reads the packets of one stream.

    Args:
        extradata: of the decoder: an `avcC` record (ISO/IEC 14496-15) where packets hold lengths; else parameter sets
            or nothing.
    """

    def __init__(self, extradata: bytes | None) -> None:
        extradata = extradata or b""
        is_record = len(extradata) > 4 and extradata[0] == 1
        self._length_bytes = (extradata[4] & 3) + 1 if is_record else 0

    def is_unreferenced(self, packet: bytes) -> bool:
        """Whether all of a packet is one picture that no other picture refers to, so that it need not be decoded.

        A packet that carries anything else, such as parameter sets, or that can't be read, is needed.
        """
        slices = 0
        try:
            for start, _ in self._units(packet):
                kind, referenced = packet[start] & 0x1F, packet[start] & 0x60
                if kind in _SLICES and not referenced:
                    slices += 1
                elif kind not in _NO_PICTURE:
                    return False
        except (IndexError, ValueError):
            return False
        return slices > 0

    def keeps_order(self, packet: bytes) -> bool | None:
        """Whether every sequence parameter set in a packet says that pictures are stored in the order of display.

        None if the packet has none, False if it can't be read.
        """
        try:
            orders = [
                _order_type(packet[start:end])
                for start, end in self._units(packet)
                if packet[start] & 0x1F == _PARAMETERS
            ]
        except (IndexError, ValueError):
            return False if packet else None
        return all(order == _SAME_ORDER for order in orders) if orders else None

    def _units(self, packet: bytes) -> Iterator[tuple[int, int]]:
        """Where each unit begins and ends. Raises: ValueError for a broken packet."""
        return _with_lengths(packet, self._length_bytes) if self._length_bytes else _with_start_codes(packet)


def _with_lengths(packet: bytes, length_bytes: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(packet):
        start = at + length_bytes
        at = start + int.from_bytes(packet[at:start], "big")
        if at == start or at > len(packet):
            raise ValueError("a unit's length leads out of its packet")
        yield start, at


def _with_start_codes(packet: bytes) -> Iterator[tuple[int, int]]:
    at = packet.find(_START)
    if at < 0:
        raise ValueError("no unit begins in the packet")
    while at >= 0:
        start = at + len(_START)
        at = packet.find(_START, start)
        yield start, at if at >= 0 else len(packet)


def _order_type(parameters: bytes) -> int:
    """pic_order_cnt_type of a sequence parameter set. Raises: ValueError where it can't be read."""
    bits = _Bits(parameters[1:64].replace(b"\0\0\3", b"\0\0"))
    profile = bits.fixed(8)
    bits.fixed(16)  # constraints and level
    bits.golomb()
    if profile in _COLOUR_PROFILES:
        if bits.golomb() == 3:
            bits.fixed(1)
        bits.golomb(), bits.golomb()
        bits.fixed(1)
        if bits.fixed(1):
            raise ValueError("scaling matrices are not read")
    bits.golomb()
    return bits.golomb()


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._bits, self._at = "".join(f"{each:08b}" for each in data), 0

    def fixed(self, count: int) -> int:
        """Raises: ValueError at the end."""
        self._at += count
        return int(self._bits[self._at - count : self._at], 2)

    def golomb(self) -> int:
        """ue(v), an unsigned Exp-Golomb code (9.1). Raises: ValueError at the end."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.fixed(zeros + 1) - 1
