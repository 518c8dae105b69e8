# SPDX-License-Identifier: Apache-2.0
"""Seeded mutations of JPEGs: of their structure (ITU-T T.81, B.1) and of their bytes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image

from benchmarks.moving_pictures import traffic
from benchmarks.reliability.jpeg_parts import (
    COMMENT,
    DHT,
    DQT,
    DRI,
    END,
    FRAME_HEADERS,
    SOS,
    Part,
    empty_refinement,
    join,
    run_table,
    split,
    with_sampling,
)
from eulernet_core.jpeg_segments import START_OF_IMAGE
from tests.crafted_jpegs import exif, segment, variants

MOST_CHANGES = 4
SIZES = (0, 1, 7, 8, 17, 255, 4096, 4097, 16_384, 65_500, 65_535)
MARKERS = (*range(0xC0, 0xD0), 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xE0, 0xE1, 0xED, 0xEE, 0xFE, 0x01, 0x02)
MAX_VARIANT_BYTES = 1 << 20

Mutation = Callable[[list[Part], Generator], list[Part]]


@dataclass(frozen=True)
class Mutated:
    """`kind`: the mutations by name."""

    kind: str
    jpeg: bytes


@cache
def base_pictures() -> Mapping[str, bytes]:
    """Valid small JPEGs of a face, in the forms that encoders write."""
    (plain,) = traffic(160, 120, frames=1).sources[0].jpegs
    picture = Image.open(io.BytesIO(plain))
    bases: dict[str, dict[str, Any]] = {
        "baseline": {},
        "4:4:4": {"subsampling": 0},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 3},
        "optimized": {"optimize": True},
        "orientation": {"exif": exif((0x0112, 3, 1, b"\0\6"))[4:]},
    }
    made = {name: _stored(picture, **options) for name, options in bases.items()}
    return made | {"grey": _stored(picture.convert("L")), "four colours": _stored(picture.convert("CMYK"))}


@cache
def crafted() -> Sequence[tuple[str, bytes]]:
    """The hand-made pictures that are small enough to be sent often."""
    made = variants(base_pictures()["baseline"])
    return [(name, jpeg) for name, (jpeg, _) in made.items() if len(jpeg) <= MAX_VARIANT_BYTES]


def _stored(picture: Image.Image, **options: Any) -> bytes:
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=85, **options)
    return stored.getvalue()


def structured(random: Generator, extra: Sequence[bytes] = ()) -> Mutated:
    """One of the base pictures with a few of its parts changed, or one of the hand-made ones. `extra`: more bases,
    which need not be valid."""
    choice = random.random()
    if choice < 0.1:
        name, jpeg = crafted()[random.integers(len(crafted()))]
        return Mutated(f"crafted: {name}", jpeg)
    if choice < 0.2 and extra:
        return Mutated("guided", extra[random.integers(len(extra))])
    base = _choose(random, list(base_pictures()))
    parts, kinds = split(base_pictures()[base]), []
    for _ in range(random.integers(1, MOST_CHANGES + 1)):
        kind = _choose(random, list(STRUCTURED))
        kinds.append(kind)
        parts = STRUCTURED[kind](parts, random)
    return Mutated(f"{base}: {' + '.join(kinds)}", join(parts) + _tail(random))


def blind(random: Generator) -> Mutated:
    """One of the base pictures with some of its bytes changed."""
    base = _choose(random, list(base_pictures()))
    kind = _choose(random, list(BLIND))
    return Mutated(f"{base}: {kind}", BLIND[kind](base_pictures()[base], random))


def _choose(random: Generator, choices: Sequence[str]) -> str:
    return choices[int(random.integers(len(choices)))]


def _at(parts: Sequence[object], random: Generator) -> int:
    return int(random.integers(max(1, len(parts))))


def _odd_length(length: int, random: Generator) -> int:
    return int(random.choice([0, 1, 2, length - 1, length + 1, 0xFFFF, int(random.integers(0x10000))]))


def _duplicate(parts: list[Part], random: Generator) -> list[Part]:
    at, times = _at(parts, random), int(random.choice([1, 1, 1, 2, 20, 300]))
    return [*parts[:at], *parts[at : at + 1] * times, *parts[at:]]


def _drop(parts: list[Part], random: Generator) -> list[Part]:
    at = _at(parts, random)
    return parts[:at] + parts[at + 1 :]


def _swap(parts: list[Part], random: Generator) -> list[Part]:
    changed = list(parts)
    if changed:
        a, b = _at(parts, random), _at(parts, random)
        changed[a], changed[b] = changed[b], changed[a]
    return changed


def _changed(parts: list[Part], at: int, **fields: object) -> list[Part]:
    return [*parts[:at], replace(parts[at], **fields), *parts[at + 1 :]] if parts else parts  # type: ignore[arg-type]


def _length(parts: list[Part], random: Generator) -> list[Part]:
    at = _at(parts, random)
    return _changed(parts, at, length=_odd_length(len(parts[at].body) + 2, random)) if parts else parts


def _marker(parts: list[Part], random: Generator) -> list[Part]:
    return _changed(parts, _at(parts, random), marker=int(random.choice(MARKERS)))


def _body(parts: list[Part], random: Generator) -> list[Part]:
    """Bytes of one part's body: tables, frame headers, scan headers."""
    at = _at(parts, random)
    if not parts or not parts[at].body:
        return parts
    body = bytearray(parts[at].body)
    for _ in range(random.integers(1, 4)):
        body[random.integers(min(len(body), 40))] = random.integers(256)
    return _changed(parts, at, body=bytes(body))


def _of_kind(parts: list[Part], markers: Sequence[int], random: Generator) -> int | None:
    found = [at for at, part in enumerate(parts) if part.marker in markers and len(part.body) > 6]
    return found[_at(found, random)] if found else None


def _size(parts: list[Part], random: Generator) -> list[Part]:
    at = _of_kind(parts, FRAME_HEADERS, random)
    if at is None:
        return parts
    height, width = (int(random.choice(SIZES)) for _ in range(2))
    body = parts[at].body
    return _changed(parts, at, body=body[:1] + struct.pack(">HH", height, width) + body[5:])


def _sampling(parts: list[Part], random: Generator) -> list[Part]:
    at = _of_kind(parts, FRAME_HEADERS, random)
    if at is None:
        return parts
    return [*parts[:at], with_sampling(parts[at], random.integers(0, 0x56, 4).tolist()), *parts[at + 1 :]]


def _precision(parts: list[Part], random: Generator) -> list[Part]:
    at = _of_kind(parts, FRAME_HEADERS, random)
    return (
        parts if at is None else _changed(parts, at, body=bytes([random.choice([0, 2, 12, 16])]) + parts[at].body[1:])
    )


def _restart_interval(parts: list[Part], random: Generator) -> list[Part]:
    at = _at(parts, random)
    interval = int(random.choice([0, 1, 2, 255, 0xFFFF]))
    return [*parts[:at], Part(DRI, struct.pack(">H", interval)), *parts[at:]]


def _table(parts: list[Part], random: Generator) -> list[Part]:
    at = _at(parts, random)
    if random.random() < 0.5:
        made = Part(DQT, bytes([random.choice([0, 1, 3, 0x10, 0x45])]) + random.bytes(int(random.choice([64, 128, 3]))))
    else:
        counts = random.multinomial(int(random.integers(1, 256)), [1 / 16] * 16).astype(np.uint8)
        ident = bytes([random.choice([0, 1, 0x10, 0x11, 0x35])])
        made = Part(DHT, ident + counts.tobytes() + random.bytes(int(counts.sum())))
    return [*parts[:at], made, *parts[at:]]


def _exif(parts: list[Part], random: Generator) -> list[Part]:
    entries = [
        (
            int(random.choice([0x0112, 0x0112, 0x0201, 0x8769, 0xFFFF])),
            int(random.integers(0, 16)),
            int(random.choice([0, 1, 2, 0xFFFFFFFF])),
            random.bytes(4),
        )
        for _ in range(random.integers(0, 5))
    ]
    offset = int(random.choice([0, 8, 9, 200, 0xFFFFFFFF]))
    block = exif(*entries, order=_choose(random, "<>"), offset=offset)
    return [Part(0xE1, block[4:]), *parts]


def _scan_header(parts: list[Part], random: Generator) -> list[Part]:
    """Another scan: spectral selection and approximation of progressive scripts, components, tables."""
    found = [part for part in parts if part.marker == SOS]
    if not found:
        return parts
    scan = found[_at(found, random)]
    components = int(random.choice([0, 1, 1, 2, 3, 4, 5]))
    named = [(int(random.choice([k + 1, 1, 9])), int(random.choice([0, 0x11, 0x33]))) for k in range(components)]
    selection = [random.choice([0, 1, 63, 64]), random.choice([0, 5, 63, 255]), random.choice([0, 1, 0x10, 0x21, 0xFF])]
    body = bytes([components, *(each for pair in named for each in pair), *selection])
    more = Part(SOS, body, scan.data[: int(random.choice([0, 1, 100, 10_000]))])
    return [*parts, *[more] * int(random.choice([1, 1, 2, 50, 70]))]


def _entropy(parts: list[Part], random: Generator) -> list[Part]:
    """Damage inside of a scan."""
    found = [at for at, part in enumerate(parts) if part.data]
    if not found:
        return parts
    at = found[_at(found, random)]
    data = bytearray(parts[at].data)
    kind = random.integers(4)
    where = _at(data, random)
    if kind == 0:
        data[where] ^= 1 << int(random.integers(8))
    elif kind == 1:
        del data[where:]
    elif kind == 2:
        data[where:where] = bytes([0xFF, 0xD0 + random.integers(8)])
    else:
        data[where : where + 20] = random.bytes(20)
    return _changed(parts, at, data=bytes(data))


def _refinements(parts: list[Part], random: Generator) -> list[Part]:
    table, scan = run_table(3), empty_refinement(int(random.integers(1, 4)), 3, 300)
    made = [Part(DHT, table[4:]), *[Part(SOS, scan[4:10], scan[10:])] * int(random.choice([1, 5, 60]))]
    return [*parts, *made]


def _metadata(parts: list[Part], random: Generator) -> list[Part]:
    marker = int(random.choice([0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, COMMENT]))
    names = (b"JFIF\0", b"Exif\0\0", b"ICC_PROFILE\0\1\1", b"Adobe", b"MPF\0", b"http://ns.adobe.com/xap/1.0/\0", b"")
    body = names[random.integers(len(names))] + random.bytes(int(random.choice([0, 1, 20, 5000])))
    made = Part(marker, body)
    return [*[made] * int(random.choice([1, 1, 5, 200])), *parts]


def _tail(random: Generator) -> bytes:
    """Bytes behind the end marker, in some of the pictures."""
    if random.random() > 0.15:
        return b""
    second = base_pictures()["progressive"]
    tails = (bytes(50), random.bytes(2000), second, second[: len(second) // 2], END, segment(SOS, b"\1\1\0\0\x3f\0"))
    return tails[random.integers(len(tails))]


def _flip(jpeg: bytes, random: Generator) -> bytes:
    data = bytearray(jpeg)
    for _ in range(int(random.choice([1, 2, 8, 64]))):
        data[_at(data, random)] ^= 1 << int(random.integers(8))
    return bytes(data)


def _splice(jpeg: bytes, random: Generator) -> bytes:
    other = base_pictures()[_choose(random, list(base_pictures()))]
    return jpeg[: _at(jpeg, random)] + other[_at(other, random) :]


def _truncate(jpeg: bytes, random: Generator) -> bytes:
    return jpeg[: _at(jpeg, random)]


def _insert(jpeg: bytes, random: Generator) -> bytes:
    at = _at(jpeg, random)
    return jpeg[:at] + random.bytes(int(random.choice([1, 2, 10, 500]))) + jpeg[at:]


def _remove(jpeg: bytes, random: Generator) -> bytes:
    at = _at(jpeg, random)
    return jpeg[:at] + jpeg[at + int(random.choice([1, 2, 10, 500])) :]


def _noise(jpeg: bytes, random: Generator) -> bytes:
    return START_OF_IMAGE + random.bytes(int(random.choice([0, 1, 2, 100, 5000])))


def _swap_halves(jpeg: bytes, random: Generator) -> bytes:
    at = _at(jpeg, random)
    return jpeg[at:] + jpeg[:at]


def _no_picture(jpeg: bytes, random: Generator) -> bytes:
    kinds = (b"", b"\0", b"\xff", START_OF_IMAGE, b"\x89PNG\r\n\x1a\n" + bytes(99), b"GIF89a" + bytes(20), b"{}", END)
    return kinds[random.integers(len(kinds))]


STRUCTURED: Mapping[str, Mutation] = {
    "duplicate": _duplicate,
    "drop": _drop,
    "swap": _swap,
    "length": _length,
    "marker": _marker,
    "body": _body,
    "size": _size,
    "sampling": _sampling,
    "precision": _precision,
    "restart interval": _restart_interval,
    "table": _table,
    "exif": _exif,
    "scan": _scan_header,
    "entropy": _entropy,
    "refinements": _refinements,
    "metadata": _metadata,
}
BLIND: Mapping[str, Callable[[bytes, Generator], bytes]] = {
    "flip": _flip,
    "splice": _splice,
    "truncate": _truncate,
    "insert": _insert,
    "remove": _remove,
    "noise": _noise,
    "swap halves": _swap_halves,
    "no picture": _no_picture,
}
