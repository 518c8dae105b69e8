# SPDX-License-Identifier: Apache-2.0
"""What differs between the simulator's versions: framing, people, rooms, phones, recordings, printers and displays.

Version 3 made the data of the shipped weights and makes the demo's clips. Version 4 is nearer to cameras: the face is
smaller, the room and the sheet's edges are in view, prints and displays are finer, and an attack shows what a phone has
recorded. A published version is never changed, because its number in a data set's record determines the pictures.
"""

from dataclasses import dataclass, replace

from eulernet.simulation.camera import Exposure, Phone
from eulernet.simulation.print import Printer
from eulernet.simulation.recording import Recordings
from eulernet.simulation.replay import Display
from eulernet.simulation.room import Room
from eulernet.simulation.skin import Clothes, Detail


@dataclass(frozen=True)
class Framing:
    """Place of a face in a picture.

    Attributes:
        face_width: range, shares of the picture's width. A face is 1.2 times as high as wide, so that in a picture of
            3:4 a width of 0.28 is a height of 0.25, and 0.67 is 0.60 of the picture's.
        eyes_x_sd: standard deviation of the eyes' middle, shares of the picture's width.
        eyes_y: its mean and standard deviation, shares of the height.
    """

    face_width: tuple[float, float]
    eyes_x_sd: float
    eyes_y: tuple[float, float]


@dataclass(frozen=True)
class Source:
    """The photograph or video that an attack shows.

    Attributes:
        widths: two ranges of the sheet's width, shares of the picture's width; above 1 the edges are out of view.
        first: probability of the first range.
        widest_face: largest width of the face in it, share of its width.
        detail: range of a video's pixels per pixel of the phone's picture.
        recorded: whether a phone has recorded it, instead of an ideal camera.
    """

    widths: tuple[tuple[float, float], tuple[float, float]]
    first: float
    widest_face: float
    detail: tuple[float, float]
    recorded: bool


@dataclass(frozen=True)
class Conditions:
    """All of a version's conditions."""

    framing: Framing
    source: Source
    people: Detail
    room: Room  # behind a person
    far_room: Room  # behind a sheet, on which the lens is focused
    phones: dict[int, Phone]
    exposure: Exposure
    recordings: Recordings
    printers: dict[int, Printer]
    displays: dict[int, Display]


_PHONES = {
    1: Phone(0.85, 0.00020, 0.0028, (1.02, 1.0, 0.97), 1.10, 1.10, 0.60, 0.018, 1.1, 0.22, 4),
    2: Phone(1.00, 0.00034, 0.0038, (0.97, 1.0, 1.05), 1.00, 1.00, 0.45, 0.024, 1.5, 0.30, 4),
    3: Phone(0.80, 0.00016, 0.0025, (1.05, 1.0, 0.93), 1.18, 1.15, 0.80, 0.015, 0.9, 0.15, 3),
    4: Phone(1.10, 0.00045, 0.0048, (1.00, 1.0, 1.02), 0.92, 0.95, 0.35, 0.028, 1.7, 0.35, 5),
    5: Phone(0.92, 0.00026, 0.0032, (0.94, 1.0, 1.00), 1.06, 1.05, 0.70, 0.020, 1.3, 0.25, 4),
    6: Phone(0.88, 0.00038, 0.0040, (1.04, 1.0, 1.06), 1.12, 1.00, 0.55, 0.022, 1.2, 0.18, 3),
}


def _newer(phone: Phone) -> Phone:
    """A phone with a better lens and sensor and milder processing, in a less steady hand."""
    return replace(
        phone,
        blur_px=0.85 * phone.blur_px,
        shot_noise=0.5 * phone.shot_noise,
        read_noise=0.7 * phone.read_noise,
        saturation=0.5 + 0.5 * phone.saturation,
        contrast=0.5 + 0.5 * phone.contrast,
        sharpening=0.75 * phone.sharpening,
        shake_px=1.6 * phone.shake_px,
    )


# Printers: a laser printer, and an inkjet with glossy paper. Displays: a large desktop monitor, and a glossy notebook.
_VERSION_3 = Conditions(
    framing=Framing(face_width=(0.58, 0.67), eyes_x_sd=0.025, eyes_y=(0.40, 0.02)),
    source=Source(widths=((1.14, 1.32), (1.0, 1.1)), first=0.8, widest_face=1.0, detail=(1.0, 1.0), recorded=False),
    people=Detail(),
    room=Room(),
    far_room=Room(),
    phones=_PHONES,
    exposure=Exposure(),
    recordings=Recordings(scales=(1.0,), softened=0.0, detail=(1.0, 1.0), h264=0.0, crf=(0, 0)),
    printers={
        1: Printer(True, 7.0, 0.22, 0.030, 0.02, 1.10),
        2: Printer(False, 2.6, 0.25, 0.018, 0.07, 1.04),
    },
    displays={
        1: Display(1, 1.06, 0.006, (0.012, 0.045), (0.07, 0.13), 0.010, 1.02),
        2: Display(2, 0.97, 0.010, (0.012, 0.055), (0.07, 0.14), 0.028, 1.04),
    },
)

_LASER_4 = Printer(
    clustered=True,
    dot_px=3.0,
    dot_contrast=0.15,
    black=0.040,
    gloss=0.03,
    gain=1.08,
    blur=0.75,
    level=(0.16, 0.30),
    saturation=(0.85, 1.30),
    contrast=(1.0, 1.25),
    balance=(0.0, 0.2),
    margin=(0.03, 0.05, 0.08),
    fingers=0.0,
    hands=True,
    lobe=(0.25, 0.60),
)
_INKJET_4 = replace(
    _LASER_4,
    clustered=False,
    dot_px=1.6,
    black=0.025,
    gloss=0.12,
    gain=1.03,
    margin=(0.0, 0.03),
    lobe=(0.10, 0.35),
)
_MONITOR_4 = Display(
    pixels_a_pixel=1,
    gamma=1.06,
    black=0.008,
    banding=(0.0, 0.012),
    moire=(0.02, 0.06),
    reflection=0.020,
    blur=0.65,
    blue=1.02,
    beat=(0.03, 0.30),
    fine=0.2,
    level=(0.15, 0.45),
    balance=0.0,
    contrast=(0.95, 1.10),
    saturation=(0.95, 1.25),
    kelvin=(-0.35, 0.12),
    bars=(1.0, 1.6),
    bezel=0.06,
    edge_px=4.0,
)
_NOTEBOOK_4 = replace(
    _MONITOR_4,
    gamma=0.97,
    black=0.012,
    banding=(0.0, 0.02),
    moire=(0.02, 0.07),
    reflection=0.045,
    blue=1.04,
    bezel=0.05,
)
_VERSION_4 = Conditions(
    framing=Framing(face_width=(0.28, 0.67), eyes_x_sd=0.05, eyes_y=(0.42, 0.05)),
    source=Source(widths=((0.62, 1.0), (1.0, 1.35)), first=0.65, widest_face=0.62, detail=(0.75, 1.1), recorded=True),
    people=Detail(
        beard_texels=5.0,
        brightest_hair=0.4,
        strands=0.6,
        hair_volume=1.3,
        hair_relief=0.15,
        crown=0.14,
        shaved=0.5,
        # Fine stripes alias like a display's grid.
        clothes=Clothes(striped=0.08, folds=0.08),
    ),
    room=Room(furnished=True, blur_px=(0.2, 1.6), grain=(0.02, 0.13), grain_cells=(60, 300)),
    far_room=Room(furnished=True, blur_px=(1.5, 6.0)),
    phones={number: _newer(phone) for number, phone in _PHONES.items()},
    exposure=Exposure(
        level=(0.20, 0.22),
        spread=None,
        white_sd=(0.05, 0.01, 0.06),
        adaptation=(0.6, 0.95),
        illuminant=0.7,
        contrast=(0.90, 1.20),
        veil=0.015,
        hunting=(0.024, 0.7),
        sway=(0.003, 0.02),
    ),
    recordings=Recordings(scales=(1.0, 1.0, 0.75, 0.6), softened=0.15, detail=(0.55, 0.95), h264=0.6, crf=(18, 32)),
    printers={1: _LASER_4, 2: _INKJET_4},
    displays={1: _MONITOR_4, 2: _NOTEBOOK_4},
)

VERSIONS = {3: _VERSION_3, 4: _VERSION_4}
NEWEST = max(VERSIONS)
