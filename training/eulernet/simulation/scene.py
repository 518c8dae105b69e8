# SPDX-License-Identifier: Apache-2.0
"""A person in front of a wall, seen by an ideal pinhole camera: linear RGB, without noise, blur or shake."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from eulernet.simulation import head, layers, light, motion, room, skin
from eulernet.simulation import triangle_raster as raster
from eulernet.simulation.features import Eye, Mouth
from eulernet.simulation.opencv import cv2
from eulernet.simulation.pulse import Pulse, spatial_amplitude
from eulernet.simulation.randomness import Floats, smooth_noise, stream

FOCAL_WIDTHS = 1.45  # focal length in widths of the picture: 38 degrees, a phone's front camera in portrait
_PIVOT = np.array([0.0, 0.70, 0.80], np.float32)  # centre of the head's rotation on the neck
_RIM = np.linspace(0, 2 * np.pi, 28, endpoint=False)


@dataclass(frozen=True)
class Frame:
    """A picture, float32 (H, W, 3) linear RGB, and in its pixels the eyes (2, 2), the subject's right eye first, and
    the 468 points of the face (468, 2), including hidden ones."""

    picture: Floats
    eyes: Floats
    points: Floats


@dataclass(frozen=True)
class View:
    """Size of the picture and of the face in pixels, and position of the middle between the eyes, 0 to 1."""

    height: int
    width: int
    face_px: float
    eyes_at: tuple[float, float]


class Subject:
    """A person: shape and colours, the same in all videos of the person."""

    def __init__(self, seed: int, user: int, detail: skin.Detail | None = None) -> None:
        rng = stream(seed, "subject", user)
        self.detail = detail = detail or skin.Detail()
        self.looks = skin.Looks.draw(rng)
        grid = head.vary(rng)
        if detail.crown:
            above_brow = np.clip((-0.25 - grid[..., 1]) / 0.35, 0, 1)
            grid[..., 0] *= 1 + detail.crown * above_brow
        self.albedo, hair = skin.paint(rng, self.looks, detail)
        self.hair = cv2.resize(hair, (head.COLUMNS, head.ROWS), interpolation=cv2.INTER_AREA)
        volume = {"short": 0.045, "long": 0.06, "tied": 0.03, "bald": 0.0, "receding": 0.02}[self.looks.hair]
        raised = cv2.GaussianBlur(self.hair, (0, 0), 1.2) * volume * rng.uniform(0.6, 1.5) * detail.hair_volume
        if detail.hair_relief:
            tufts = smooth_noise(stream(seed, "tufts", user), head.ROWS, head.COLUMNS, cells=22)
            raised = raised * (1 + detail.hair_relief * tufts)
        outwards = (grid - head.MIDDLE) / np.linalg.norm(grid - head.MIDDLE, axis=-1, keepdims=True)
        self.grid = (grid + raised[..., None] * outwards).astype(np.float32)
        self.occlusion = light.ambient_occlusion(self.grid)
        self.pulsing = spatial_amplitude(self.hair)
        self.oily = (1 - 0.7 * self.hair) * (0.6 + 0.8 * np.clip(1 - np.abs(self.grid[..., 0]) / 0.3, 0, 1))
        self.features = (Eye(self.albedo, self.looks, False), Eye(self.albedo, self.looks, True), Mouth(self.albedo))
        self.glasses = Glasses(rng) if self.looks.glasses else None


class Glasses:
    """Two rims, a bridge and temples: closed lines in the head's axes."""

    def __init__(self, rng: np.random.Generator) -> None:
        half_w, half_h = rng.uniform(0.155, 0.185), rng.uniform(0.10, 0.145)
        power = rng.uniform(0.55, 1.0)
        self.colour = np.exp(rng.normal(-3, 0.8)) * np.exp(rng.normal(0, 0.2, 3))
        self.thickness = float(rng.uniform(0.010, 0.028))
        cos, sin = np.cos(_RIM), np.sin(_RIM)
        across, down = np.sign(cos) * np.abs(cos) ** power * half_w, np.sign(sin) * np.abs(sin) ** power * half_h
        self.lines = []
        for side in (-1, 1):
            x = side * 0.225 + across
            self.lines.append(np.stack([x, 0.015 + down, 0.13 + 0.45 * x**2], 1))
        bridge = np.linspace(-0.065, 0.065, 6)
        self.lines.append(np.stack([bridge, -0.02 - 0.02 * np.cos(bridge * 24), np.full(6, 0.125)], 1))
        for side in (-1, 1):
            temple = [[side * 0.395, -0.02, 0.20], [side * 0.53, -0.02, 0.42], [side * 0.56, 0.0, 0.7]]
            self.lines.append(np.array(temple))


@functools.cache
def _mesh() -> raster.Mesh:
    return raster.grid_mesh(head.ROWS, head.COLUMNS)


@functools.cache
def _deformations() -> dict[str, Floats]:
    """Displacements of the mean head's vertices for a full jaw, smile and brows; float32 (ROWS, COLUMNS, 3) each."""
    mean = head.mean_head()
    x, y = mean[..., 0], mean[..., 1]
    jaw = np.clip((y - 0.42) / 0.12, 0, 1) * np.exp(-((x / 0.42) ** 2)) * np.clip(1.4 - mean[..., 2] * 1.6, 0, 1)
    corner = head.Bump((0.21, 0.42, 0.28), (0.08, 0.08, 0.2))(mean, mirrored=True)
    cheek = head.Bump((0.28, 0.26, 0.28), (0.1, 0.1, 0.2))(mean, mirrored=True)
    brow = head.Bump((0.24, -0.15, 0.25), (0.14, 0.07, 0.2))(mean, mirrored=True)
    zero = np.zeros_like(x)
    fields = {
        "jaw": (zero, 0.055 * jaw, 0.02 * jaw),
        "smile": (0.035 * corner * np.sign(x), -0.03 * corner - 0.012 * cheek, 0.02 * corner - 0.025 * cheek),
        "brows": (zero, -0.035 * brow, zero),
    }
    return {name: np.stack(field, -1).astype(np.float32) for name, field in fields.items()}


class Scene:
    """A subject in a session's light during one video; `frame(t)` is the picture for a camera at rest."""

    def __init__(
        self,
        subject: Subject,
        view: View,
        session: int,
        rng: np.random.Generator,
        duration_s: float,
        place: room.Room | None = None,
    ) -> None:
        self.subject, self.view = subject, view
        self.light = light.draw_light(rng, session)
        self.pulse = Pulse.draw(rng)
        self.person = motion.Person(rng, duration_s)
        self._focal = FOCAL_WIDTHS * view.width
        self._distance = self._focal / view.face_px
        self._centre = np.array([view.eyes_at[0] * view.width, view.eyes_at[1] * view.height], np.float32)
        self._albedo = subject.albedo.copy()
        height, width = view.height, view.width
        self._wall = room.background(rng, place or room.Room(), height, width, self.light)
        scale = self._focal / (self._distance + float(_PIVOT[2]) * 0.75)
        common = (rng, subject.looks, self.light, height, width, self._centre, scale)
        self._body = layers.shoulders(*common, subject.detail.clothes)
        self._locks = layers.long_hair(*common) if subject.looks.hair == "long" else None
        self._scale = scale

    def frame(self, time_s: float, still: bool = False) -> Frame:
        """The scene at a time.

        `still` keeps the pose of time 0 with open eyes: for photographs, and for tests of the pulse.
        """
        pose = self.person.pose(0.0 if still else time_s)
        if still:
            pose = replace(pose, expression=replace(pose.expression, lids=min(pose.expression.lids, 0.12)))
        grid = self._deformed(pose)
        rotation = _rotation(pose.turn)
        shift = np.array(pose.shift, np.float32)
        eyes_mid = np.array([0, 0, 0.30], np.float32)
        placed = (grid - _PIVOT) @ rotation.T + _PIVOT + shift
        depth = placed[..., 2] - eyes_mid[2] + self._distance
        screen = self._project(placed)
        gain = self.pulse.gain(time_s, self.subject.pulsing)
        attributes = self._attributes(grid, rotation, gain)
        picture = self._wall.copy()
        self._draw_body(picture, rotation, shift)
        self._draw_head(picture, screen, depth, attributes, pose)
        if self.subject.glasses is not None:
            self._draw_glasses(picture, rotation, shift)
        points = head.on_head(placed.astype(np.float32), head.directions_deg(head.face_points()))
        on_screen = self._project(points)
        eyes = np.stack([on_screen[[33, 133, 159, 145]].mean(0), on_screen[[263, 362, 386, 374]].mean(0)])
        return Frame(picture, eyes.astype(np.float32), on_screen)

    def _deformed(self, pose: motion.Pose) -> Floats:
        fields = _deformations()
        grid = self.subject.grid + fields["jaw"] * np.float32(pose.expression.mouth)
        return np.asarray(grid + fields["smile"] * np.float32(pose.smile) + fields["brows"] * np.float32(pose.brows))

    def _project(self, points: Floats) -> Floats:
        """Pixels, float32 (..., 2), of points in the head's axes when the head is at rest."""
        depth = points[..., 2:] - 0.30 + self._distance
        return np.asarray(self._focal * points[..., :2] / depth + self._centre, np.float32)

    def _attributes(self, grid: Floats, rotation: Floats, gain: Floats) -> Floats:
        """Texel, light and highlight of each vertex: float32 (V, 6)."""
        normal = head.normals(grid) @ rotation.T
        lit = light.cast_shadow(grid, rotation.T @ self.light.direction)
        diffuse, highlight = light.shade(normal, self.subject.occlusion, lit, self.light)
        texels = head.texel(head.grid_directions())
        parts = [texels, diffuse * gain, (highlight * self.subject.oily)[..., None]]
        return np.asarray(np.concatenate(parts, -1).reshape(-1, 6), np.float32)

    def _draw_body(self, picture: Floats, rotation: Floats, shift: Floats) -> None:
        # A shift in z changes the size; the pivot moves only with the shift.
        zoom = self._distance / (self._distance + float(shift[2]))
        move_px = shift[:2] * self._scale
        body = np.array([[zoom, 0, 0], [0, zoom, 0]], np.float32)
        body[:, 2] = self._centre * (1 - zoom) + move_px
        layers.over(picture, self._body, body)
        if self._locks is not None:
            behind = (np.array([0, 0.1, 0.8], np.float32) - _PIVOT) @ rotation.T + _PIVOT - [0, 0.1, 0.8]
            locks = body.copy()
            locks[:, 2] += behind[:2].astype(np.float32) * self._scale
            layers.over(picture, self._locks, locks)

    def _draw_head(self, picture: Floats, screen: Floats, depth: Floats, attributes: Floats, pose: motion.Pose) -> None:
        """Rasterises light and texture coordinates, which are smooth, at half the resolution, and textures at full."""
        for feature in self.subject.features:
            self._albedo[feature.window] = feature.draw(pose.expression)
        height, width = self.view.height, self.view.width
        points = screen.reshape(-1, 2) / 2
        distance = depth.reshape(-1).astype(np.float32)
        half = raster.rasterise(_mesh(), points, distance, attributes, height // 2, width // 2)
        rows, columns = np.flatnonzero(half[..., 6].any(1)), np.flatnonzero(half[..., 6].any(0))
        if len(rows) == 0:
            return
        r0, r1 = max(rows[0] - 3, 0), min(rows[-1] + 4, height // 2)
        c0, c1 = max(columns[0] - 3, 0), min(columns[-1] + 4, width // 2)
        where, light_there, covered = _fill_outwards(half[r0:r1, c0:c1])
        size = (2 * (c1 - c0), 2 * (r1 - r0))
        texels, lit = cv2.resize(where, size), cv2.resize(light_there, size)
        alpha = np.clip(cv2.resize(cv2.GaussianBlur(covered, (0, 0), 0.6), size) * 2.0 - 0.5, 0, 1)[..., None]
        colour = cv2.remap(self._albedo, texels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        colour *= lit[..., :3]
        colour += lit[..., 3:] * self.light.key
        part = picture[2 * r0 : 2 * r1, 2 * c0 : 2 * c1]
        colour -= part
        colour *= alpha
        part += colour

    def _draw_glasses(self, picture: Floats, rotation: Floats, shift: Floats) -> None:
        glasses = self.subject.glasses
        assert glasses is not None
        lines = [self._project((line - _PIVOT) @ rotation.T + _PIVOT + shift) for line in glasses.lines]
        every = np.concatenate(lines)
        left, top = (max(int(v) - 8, 0) for v in every.min(0))
        right, bottom = (int(v) + 9 for v in every.max(0))
        part = picture[top:bottom, left:right]
        mask = np.zeros(part.shape[:2], np.uint8)
        width = max(round(glasses.thickness * self.view.face_px), 1)
        for k, line in enumerate(lines):
            pixels = [np.rint((line - [left, top]) * 16 - 8).astype(np.int32)]
            cv2.polylines(mask, pixels, k < 2, 255, width, cv2.LINE_AA, 4)
        alpha = (mask.astype(np.float32) * np.float32(0.93 / 255))[..., None]
        colour = (glasses.colour * (0.7 * self.light.key + self.light.fill)).astype(np.float32)
        part += alpha * (colour - part)


def _rotation(turn: tuple[float, float, float]) -> Floats:
    """Yaw about y, then pitch about x, then roll about z."""
    yaw, pitch, roll = turn
    about_y = cv2.Rodrigues(np.array([0, yaw, 0.0]))[0]
    about_x = cv2.Rodrigues(np.array([pitch, 0, 0.0]))[0]
    about_z = cv2.Rodrigues(np.array([0, 0, roll]))[0]
    return np.asarray(about_z @ about_x @ about_y, np.float32)


def _fill_outwards(drawn: Floats) -> tuple[Floats, Floats, Floats]:
    """Extrapolates the drawing a few pixels beyond its edge, for the interpolation there.

    Returns: OpenCV's coordinates in the texture (h, w, 2); light and highlight (h, w, 4); coverage (h, w).
    """
    covered = np.ascontiguousarray(drawn[..., 6])
    outside = (covered < 0.5) & (cv2.blur(covered, (5, 5)) > 0)
    weight = cv2.blur(covered, (5, 5))[outside][:, None]
    filled = []
    # The centres of texels are at halves, those in OpenCV at whole numbers.
    for part in (drawn[..., :2] - 0.5 * covered[..., None], np.ascontiguousarray(drawn[..., 2:6])):
        part[outside] = cv2.blur(part, (5, 5))[outside] / weight
        filled.append(part)
    return filled[0], filled[1], covered
