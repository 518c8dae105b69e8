# SPDX-License-Identifier: Apache-2.0
"""One presentation to one phone, defined by its name: subject, light, live or instrument; and its frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eulernet.datasets.oulu import Name
from eulernet.simulation.camera import FPS, PHONES, Camera, Flicker
from eulernet.simulation.light import Light, draw_light
from eulernet.simulation.presets import Preset
from eulernet.simulation.print import PHOTO_SCALE, PRINTERS, PrintScene
from eulernet.simulation.randomness import Floats, Pixels, stream
from eulernet.simulation.replay import DISPLAYS, ReplayScene
from eulernet.simulation.scene import Frame, Scene, Subject, View


@dataclass(frozen=True)
class Shot:
    """A frame of the phone: picture uint8 (H, W, 3) RGB, eyes float32 (2, 2) px, the right one first."""

    picture: Pixels
    eyes: Floats


@lru_cache(maxsize=2)
def subject_of(seed: int, user: int) -> Subject:
    """The user's head. Jobs are sorted by user, so a cache of two is enough."""
    return Subject(seed, user)


class Attempt:
    """The scene and the phone of the video `name`.

    Args:
        name: phone, session, user, file.
        seed: of the data set.
        preset: sizes.
    """

    def __init__(self, name: Name, seed: int, preset: Preset) -> None:
        rng = stream(seed, "video", name)
        self._frames = preset.frames
        self._size = preset.height_px, preset.width_px
        subject, duration_s = subject_of(seed, name.user), preset.frames / FPS
        view = _draw_view(rng, *self._size)
        light: Light
        self.scene: Scene | PrintScene | ReplayScene
        medium_blur_px = 0.0
        if name.file == 1:
            self.scene = Scene(subject, view, name.session, rng, duration_s)
            light = self.scene.light
        else:
            # The photograph or video is taken in the same session, as for OULU-NPU. With another session's light, the
            # light alone would distinguish attacks.
            light = draw_light(rng, name.session)
            if name.file in (2, 3):
                photo = Scene(subject, _enlarged(_sheet_view(rng, view), PHOTO_SCALE), name.session, rng, duration_s)
                self.scene = PrintScene(photo, PRINTERS[name.file - 1], view, light, rng)
            else:
                video = Scene(subject, _sheet_view(rng, view), name.session, rng, duration_s)
                self.scene = ReplayScene(video, DISPLAYS[name.file - 3], view, light, rng)
            medium_blur_px = self.scene.medium_blur_px
        flicker = Flicker(light.flicker, light.flicker_hz)
        self.camera = Camera(PHONES[name.phone], rng, *self._size, flicker, medium_blur_px)

    def light_frames(self) -> Iterator[Frame]:
        """The scenes, without the camera's shake, blur and noise."""
        for index in range(self._frames):
            yield self.scene.frame(index / FPS)

    def shots(self) -> Iterator[Shot]:
        """The video."""
        for index, frame in enumerate(self.light_frames()):
            moved = self.camera.shutter_map(index)
            eyes = frame.eyes @ moved[:, :2].T + moved[:, 2]
            yield Shot(self.camera.expose(frame.picture, index), np.asarray(eyes, np.float32))


def _draw_view(rng: np.random.Generator, height: int, width: int) -> View:
    face_px = float(rng.uniform(0.58, 0.67)) * width
    return View(height, width, face_px, (0.5 + float(rng.normal(0, 0.025)), 0.40 + float(rng.normal(0, 0.02))))


def _sheet_view(rng: np.random.Generator, before_phone: View) -> View:
    """View of the photograph or video of an attack: mostly from a distance that puts the sheet's edges outside the
    phone's picture."""
    view = _draw_view(rng, before_phone.height, before_phone.width)
    distance = float(rng.uniform(1.14, 1.32)) if rng.random() < 0.8 else float(rng.uniform(1.0, 1.1))
    return View(view.height, view.width, before_phone.face_px / distance, view.eyes_at)


def _enlarged(view: View, scale: float) -> View:
    height, width = round(view.height * scale / 2) * 2, round(view.width * scale / 2) * 2
    return View(height, width, view.face_px * scale, view.eyes_at)
