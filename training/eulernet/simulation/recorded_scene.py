# SPDX-License-Identifier: Apache-2.0
"""A scene as a phone has recorded it: what a print or a display shows of a person."""

from dataclasses import replace

import numpy as np

from eulernet.simulation.camera import Camera, Exposure, Flicker, Phone
from eulernet.simulation.opencv import cv2
from eulernet.simulation.presets import FPS
from eulernet.simulation.randomness import Floats
from eulernet.simulation.scene import Frame, Scene

_CODES = np.arange(256, dtype=np.float32) / 255
# Linear light of 8-bit codes (sRGB).
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
_JPEG_QUALITY = (55, 95)
_BLUR = 0.35
_STEADY = (0.004, 0.6)  # fluctuation of the exposure


class RecordedScene:
    """Frames of `scene` through a phone's camera and JPEG, at 30 frames/s, as linear light 0 to 1."""

    def __init__(self, scene: Scene, phone: Phone, exposure: Exposure, rng: np.random.Generator) -> None:
        self.view, self.light = scene.view, scene.light
        self._scene = scene
        flicker = Flicker(scene.light.flicker, scene.light.flicker_hz)
        view = scene.view
        face = (view.eyes_at[0] * view.width, view.eyes_at[1] * view.height + 0.2 * view.face_px, view.face_px)
        lamps = 0.6 * scene.light.key + scene.light.fill
        # It has more pixels than the phone's picture of the sheet, so that its blur is less.
        sharp = replace(phone, blur_px=_BLUR * phone.blur_px)
        # Its exposure is steady, or an attack's brightness would vary by two cameras.
        steady = replace(exposure, hunting=_STEADY)
        self._camera = Camera(sharp, rng, view.height, view.width, flicker, exposure=steady, face=face, lamps=lamps)
        self._quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*_JPEG_QUALITY))]

    def frame(self, time_s: float, still: bool = False) -> Frame:
        """The recorded picture at a time; `still` as for Scene."""
        frame = self._scene.frame(time_s, still)
        index = round(time_s * FPS)
        moved = self._camera.shutter_map(index)
        picture = self._camera.expose(frame.picture, index)
        _, encoded = cv2.imencode(".jpg", picture, self._quality)
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        linear = np.asarray(cv2.LUT(picture, _LINEAR), np.float32)
        return Frame(linear, _moved(frame.eyes, moved), _moved(frame.points, moved))


def _moved(points: Floats, by: Floats) -> Floats:
    return np.asarray(points @ by[:, :2].T + by[:, 2], np.float32)
