# SPDX-License-Identifier: Apache-2.0
"""JPEGs made by hand around a real one: odd EXIF blocks, data behind the end, pictures that cost much to decode.

`variants` names each one with the kind of answer that it must get: `same` as the plain picture, `turned` upright,
`undecodable`, or `too large`. Standard library only.
"""

import struct

ORIENTATION, BYTE, SHORT, LONG, FLOAT = 0x0112, 1, 3, 4, 11
SAME, TURNED, UNDECODABLE, TOO_LARGE = "same", "turned", "undecodable", "too large"


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def exif(*entries: tuple[int, int, int, bytes], order: str = ">", offset: int = 8) -> bytes:
    """An APP1 segment; an entry is tag, type, count and up to four bytes of value."""
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack(order + "HHL", tag, kind, count) + value[:4].ljust(4, b"\0")
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "L", offset)
    return segment(0xE1, b"Exif\0\0" + head + directory + bytes(4))


def short(value: int, order: str = ">") -> tuple[int, int, int, bytes]:
    """An orientation as the standard has it."""
    return ORIENTATION, SHORT, 1, struct.pack(order + "H", value)


def behind_start(jpeg: bytes, *segments: bytes) -> bytes:
    """The picture with more segments at its beginning."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def empty_scans(side: int, scans: int, progressive: bool = True) -> bytes:
    """A picture of side x side px whose scans have no data: few bytes, much work."""
    tables = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC4, b"\0\1" + bytes(16))
    frame = segment(0xC2 if progressive else 0xC0, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    scan = segment(0xDA, b"\1\1\0\0" + (b"\0\0" if progressive else b"\x3f\0")) + b"\0"
    return b"\xff\xd8" + tables + frame + scan * scans + b"\xff\xd9"


def variants(jpeg: bytes) -> dict[str, tuple[bytes, str]]:
    """Bytes and the answer that they must get, by name. `jpeg`: a baseline picture without EXIF."""
    huge = struct.pack(">L", 0xFFFF_FFF0)
    made = {
        "float orientation, not a number": (exif((ORIENTATION, FLOAT, 1, struct.pack(">f", float("nan")))), SAME),
        "orientation 0": (exif(short(0)), SAME),
        "orientation 9": (exif(short(9)), SAME),
        "orientation 65535": (exif(short(65535)), SAME),
        "orientation as a byte": (exif((ORIENTATION, BYTE, 1, b"\6")), SAME),
        "orientation as a long": (exif((ORIENTATION, LONG, 1, struct.pack(">L", 6))), SAME),
        "orientation, two values": (exif((ORIENTATION, SHORT, 2, b"\0\6\0\6")), SAME),
        "orientation, 4 billion values": (exif((ORIENTATION, SHORT, 0xFFFFFFFF, b"\0\6")), SAME),
        "no directory": (segment(0xE1, b"Exif\0\0MM\0*\0\0"), SAME),
        "directory out of reach": (segment(0xE1, b"Exif\0\0MM\0*" + huge), SAME),
        "65535 entries, none there": (segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"), SAME),
        "empty EXIF": (segment(0xE1, b"Exif\0\0"), SAME),
        "neither byte order": (segment(0xE1, b"Exif\0\0XX\0*\0\0\0\x08\0\1"), SAME),
        "XMP in place of EXIF": (segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"), SAME),
        "a whole picture in a comment": (segment(0xFE, jpeg[:60_000]), SAME),
        "200 comments": (segment(0xFE, b"x") * 200, SAME),
        "orientation 6, big endian": (exif(short(6)), TURNED),
        "orientation 6, little endian": (exif(short(6, "<"), order="<"), TURNED),
        "orientation 6, then another block with 3": (exif(short(6)) + exif(short(3)), TURNED),
        "orientation 6, twice in a block": (exif(short(6), short(3)), TURNED),
        "a wrong orientation, then 6": (exif(short(77), short(6)), TURNED),
        "an empty block, then one with 6": (segment(0xE1, b"Exif\0\0") + exif(short(6)), TURNED),
    }
    crafted = {name: (behind_start(jpeg, block), right) for name, (block, right) in made.items()}
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    crafted |= {
        "zeros behind the end": (jpeg + bytes(1000), SAME),
        "a scan behind the end": (jpeg + b"xx" + scan, SAME),
        "a cut picture behind the end": (jpeg + jpeg[: len(jpeg) // 2], SAME),
        "an MP4 behind the end": (jpeg + b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(range(256)) * 64, SAME),
        "a second end marker": (jpeg + b"\xff\xd9", SAME),
        "fill bytes before a marker": (jpeg[:2] + b"\xff\xff\xff" + jpeg[2:], SAME),
        "cut in half": (jpeg[: len(jpeg) // 2], UNDECODABLE),
        "without its last byte": (jpeg[:-1], UNDECODABLE),
        "without its end marker, another one in a comment before": (
            behind_start(jpeg, segment(0xFE, b"\xff\xd9"))[:-2],
            UNDECODABLE,
        ),
        "an end marker at once": (b"\xff\xd8\xff\xd9", UNDECODABLE),
        "a segment longer than the data": (behind_start(jpeg, b"\xff\xfe\xff\xff")[:1000], UNDECODABLE),
        "a segment of length 1": (behind_start(jpeg, b"\xff\xfe\0\1"), UNDECODABLE),
        "two frame headers": (_twice_framed(jpeg), UNDECODABLE),
        "arithmetic coding": (jpeg.replace(b"\xff\xc0", b"\xff\xc9", 1), UNDECODABLE),
        "lossless": (jpeg.replace(b"\xff\xc0", b"\xff\xc3", 1), UNDECODABLE),
        "12 bits": (_precision(jpeg, 12), UNDECODABLE),
        "10,000 comments": (behind_start(jpeg, segment(0xFE, b"") * 10_000), UNDECODABLE),
        "progressive, 7900 x 7900, 1,000 empty scans": (empty_scans(7900, 1000), TOO_LARGE),
        "progressive, 7900 x 7900, one scan": (empty_scans(7900, 1), TOO_LARGE),
        "progressive, 640 x 640, 300 empty scans": (empty_scans(640, 300), TOO_LARGE),
        "baseline, 640 x 640, 300 empty scans": (empty_scans(640, 300, progressive=False), TOO_LARGE),
        "baseline, 65500 x 65500": (empty_scans(65500, 1, progressive=False), TOO_LARGE),
        "scans whose markers a comment divides": (_divided_scans(jpeg), SAME),
        "20 MB of zeros behind the end": (jpeg + bytes(20 << 20), TOO_LARGE),
    }
    return crafted


def _divided_scans(jpeg: bytes) -> bytes:
    """Behind the scan, 300 times half a marker, a comment, and the marker's other half."""
    divided = b"\xff" + segment(0xFE, b"") + b"\xda\0\x08\1\1\0\0\x3f\0"
    return jpeg[:-2] + divided * 300 + jpeg[-2:]


def _twice_framed(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[:end] + jpeg[at:end] + jpeg[end:]


def _precision(jpeg: bytes, bits: int) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 4
    return jpeg[:at] + bytes([bits]) + jpeg[at + 1 :]
