# SPDX-License-Identifier: Apache-2.0
"""A JPEG as a list of parts (ITU-T T.81, B.1) that can be changed and joined again; tables and scans made by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from eulernet_core.jpeg_segments import START_OF_IMAGE
from tests.crafted_jpegs import segment

SOF0, SOF2, DHT, DQT, DRI, SOS, COMMENT, END_OF_IMAGE = 0xC0, 0xC2, 0xC4, 0xDB, 0xDD, 0xDA, 0xFE, 0xD9
FRAME_HEADERS = (SOF0, 0xC1, SOF2)
END = bytes([0xFF, END_OF_IMAGE])
LONGEST_RUN = 32_767  # blocks that one end-of-band run covers
RUN_SYMBOL, RUN_BITS = 0xE0, 14


@dataclass(frozen=True)
class Part:
    """A marker segment with the entropy-coded data behind it. `length`: as written; None: the right one."""

    marker: int
    body: bytes
    data: bytes = b""
    length: int | None = None

    def __bytes__(self) -> bytes:
        length = len(self.body) + 2 if self.length is None else self.length
        return struct.pack(">BBH", 0xFF, self.marker, length & 0xFFFF) + self.body + self.data


def split(jpeg: bytes) -> list[Part]:
    """The parts of a valid JPEG between its start and its end marker."""
    parts: list[Part] = []
    position = len(START_OF_IMAGE)
    while jpeg[position + 1] != END_OF_IMAGE:
        marker, length = jpeg[position + 1], int.from_bytes(jpeg[position + 2 : position + 4], "big")
        body_end = position + 2 + length
        end = body_end
        while marker == SOS and (jpeg[end] != 0xFF or jpeg[end + 1] == 0 or 0xD0 <= jpeg[end + 1] <= 0xD7):
            end += 1
        parts.append(Part(marker, jpeg[position + 4 : body_end], jpeg[body_end:end]))
        position = end
    return parts


def join(parts: list[Part]) -> bytes:
    """The parts as one JPEG."""
    return START_OF_IMAGE + b"".join(bytes(part) for part in parts) + END


def with_sampling(part: Part, factors: list[int]) -> Part:
    """A frame header with other sampling factors, one byte a component."""
    body = bytearray(part.body)
    for k, factor in enumerate(factors):
        at = 6 + 3 * k + 1
        if at < len(body):
            body[at] = factor
    return replace(part, body=bytes(body))


def run_table(ident: int) -> bytes:
    """A Huffman table (AC) whose only symbol is a run of empty blocks."""
    return segment(DHT, bytes([0x10 | ident, 1, *[0] * 15, RUN_SYMBOL]))


def empty_refinement(component: int, table: int, blocks: int) -> bytes:
    """A progressive scan of a few bytes that refines nothing, but makes a decoder look at each coefficient."""
    bits = ""
    while blocks > 0:
        run = min(blocks, LONGEST_RUN)
        bits += "0" + format(max(0, run - (1 << RUN_BITS)), f"0{RUN_BITS}b")
        blocks -= max(run, 1 << RUN_BITS)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return segment(SOS, bytes([1, component, table, 1, 63, 0x10])) + data
