# SPDX-License-Identifier: Apache-2.0
"""A print attack: a printed photograph of the subject, moved in front of the camera, without blinks and pulse.

Gamut: between the ink's densest black and the paper's white (Yule and Nielsen 1951, dot gain). Printer 1 is a laser
printer with clustered dots and a screen angle per colour (15, 75, 0 degrees, as in offset printing); printer 2 is an
inkjet with error-diffused, random dots on glossy paper.
"""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation import hands, motion, room, sheet
from eulernet.simulation.light import Light
from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats, smooth_noise
from eulernet.simulation.recorded_scene import RecordedScene
from eulernet.simulation.scene import Frame, Scene, View
from eulernet.simulation.skin import skin_colour

PHOTO_SCALE = 1.5  # pixels of the photograph per pixel of the video
_ANGLES_DEG = (15.0, 75.0, 0.0)


@dataclass(frozen=True)
class Printer:
    """A printer, its paper and the hand that holds the print.

    Attributes:
        clustered: a clustered screen instead of random dots.
        dot_px: their size in pixels of the print.
        dot_contrast: of the dots, as density.
        black: reflectance of the densest ink.
        gloss: of the paper.
        gain: of the dots.
        blur: of photograph and print, pixels at a width of 384 pixels.
        level: range of the photograph's mean brightness on the paper.
        saturation: range of the colours' factor.
        contrast: range of the photograph's contrast, which printing software increases.
        balance: range of the share by which the photograph's mean colour is made grey.
        margin: white margins, shares of the width, one of them is drawn.
        fingers: probability of finger tips at the picture's lower corners.
        hands: whether hands hold the sheet where its edges are in view.
        lobe: range of the mirror image's breadth; None: a broad sheen.
    """

    clustered: bool
    dot_px: float
    dot_contrast: float
    black: float
    gloss: float
    gain: float
    blur: float = 0.44
    level: tuple[float, float] = (0.20, 0.34)
    saturation: tuple[float, float] = (0.75, 1.35)
    contrast: tuple[float, float] = (1.0, 1.5)
    balance: tuple[float, float] = (0.4, 0.9)
    margin: tuple[float, ...] = (0.0, 0.04)
    fingers: float = 0.35
    hands: bool = False
    lobe: tuple[float, float] | None = None


def print_picture(photo: Floats, printer: Printer, rng: np.random.Generator) -> Floats:
    """Reflectance of the print, float32 (H, W, 3), of a photograph with reflectances of the same shape, 0 to 1."""
    height, width = photo.shape[:2]
    ink = 1 - np.clip(photo, 0, 1) ** (1 / 2.2)
    ink = ink ** (1 / printer.gain)
    strength = printer.dot_contrast * float(rng.uniform(0.5, 1.3))
    for channel in range(3):
        density = ink[..., channel]
        # Dots are most visible in the mid-tones, with half of the paper covered.
        visible = strength * 4 * density * (1 - density)
        pattern = _screen(height, width, printer, _ANGLES_DEG[channel], rng)
        ink[..., channel] = density + 0.25 * visible * pattern
    white = np.array([0.92, 0.91, 0.88]) * np.exp(rng.normal(0, 0.02, 3))
    black = printer.black * float(rng.uniform(0.7, 1.6))
    cast = np.exp(rng.normal(0, 0.035, 3))
    tone = (1 - np.clip(ink, 0, 1)) ** 2.2
    grain = 1 + 0.012 * rng.standard_normal((height, width, 1)).astype(np.float32)
    banding = 1 + 0.012 * smooth_noise(rng, height, 4, cells=height / 9)[:, :1, None]
    return np.asarray((black + tone * (white * cast - black)) * grain * banding, np.float32)


def _screen(height: int, width: int, printer: Printer, angle_deg: float, rng: np.random.Generator) -> Floats:
    if not printer.clustered:
        noise = rng.standard_normal((height, width)).astype(np.float32)
        grain = cv2.GaussianBlur(noise, (0, 0), printer.dot_px / 2) - cv2.GaussianBlur(noise, (0, 0), printer.dot_px)
        return np.asarray(grain / grain.std(), np.float32)
    angle = np.deg2rad(angle_deg + rng.normal(0, 1))
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    wave = 2 * np.pi / (printer.dot_px * float(rng.uniform(0.95, 1.1)))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray(np.cos(wave * along) + np.cos(wave * across), np.float32)


class PrintScene:
    """A hand-held print of `photo` in a session's light."""

    def __init__(
        self,
        photo: Scene | RecordedScene,
        printer: Printer,
        view: View,
        light: Light,
        rng: np.random.Generator,
        place: room.Room | None = None,
    ) -> None:
        self.view, self.light = view, light
        self._source = photo.view
        self._exposed = photo.frame(0.0, still=True)
        paper = print_picture(_processed(self._exposed.picture, printer, rng), printer, rng)
        self._texture, self._border_px = _with_margin(paper, float(rng.choice(printer.margin)), rng)
        self._printer = printer
        self._wall = room.background(rng, place or room.Room(), view.height, view.width, light)
        self._hand = motion.Path(rng, 7, 1.0)
        self._turn = rng.normal(0, [0.10, 0.14, 0.04])
        self._turning = np.array([0.016, 0.030, 0.015]) * float(rng.uniform(0.5, 1.6))
        self._moving = np.array([0.030, 0.024, 0.030]) * float(rng.uniform(0.5, 1.6))
        self._curvature = float(rng.choice([0.0, 1.0])) * rng.uniform(-0.5, 0.9)
        self._bending = float(rng.uniform(0.0, 0.12)) * float(self._curvature != 0)
        self._fingers = _draw_fingers(rng, view) if rng.random() < printer.fingers else None
        self._finger_colour = skin_colour(float(rng.uniform(0.1, 1.3)), 0.5) * (light.key + light.fill)
        self._sheen = rng.uniform(0.3, 1.0) * printer.gloss
        self._lobe, self._mirrored = None, np.zeros(2)
        if printer.lobe is not None:
            self._lobe, self._mirrored = float(np.exp(rng.uniform(*np.log(printer.lobe)))), rng.normal(0, 0.35, 2)
        edges_seen = view.face_px / self._source.face_px * self._source.width < 1.1 * view.width
        self.medium_blur_px = printer.blur * view.width / 384
        # A camera pixel covers several of the sheet's.
        blur_px = 0.45 * PHOTO_SCALE
        if printer.hands and edges_seen:
            self._texture, around_px = _between_hands(
                self._texture, self._border_px, blur_px, self.medium_blur_px * PHOTO_SCALE, rng
            )
            self._border_px += around_px
        else:
            self._texture = np.asarray(cv2.GaussianBlur(self._texture, (0, 0), blur_px), np.float32)

    def pose(self, time_s: float) -> sheet.SheetPose:
        """Pose of the print at a time."""
        hand = self._hand(time_s)
        turn = self._turn + self._turning * hand[:3]
        bend = self._curvature + self._bending * float(hand[6]) if self._curvature else 0.0
        return sheet.hold(self.view, self._source, turn, self._moving * hand[3:6], bend)

    def frame(self, time_s: float) -> Frame:
        """The scene at a time."""
        pose = self.pose(time_s)
        height, width = self.view.height, self.view.width
        u, v = sheet.unproject(pose, height, width)
        size = self._source.width
        map_x = u * np.float32(size) + np.float32(size / 2 + self._border_px - 0.5)
        map_y = v * np.float32(size) + np.float32(self._source.height / 2 + self._border_px - 0.5)
        seen = cv2.remap(self._texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        normal = pose.rotation() @ np.array([0, 0, -1.0], np.float32)
        # Light changes slowly over a sheet and is computed for every eighth pixel.
        across = cv2.resize(u, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
        slope = np.float32(pose.curvature) * across
        cosine = normal @ self.light.direction - slope * self.light.direction[0] * 0.8
        mirror = self._mirror(pose, across, v)
        lit = (np.clip(cosine, 0.05, 1) * np.ones_like(across))[..., None] * self.light.key + 0.8 * self.light.fill
        sheen = (self._sheen * mirror)[..., None] * self.light.key
        alpha = seen[..., 3:]
        picture = seen[..., :3] * cv2.resize(lit.astype(np.float32), (width, height))
        picture += cv2.resize(sheen.astype(np.float32), (width, height))
        if float(alpha[::8, ::8].min()) < 1:
            # The sheet is premultiplied; the sheen is not.
            picture *= np.clip(alpha * 4, 0, 1)
            picture += (1 - alpha) * self._wall
        eyes = sheet.project(pose, sheet.on_sheet(self._source, self._exposed.eyes), height, width)
        if self._fingers is not None:
            self._draw_fingers(picture, eyes)
        points = sheet.project(pose, sheet.on_sheet(self._source, self._exposed.points), height, width)
        return Frame(np.asarray(picture, np.float32), eyes, points)

    def _mirror(self, pose: sheet.SheetPose, across: Floats, v: Floats) -> Floats:
        """Brightness of the lamp's mirror image in the paper, float32 (H / 8, W / 8)."""
        if self._lobe is None:
            offset = across * 1.2 - self.light.direction[0] * 0.5 + 2 * pose.turn[1]
            return np.asarray(np.clip(1 - np.abs(offset), 0, 1) ** 2, np.float32)
        down = cv2.resize(v, across.shape[::-1], interpolation=cv2.INTER_AREA)
        # A rotation of the sheet moves the mirror image by twice its angle; bent paper draws it out.
        x = across * (1 + 2 * abs(pose.curvature)) - self._mirrored[0] + 2 * (pose.turn[1] - self._turn[1])
        y = down - self._mirrored[1] + 2 * (pose.turn[0] - self._turn[0])
        return np.asarray(np.exp(-(x * x + y * y) / (2 * self._lobe**2)), np.float32)

    def _draw_fingers(self, picture: Floats, eyes: Floats) -> None:
        """Draws the fingers, which move with the sheet."""
        assert self._fingers is not None
        height, width = picture.shape[:2]
        moved_px = eyes.mean(0) - np.array(self.view.eyes_at, np.float32) * [width, height]
        move = np.array([[1, 0, moved_px[0]], [0, 1, moved_px[1]]], np.float32)
        fingers = cv2.warpAffine(self._fingers, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        picture += fingers[..., None] * (self._finger_colour - picture)


def _processed(picture: Floats, printer: Printer, rng: np.random.Generator) -> Floats:
    """The photograph as it is printed: level, white balance, saturation, contrast, highlights rolled off."""
    level = float(rng.uniform(*printer.level)) / max(float(picture.mean()), 1e-3)
    saturation = float(rng.uniform(*printer.saturation))
    balanced = picture * level
    mean = balanced.mean((0, 1))
    balanced *= ((mean.mean() / mean) ** float(rng.uniform(*printer.balance))).astype(np.float32)
    grey = balanced.mean(2, keepdims=True)
    balanced = grey + saturation * (balanced - grey)
    # Photo processing increases the contrast, because a print of the plain scene looks flat.
    contrast = float(rng.uniform(*printer.contrast))
    balanced = np.clip(balanced, 1e-4, None) / np.float32(0.25)
    balanced = cv2.pow(balanced.astype(np.float32), contrast) * np.float32(0.25)
    rolled = np.where(balanced < 0.6, balanced, 0.6 + 0.4 * (1 - np.exp(-(balanced - 0.6) / 0.4)))
    return np.asarray(rolled, np.float32)


def _with_margin(paper: Floats, margin: float, rng: np.random.Generator) -> tuple[Floats, int]:
    """The sheet with a white margin, premultiplied RGBA float32 (H, W, 4), and the margin's width in pixels."""
    border = round(margin * paper.shape[1]) + 2
    white = tuple(float(value) for value in np.array([0.9, 0.89, 0.87]) * rng.uniform(0.9, 1.0))
    framed = cv2.copyMakeBorder(paper, border, border, border, border, cv2.BORDER_CONSTANT, value=white)
    alpha = np.ones((*framed.shape[:2], 1), np.float32)
    alpha[:2] = alpha[-2:] = 0
    alpha[:, :2] = alpha[:, -2:] = 0
    return np.concatenate([framed * alpha, alpha], -1), border


def _between_hands(
    paper: Floats, margin_px: int, blur_px: float, medium_blur_px: float, rng: np.random.Generator
) -> tuple[Floats, int]:
    """The sheet, premultiplied RGBA float32 (H, W, 4), blurred and held by hands, and the room for these in pixels.

    Hands, margins and edges are no picture of a picture: only they lack the blur of photograph and print, by which the
    lens blur is reduced, so they get it here.
    """
    held, around_px = hands.add_hands(paper, rng)
    before = cv2.copyMakeBorder(paper, *[around_px] * 4, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    bare = np.abs(held - before).max(2) < 1e-3
    edge_px = around_px + margin_px
    bare[:edge_px] = bare[-edge_px:] = bare[:, :edge_px] = bare[:, -edge_px:] = False
    reach = 2 * round(2 * medium_blur_px) + 1
    bare = cv2.erode(bare.astype(np.uint8), np.ones((reach, reach), np.uint8))
    inner = cv2.GaussianBlur(bare.astype(np.float32), (0, 0), medium_blur_px)[..., None]
    sharp, soft = (
        cv2.GaussianBlur(held, (0, 0), sigma) for sigma in (blur_px, float(np.hypot(blur_px, medium_blur_px)))
    )
    return np.asarray(soft + inner * (sharp - soft), np.float32), around_px


def _draw_fingers(rng: np.random.Generator, view: View) -> Floats:
    """Opacity of finger tips at a lower corner, float32 (height, width)."""
    mask = np.zeros((view.height, view.width), np.uint8)
    side = float(rng.choice([0.0, 1.0]))
    for k in range(int(rng.integers(1, 4))):
        x = (side + (0.5 - side) * 0.08) * view.width
        y = (0.70 + 0.10 * k + rng.normal(0, 0.01)) * view.height
        axes = (int(view.width * rng.uniform(0.07, 0.13)), int(view.width * 0.042))
        cv2.ellipse(mask, (int(x), int(y)), axes, float(rng.normal(0, 8)), 0, 360, 255, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), view.width / 384 * 2), np.float32)
