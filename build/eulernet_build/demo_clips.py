"""`eulernet demo-clips`: three videos to try the system on, every one of them an attack.

Each is rendered from one still photograph (scikit-image's `astronaut`, NASA, public domain) as a camera would see it in
an attacker's hands: a print that the camera pans over, a print that is tilted and bent, a display. None shows a living
face, and they are simulations: they show what goes in and out, not how well attacks are told apart.

A sheet (print or display) is a plane or a cylinder in front of a pinhole camera. Units: widths of the sheet, pixels of
the frame where a name ends in _px. Axes: x right, y down, z away from the camera.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Floats = NDArray[np.float32]

WIDTH_PX, HEIGHT_PX = 640, 480
FPS = 30
FRAMES = 60
# One thread, so that the same frames give the same stream on every machine.
_X264 = {"crf": "18", "preset": "veryfast", "threads": "1"}
_FOCAL_PX = 800.0  # 44 degrees across, about a phone's main camera
_HEAD = (slice(10, 240), slice(104, 344))  # rows and columns of the photograph: head and shoulders
_DISPLAY_TEXELS = 6  # texels a display pixel and axis: three colour stripes of two


@dataclass(frozen=True)
class Pose:
    """A sheet turned by (pitch, yaw, roll) rad about its centre at `position`, and bent about its vertical axis."""

    turn: tuple[float, float, float]
    position: tuple[float, float, float]
    curvature: float = 0.0  # radians a width of the sheet; positive: the edges bend away from the camera


def print_pan(seed: int, frames: int = FRAMES) -> "Iterator[Picture]":
    """A hand-held camera pans over a print that is larger than the frame: uint8 (480, 640, 3) RGB a frame."""
    import numpy as np

    rng = np.random.default_rng(seed)
    sheet = _sheet(_photograph(), margin=0.0, colour=(255, 255, 255))
    shake = _shake(rng, frames, 5)
    for i in range(frames):
        sweep = np.cos(np.pi * i / max(frames - 1, 1))  # from right to left, slow at both ends
        x, y = 0.065 - 0.05 * sweep, 0.25
        turn = (0.012 * shake[i, 2], 0.012 * shake[i, 3], 0.015 * shake[i, 4])
        pose = Pose(turn, (x + 0.008 * shake[i, 0], y + 0.008 * shake[i, 1], 0.74))
        yield _camera(_render(sheet, pose, _blank()), rng)


def print_bent(seed: int, frames: int = FRAMES) -> "Iterator[Picture]":
    """A print with a white margin, held before a wall, tilted and bent: uint8 (480, 640, 3) RGB a frame."""
    import numpy as np

    rng = np.random.default_rng(seed)
    sheet = _sheet(_photograph()[_HEAD], margin=0.05, colour=(243, 241, 236))
    wall = _wall()
    shake = _shake(rng, frames, 6)
    for i in range(frames):
        phase = 2 * np.pi * i / FPS
        turn = (0.10 * np.sin(0.45 * phase) + 0.01 * shake[i, 2], 0.32 * np.sin(0.55 * phase + 0.6), 0.03 * shake[i, 3])
        position = 0.015 * shake[i, 0], 0.02 + 0.015 * shake[i, 1], 1.62 + 0.01 * shake[i, 5]
        pose = Pose(turn, position, curvature=0.55 + 0.35 * float(np.sin(0.9 * phase)) + 0.03 * shake[i, 4])
        yield _camera(_render(sheet, pose, wall, shading=0.35), rng)


def screen_replay(seed: int, frames: int = FRAMES) -> "Iterator[Picture]":
    """The photograph on a display in a dim room, held by hand: uint8 (480, 640, 3) RGB a frame."""
    import numpy as np

    rng = np.random.default_rng(seed)
    sheet = _sheet(_display_pixels(_photograph()[_HEAD]), margin=0.045, colour=(16, 16, 18))
    room = (_wall() * 0.3).astype(np.uint8)
    shake = _shake(rng, frames, 6)
    rows = np.arange(HEIGHT_PX, dtype=np.float32)[:, None, None] / HEIGHT_PX
    for i in range(frames):
        turn = (0.05 + 0.015 * shake[i, 2], -0.10 + 0.02 * shake[i, 3], 0.02 * shake[i, 4])
        pose = Pose(turn, (0.02 * shake[i, 0], 0.02 * shake[i, 1], 1.68 + 0.015 * shake[i, 5]))
        # The backlight is pulsed and the shutter rolls: bright and dark bands wander over the picture.
        bands = 1 + 0.09 * np.sin(2 * np.pi * (2.3 * rows - 0.037 * i))
        lit = np.clip(_render(sheet, pose, room) * bands, 0, 255).astype(np.uint8)
        yield _camera(lit, rng)


ATTACKS: "dict[str, Callable[[int], Iterator[Picture]]]" = {
    "print_pan": print_pan,
    "print_bent": print_bent,
    "screen_replay": screen_replay,
}


def write_h264(path: Path, frames: "Iterable[Picture]", fps: int) -> None:
    """Encode frames, uint8 (H, W, 3) RGB, as H.264 (yuv420p) in MP4; the file appears when it is complete."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        with av.open(name, "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream: Any = container.add_stream("libx264", rate=fps, options=_X264)
            stream.pix_fmt = "yuv420p"
            for picture in frames:
                if not container.streams.video[0].codec_context.is_open:
                    stream.height, stream.width = picture.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_demo_clips(out: Path, seed: int = 1) -> list[Path]:
    """Write every attack of ATTACKS as `<name>.mp4` into `out`; the same seed gives the same frames."""
    paths = []
    for name, attack in ATTACKS.items():
        paths.append(out / f"{name}.mp4")
        write_h264(paths[-1], attack(seed), FPS)
    return paths


@click.command("demo-clips")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo/clips"),
    show_default=True,
    help="Folder for the clips.",
)
@click.option("--seed", default=1, show_default=True, help="Another number gives other hand movements and noise.")
def demo_clips(out: Path, seed: int) -> None:
    """Make three short videos, all of them attacks: two prints and a display."""
    for path in make_demo_clips(out, seed):
        click.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def _photograph() -> "Picture":
    import numpy as np
    import skimage.data

    photographs: Any = skimage.data
    return np.asarray(photographs.astronaut(), np.uint8)


def _blank() -> "Picture":
    import numpy as np

    return np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)


def _wall() -> "Picture":
    """A brick wall out of focus, warm."""
    import cv2
    import numpy as np
    import skimage.data

    photographs: Any = skimage.data
    brick = cv2.resize(photographs.brick().T, (WIDTH_PX, WIDTH_PX))[:HEIGHT_PX]
    soft = cv2.GaussianBlur(brick, (0, 0), 4).astype(np.float32)[..., None]
    return np.asarray(np.clip(soft * [1.05, 0.98, 0.90], 0, 255), np.uint8)


def _shake(rng: "np.random.Generator", frames: int, channels: int) -> "Floats":
    """Paths of a hand that tries to hold still: fp32 (frames, channels), about -1 to 1, from 0.4 to 6 Hz."""
    import numpy as np

    rates_hz = np.array([0.4, 0.9, 1.7, 3.1, 6.0])
    time_s = np.arange(frames)[:, None, None] / FPS
    phases = rng.uniform(0, 2 * np.pi, (1, channels, len(rates_hz)))
    waves = np.sin(2 * np.pi * rates_hz * time_s + phases) * (0.4 / rates_hz)
    return np.asarray(waves.sum(axis=2), np.float32)


def _display_pixels(picture: "Picture") -> "Picture":
    """Every pixel as a display shows it: red, green and blue stripe side by side, a dark line between rows."""
    import numpy as np

    stripes = np.full((_DISPLAY_TEXELS, _DISPLAY_TEXELS, 3), 0.32, np.float32)
    third = _DISPLAY_TEXELS // 3
    for channel in range(3):
        stripes[:, channel * third : (channel + 1) * third, channel] = 1.9
    stripes[-1] *= 0.35
    linear = (picture / np.float32(255)) ** 2.2
    large = linear.repeat(_DISPLAY_TEXELS, axis=0).repeat(_DISPLAY_TEXELS, axis=1)
    glow = np.clip(large * np.tile(stripes, (*picture.shape[:2], 1)), 0, 1)
    return np.asarray(255 * glow ** (1 / 2.2), np.uint8)


def _sheet(picture: "Picture", margin: float, colour: tuple[int, int, int]) -> "Picture":
    """Picture with a margin (share of its width) and an opacity channel that is zero on the outermost line: RGBA."""
    import cv2
    import numpy as np

    border = round(margin * picture.shape[1])
    framed = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_CONSTANT, value=colour)
    opacity = np.full((*framed.shape[:2], 1), 255, np.uint8)
    return np.pad(np.concatenate([framed, opacity], axis=2), ((1, 1), (1, 1), (0, 0)))


def _render(sheet: "Picture", pose: Pose, background: "Picture", shading: float = 0.0) -> "Picture":
    """The sheet as the camera sees it before a background, uint8 (480, 640, 3).

    `shading` is how much darker paper gets that turns away from the light, which comes from the upper left.
    """
    import cv2
    import numpy as np

    u, v = _sheet_coordinates(pose)
    height, width = sheet.shape[:2]
    scale = width - 2
    map_x = (u * scale + width / 2 - 0.5).astype(np.float32)
    map_y = (v * scale + height / 2 - 0.5).astype(np.float32)
    # Where a camera pixel covers several texels they are averaged, as a sensor does.
    texels = max(scale / (_FOCAL_PX / pose.position[2]), 1.0)
    source = cv2.GaussianBlur(sheet, (0, 0), 0.4 * texels) if texels > 1 else sheet
    seen = cv2.remap(source, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT).astype(np.float32)
    slope = pose.curvature * u + pose.turn[1]
    light = 1 - shading * np.clip(np.sin(slope) + 0.25, 0, 1)
    opacity = np.clip(seen[..., 3:] / 255, 0, 1)
    mixed = seen[..., :3] * (light[..., None] * opacity) + background * (1 - opacity)
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def _sheet_coordinates(pose: Pose) -> "tuple[Floats, Floats]":
    """Where each camera pixel's ray meets the sheet: (u right, v down) from its centre, fp32 (480, 640) each.

    With o and d the ray's origin and direction in the sheet's axes and c the curvature, the sheet is the cylinder
    c/2 (x^2 + z^2) = z through the origin (a plane for c = 0). The root is written so that c = 0 is no special case.
    """
    import cv2
    import numpy as np

    pitch, yaw, roll = pose.turn
    rotation = np.eye(3)
    for axis, angle in (([1.0, 0, 0], pitch), ([0, 1.0, 0], yaw), ([0, 0, 1.0], roll)):
        rotation = rotation @ cv2.Rodrigues(np.array(axis) * angle)[0]
    ray_x = ((np.arange(WIDTH_PX) - (WIDTH_PX - 1) / 2) / _FOCAL_PX).astype(np.float32)[None, :]
    ray_y = ((np.arange(HEIGHT_PX) - (HEIGHT_PX - 1) / 2) / _FOCAL_PX).astype(np.float32)[:, None]
    dx, dy, dz = (ray_x * np.float32(r[0]) + ray_y * np.float32(r[1]) + np.float32(r[2]) for r in rotation.T)
    ox, oy, oz = (float(value) for value in -np.array(pose.position) @ rotation)
    bend = pose.curvature
    a = bend / 2 * (dx**2 + dz**2)
    b = bend * (ox * dx + oz * dz) - dz
    c = bend / 2 * (ox**2 + oz**2) - oz
    root = b**2 - 4 * a * c
    distance = 2 * c / (np.sqrt(np.maximum(root, 0)) - b)
    x, y, z = ox + distance * dx, oy + distance * dy, oz + distance * dz
    u = np.arctan2(bend * x, 1 - bend * z) / bend if bend else x
    outside = np.float32(1e3)  # far off the sheet, for rays that miss the cylinder
    return np.where(root < 0, outside, u), y


def _camera(picture: "Picture", rng: "np.random.Generator") -> "Picture":
    """What lens and sensor add: slight blur and noise."""
    import cv2
    import numpy as np

    soft = cv2.GaussianBlur(picture, (0, 0), 0.7).astype(np.float32)
    noisy = soft + 2.5 * rng.standard_normal(soft.shape, np.float32)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)
