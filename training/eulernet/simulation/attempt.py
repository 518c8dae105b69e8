# SPDX-License-Identifier: Apache-2.0
"""One presentation to one phone, defined by its name: subject, light, live or instrument; and its frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eulernet.datasets.oulu import Name
from eulernet.simulation.camera import Camera, Flicker
from eulernet.simulation.conditions import VERSIONS, Conditions, Framing
from eulernet.simulation.light import Light, draw_light
from eulernet.simulation.presets import Preset
from eulernet.simulation.print import PHOTO_SCALE, PrintScene
from eulernet.simulation.randomness import Floats, Pixels, stream
from eulernet.simulation.recorded_scene import RecordedScene
from eulernet.simulation.recording import Encoding
from eulernet.simulation.replay import ReplayScene
from eulernet.simulation.scene import Frame, Scene, Subject, View


@dataclass(frozen=True)
class Shot:
    """A frame of the phone: picture uint8 (H, W, 3) RGB, eyes float32 (2, 2) px, the right one first."""

    picture: Pixels
    eyes: Floats


@lru_cache(maxsize=2)
def subject_of(seed: int, user: int, version: int) -> Subject:
    """The user's head. Jobs are sorted by user, so a cache of two is enough."""
    return Subject(seed, user, VERSIONS[version].people)


class Attempt:
    """The scene and the phone of the video `name`.

    Args:
        name: phone, session, user, file.
        seed: of the data set.
        preset: sizes and version.
    """

    def __init__(self, name: Name, seed: int, preset: Preset) -> None:
        rng = stream(seed, "video", name)
        given = self._conditions = VERSIONS[preset.version]
        self._frames, self._fps = preset.frames, preset.fps
        self._recording = given.recordings.draw(stream(seed, "recording", name), preset.height_px, preset.width_px)
        size = self._recording.height_px, self._recording.width_px
        self._subject, self._duration_s = subject_of(seed, name.user, preset.version), preset.frames / preset.fps
        view = _draw_view(rng, given.framing, *size)
        light: Light
        self.scene: Scene | PrintScene | ReplayScene
        medium_blur_px = 0.0
        if name.file == 1:
            self.scene = self._presented(view, name.session, rng)
            light = self.scene.light
        else:
            # The photograph or video is taken in the same session, as for OULU-NPU. With another session's light, the
            # light alone would distinguish attacks.
            light = draw_light(rng, name.session)
            self.scene = self._attack(name, view, light, rng)
            medium_blur_px = self.scene.medium_blur_px
        flicker = Flicker(light.flicker, light.flicker_hz)
        face = (view.eyes_at[0] * size[1], view.eyes_at[1] * size[0] + 0.2 * view.face_px, view.face_px)
        phone = given.phones[name.phone]
        # The white balance sees both the lamps and a display.
        lamps = 0.6 * light.key + light.fill
        if isinstance(self.scene, ReplayScene):
            lamps = np.sqrt(lamps * self.scene.white)
        self.camera = Camera(phone, rng, *size, flicker, medium_blur_px, given.exposure, face, lamps, preset.fps)
        self.encoding = self._recording.encoding or Encoding(False, self.camera.quantiser)

    def _presented(self, view: View, session: int, rng: np.random.Generator) -> Scene:
        return Scene(self._subject, view, session, rng, self._duration_s, self._conditions.room)

    def _attack(self, name: Name, view: View, light: Light, rng: np.random.Generator) -> PrintScene | ReplayScene:
        given = self._conditions
        sheet_view = _sheet_view(rng, view, given)
        if name.file in (2, 3):
            photo = self._presented(_enlarged(sheet_view, PHOTO_SCALE), name.session, rng)
            return PrintScene(
                self._recorded(photo, rng), given.printers[name.file - 1], view, light, rng, given.far_room
            )
        low, high = given.source.detail
        detail = float(rng.uniform(low, high)) if low < high else high
        video = self._presented(_enlarged(sheet_view, detail) if detail != 1 else sheet_view, name.session, rng)
        return ReplayScene(self._recorded(video, rng), given.displays[name.file - 3], view, light, rng, given.far_room)

    def _recorded(self, scene: Scene, rng: np.random.Generator) -> Scene | RecordedScene:
        """What the attack shows: the scene, or the scene as any phone records it."""
        given = self._conditions
        if not given.source.recorded:
            return scene
        phone = given.phones[int(rng.choice(sorted(given.phones)))]
        return RecordedScene(scene, phone, given.exposure, rng)

    def light_frames(self) -> Iterator[Frame]:
        """The scenes, without the camera's shake, blur and noise."""
        for index in range(self._frames):
            yield self.scene.frame(index / self._fps)

    def shots(self) -> Iterator[Shot]:
        """The video."""
        for index, frame in enumerate(self.light_frames()):
            moved = self.camera.shutter_map(index)
            eyes = frame.eyes @ moved[:, :2].T + moved[:, 2]
            picture = self._recording.soften(self.camera.expose(frame.picture, index))
            yield Shot(picture, np.asarray(eyes, np.float32))


def _draw_view(rng: np.random.Generator, framing: Framing, height: int, width: int) -> View:
    face_px = float(rng.uniform(*framing.face_width)) * width
    mean, spread = framing.eyes_y
    x, y = 0.5 + float(rng.normal(0, framing.eyes_x_sd)), mean + float(rng.normal(0, spread))
    return View(height, width, face_px, (x, y))


def _sheet_view(rng: np.random.Generator, before_phone: View, given: Conditions) -> View:
    """View of the photograph or video of an attack. The sheet's picture is as large as the phone's, or as large as the
    sheet is seen, if that is less."""
    source = given.source
    view = _draw_view(rng, given.framing, before_phone.height, before_phone.width)
    width = float(rng.uniform(*source.widths[0 if rng.random() < source.first else 1]))
    width = max(width, before_phone.face_px / before_phone.width / source.widest_face)
    whole = View(view.height, view.width, before_phone.face_px / width, view.eyes_at)
    return _enlarged(whole, width) if width < 1 else whole


def _enlarged(view: View, scale: float) -> View:
    height, width = round(view.height * scale / 2) * 2, round(view.width * scale / 2) * 2
    return View(height, width, view.face_px * scale, view.eyes_at)
