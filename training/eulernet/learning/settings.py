# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run, read from one TOML file. Every value has a default; an unknown name is an error."""

import dataclasses
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eulernet.labels import LABEL_KINDS
from eulernet.network import NetworkConfig
from eulernet_core import shipped
from eulernet_core.clip_geometry import CLIP_FRAMES, CLIP_SPAN
from eulernet_core.face_box import BOX_SCALE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AUTOCAST = ("auto", "bf16", "off")
REGRESSIONS = ("mse", "bce")
EULERNET = "eulernet"
SYSTEMS = (EULERNET, "deep_pix_bis", "cdcn", "fas_sgtd", "disentangled", "minifasnet")
WORST_CRF = 51.0  # of x264
WINDOW_STEP_PX = 16  # one pixel of the network's deepest level
Section = TypeVar("Section")


class SettingsError(ValueError):
    """Invalid settings; the message names the file, the section and the value."""


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW (Loshchilov and Hutter 2019) with linear warm-up and cosine decay to zero (Loshchilov and Hutter 2017)."""

    epochs: int = 30  # passes over the training clips
    batch_size: int = 16  # clips in one step
    learning_rate: float = 1e-3  # largest learning rate, after the warm-up
    weight_decay: float = 1e-2  # AdamW's decoupled weight decay
    warmup_epochs: float = 1.0  # epochs of linear warm-up
    gradient_norm: float = 5.0  # gradients are clipped to this norm
    autocast: str = "auto"  # bf16 if the processor supports it; or bf16, off

    def __post_init__(self) -> None:
        if self.autocast not in AUTOCAST:
            raise SettingsError(f"autocast = {self.autocast!r}: choose one of {', '.join(AUTOCAST)}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: at least 1 is needed")


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses; see losses.py. `regression` is mse (as in CDCN and FAS-SGTD) or bce."""

    regression: str = "mse"  # loss of each pixel of the map: mse or bce
    regression_weight: float = 1.0  # weight of that loss
    contrast_weight: float = 0.5  # weight of the loss of each pixel's differences from its neighbours
    live_weight: float = 1.0  # weight of a live clip; most data sets have several attacks per live clip
    first_frame: int = 0  # number of a clip's first frame in the loss; frame 0 shows no motion, so twins want 1

    def __post_init__(self) -> None:
        if self.regression not in REGRESSIONS:
            raise SettingsError(f"regression = {self.regression!r}: choose one of {', '.join(REGRESSIONS)}")
        if self.live_weight <= 0:
            raise SettingsError(f"live_weight = {self.live_weight}: choose a positive one")
        if not 0 <= self.first_frame < CLIP_FRAMES:
            raise SettingsError(f"first_frame = {self.first_frame}: choose one from 0 to {CLIP_FRAMES - 1}")


@dataclass(frozen=True)
class AugmentationSettings:
    """Limits of the random changes; all frames of a clip get the same draw, so that motion stays as recorded."""

    flip: bool = True  # mirror a clip with probability 1/2
    quarter_turns: bool = False  # for windows: a display's grid and a print's raster can have any angle
    gain: float = 0.2  # of brightness, a share
    contrast: float = 0.2  # a share
    colour: float = 0.05  # per channel, a share
    saturation: float = 0.0  # a share; 1: from grey to twice the saturation
    sharpness: float = 0.0  # a share of the difference from the 3x3 mean, added or subtracted
    shift: float = 0.05  # of the crop's side
    zoom: float = 0.1  # a share
    window_px: int = 0  # side of the square window of the crop to train on; 0: the whole crop
    windows_per_clip: int = 1  # in each epoch

    def __post_init__(self) -> None:
        step = WINDOW_STEP_PX
        if self.window_px and (self.window_px < 2 * step or self.window_px % step):
            raise SettingsError(f"window_px = {self.window_px}: choose a multiple of {step} from {2 * step} on, or 0")
        if self.windows_per_clip < 1:
            raise SettingsError(f"windows_per_clip = {self.windows_per_clip}: at least 1 is needed")


@dataclass(frozen=True)
class EncodingSettings:
    """Clips as from smaller and compressed videos, twins as well as all others; off by default."""

    share: float = 0.0  # of the clips that are encoded as H.264 and decoded
    smallest_px: int = 96  # side to which an encoded clip's crop is scaled down at most
    lowest_crf: float = 16.0  # x264's constant rate factor, of the best quality
    highest_crf: float = 34.0  # of the worst

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise SettingsError(f"share = {self.share}: choose a share from 0 to 1")
        if self.smallest_px < 2 * WINDOW_STEP_PX:
            raise SettingsError(f"smallest_px = {self.smallest_px}: choose at least {2 * WINDOW_STEP_PX}")
        if not 0.0 <= self.lowest_crf <= self.highest_crf <= WORST_CRF:
            raise SettingsError(
                f"lowest_crf = {self.lowest_crf}, highest_crf = {self.highest_crf}: choose 0 <= lowest_crf <= "
                f"highest_crf <= {WORST_CRF}"
            )


@dataclass(frozen=True)
class TwinSettings:
    """Twins of bona fide clips as further attacks, see twins.py; off by default, and then nothing below has an effect.

    Speeds are of a crop of 256 px, from a clip's frame to the next. Noise and resampling are for all clips alike.
    """

    frozen: float = 0.0  # twins that repeat one frame, a share of the batch, added to it
    moved: float = 0.0  # twins that move one frame as a plane, a share of the batch, added to it
    slowest_px: float = 0.7  # lowest speed of a moved twin
    fastest_px: float = 6.0  # highest speed; living faces move by 3.8 px, and slower twins teach that motion is life
    resampled: float = 0.5  # probability that a clip is resampled in a view held for all frames; moved twins always are
    noised: float = 0.5  # probability that a clip has noise, another one in each frame
    noise: float = 0.03  # largest standard deviation of the noise, a share of white

    def __post_init__(self) -> None:
        for name in ("frozen", "moved", "resampled", "noised", "noise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingsError(f"{name} = {getattr(self, name)}: choose a share from 0 to 1")
        if not 0.0 < self.slowest_px <= self.fastest_px:
            raise SettingsError(
                f"slowest_px = {self.slowest_px}, fastest_px = {self.fastest_px}: choose 0 < slowest_px <= fastest_px"
            )

    @property
    def on(self) -> bool:
        """Whether there are twins."""
        return self.frozen > 0.0 or self.moved > 0.0


@dataclass(frozen=True)
class PeerSettings:
    """Size of a system other than EulerNet, and the crop that it sees; see the package `eulernet.peers`."""

    input_px: int = 0  # side of the picture that the network sees; 0: as published
    width_factor: float = 1.0  # factor of the published numbers of channels
    box_scale: float = BOX_SCALE  # side of the crop to the detector's box

    def __post_init__(self) -> None:
        if self.input_px < 0:
            raise SettingsError(f"input_px = {self.input_px}: choose a number of pixels, or 0 for the published one")
        for name in ("width_factor", "box_scale"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} = {getattr(self, name)}: choose a positive one")


@dataclass(frozen=True)
class DataSettings:
    """The videos, and the clips of each. `protocol` and `fold` are OULU-NPU's; fold 0 means none."""

    protocol: int = 1  # OULU-NPU's protocol, 1 to 4
    fold: int = 0  # fold of protocols 3 and 4, 1 to 6; 0: none
    label: str = "location"  # target of a live frame: location, mask or depth
    clips_per_video: int = 4  # clips of each video, spread evenly
    draws: dict[str, float] = field(default_factory=dict)  # see `draw_weight`; empty: each clip alike
    stretch_frames: int = 0  # of the video; from them a training clip is cut anew in each use. 0: the same clips
    longest_past: int = 0  # clip frames that a training clip can have seen before, as in a stream; needs stretch_frames
    uneven: float = 0.0  # probability that a training clip's frames are early or late by one; needs stretch_frames

    def __post_init__(self) -> None:
        if self.label not in LABEL_KINDS:
            raise SettingsError(f"label = {self.label!r}: choose one of {', '.join(LABEL_KINDS)}")
        if self.protocol not in (1, 2, 3, 4) or not 0 <= self.fold <= 6:
            raise SettingsError(f"protocol = {self.protocol}, fold = {self.fold}: protocols are 1 to 4, folds 1 to 6")
        for beginning, weight in self.draws.items():
            if type(weight) not in (int, float) or not 0.0 <= weight < math.inf:
                raise SettingsError(f"draws.{beginning} = {weight!r}: choose a number from 0 on")
        if self.stretch_frames and self.stretch_frames < CLIP_SPAN:
            raise SettingsError(f"stretch_frames = {self.stretch_frames}: choose at least {CLIP_SPAN}, or 0")
        if self.longest_past < 0 or not 0.0 <= self.uneven <= 1.0:
            raise SettingsError(
                f"longest_past = {self.longest_past}, uneven = {self.uneven}: choose a number from 0 on, and 0 to 1"
            )
        if not self.stretch_frames and (self.longest_past or self.uneven):
            raise SettingsError("longest_past and uneven have no effect without stretch_frames: set that as well")

    def draw_weight(self, instrument: str) -> float:
        """How often a training clip is drawn, relative to the others.

        `draws` has a weight for the beginnings of instruments' names, as in {bona_fide = 2, replay = 1.3, print = 0.3};
        the longest one that fits counts, and 1 where none does.
        """
        fitting = [beginning for beginning in self.draws if instrument.startswith(beginning)]
        return float(self.draws[max(fitting, key=len)]) if fitting else 1.0


@dataclass(frozen=True)
class Settings:
    """One run. `seed` determines the initial parameters, the order of the clips and the augmentation.

    [network], [augmentation] and [encoding] are EulerNet's, [peer] is for all other systems, which have the
    augmentation of their sources; only windows_per_clip, the uses of a clip in each epoch, is for all.
    """

    seed: int = 0  # of the initial parameters, the order of the clips and the augmentation
    system: str = EULERNET  # the system to train: eulernet, or a module of eulernet.peers such as cdcn
    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    twins: TwinSettings = field(default_factory=TwinSettings)
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
    peer: PeerSettings = field(default_factory=PeerSettings)

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise SettingsError(f"system = {self.system!r}: choose one of {', '.join(SYSTEMS)}")
        uses = self.augmentation.windows_per_clip
        unused: dict[str, object] = {"peer": PeerSettings()}
        if self.system != EULERNET:
            unused = {
                "network": NetworkConfig(),
                "augmentation": AugmentationSettings(windows_per_clip=uses),
                "encoding": EncodingSettings(),
            }
        for section, default in unused.items():
            if getattr(self, section) != default:
                raise SettingsError(f"[{section}] has no effect on the system {self.system}: remove the section")
        if self.data.longest_past and self.system != EULERNET:
            raise SettingsError(f"longest_past: the system {self.system} has no state between clips; remove the value")
        longest = self.network.longest_sequence
        if longest and self.data.longest_past > longest - CLIP_FRAMES:
            raise SettingsError(
                f"longest_past = {self.data.longest_past}: the filters start anew after longest_sequence = {longest} "
                f"frames, and a clip has {CLIP_FRAMES}: choose at most {longest - CLIP_FRAMES}"
            )
        if self.augmentation.window_px > self.network.image_size:
            raise SettingsError(
                f"window_px = {self.augmentation.window_px}: more than image_size {self.network.image_size}"
            )

    @property
    def box_scale(self) -> float:
        """Side of the crop to the detector's box."""
        return self.network.box_scale if self.system == EULERNET else self.peer.box_scale


def find_recipe(name: str) -> Path:
    """The TOML file at the path `name`, or else the shipped recipe of that name: `small`, `small.toml`, `peers/cdcn`.

    Raises:
        SettingsError: neither exists; the message lists the shipped recipes.
    """
    path = Path(name)
    if path.is_file():
        return path
    try:
        folder = shipped.recipes()
        files = sorted(folder.rglob("*.toml"), key=lambda each: (len(each.parts), each))
    except shipped.NotInThisInstallationError as error:
        raise SettingsError(f"{name}: no such file; {error}") from error
    recipes = {each.relative_to(folder).with_suffix("").as_posix(): each for each in files}
    found = recipes.get(name.removesuffix(".toml"))
    if found is None:
        raise SettingsError(f"{name}: no such file; give a TOML file or a shipped recipe: {', '.join(recipes)}")
    return found


def read_settings(path: Path) -> Settings:
    """Reads a TOML file with the sections [data], [network], [optimizer], [loss], [augmentation], [twins], [encoding],
    [peer] and the values `seed` and `system`.

    Raises:
        SettingsError: the file can't be read, or has an unknown name or an invalid value.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    try:
        return _fill(Settings, values, "")
    except (SettingsError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _fill(kind: type[Section], values: dict[str, Any], where: str) -> Section:
    defaults = kind()
    known = {each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    filled: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"{where}{name}: unknown; there are {', '.join(sorted(known))}")
        default = getattr(defaults, name)
        if dataclasses.is_dataclass(default):
            if not isinstance(value, dict):
                raise SettingsError(f"{where}{name}: this is a section, write [{name}]")
            filled[name] = _fill(type(default), value, f"{name}.")
        else:
            filled[name] = _fit(f"{where}{name}", value, default)
    return kind(**filled)


def _fit(name: str, value: object, default: object) -> object:
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise SettingsError(f"{name} = {value!r}: must be {type(default).__name__}, such as {default!r}")
    return value
