"""What a training run is made of, read from one TOML file. Every value has a default; a misspelt one is an error."""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eulernet.labels import LABEL_KINDS
from eulernet.network import NetworkConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AUTOCAST = ("auto", "bf16", "off")
REGRESSIONS = ("mse", "bce")
WINDOW_STEP_PX = 16  # a pixel of the network's deepest level
Section = TypeVar("Section")


class SettingsError(ValueError):
    """The settings are not usable; the message names file, section and value."""


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW (Loshchilov and Hutter 2019) with linear warm-up and cosine decay (the same, 2017) to zero."""

    epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_epochs: float = 1.0
    gradient_norm: float = 5.0  # longer gradients are shortened to this
    autocast: str = "auto"  # bf16 where the processor has it, or always, or off

    def __post_init__(self) -> None:
        if self.autocast not in AUTOCAST:
            raise SettingsError(f"autocast = {self.autocast!r}: choose one of {', '.join(AUTOCAST)}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: at least 1 is needed")


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses; see losses.py. `regression` is mse (as CDCN and FAS-SGTD have it) or bce."""

    regression: str = "mse"
    regression_weight: float = 1.0
    contrast_weight: float = 0.5
    live_weight: float = 1.0  # how many times a live clip counts; attacks are often several to one, and their map is 0

    def __post_init__(self) -> None:
        if self.regression not in REGRESSIONS:
            raise SettingsError(f"regression = {self.regression!r}: choose one of {', '.join(REGRESSIONS)}")
        if self.live_weight <= 0:
            raise SettingsError(f"live_weight = {self.live_weight}: choose a positive one")


@dataclass(frozen=True)
class AugmentationSettings:
    """Limits of the random changes; one draw holds for all frames of a clip, so that time stays as it was."""

    flip: bool = True
    quarter_turns: bool = False  # for windows: a display's grid and a print's raster lie at any angle
    gain: float = 0.2  # brightness, share
    contrast: float = 0.2  # share
    colour: float = 0.05  # per channel, share
    saturation: float = 0.0  # share; with 1 from grey to twice as colourful
    sharpness: float = 0.0  # share of what 3x3 pixels' mean leaves out, added or taken away
    shift: float = 0.05  # of the crop's side
    zoom: float = 0.1  # share
    window_px: int = 0  # side of a square part of the crop that is learnt from instead of all of it; 0: all of it
    windows_per_clip: int = 1  # an epoch takes

    def __post_init__(self) -> None:
        step = WINDOW_STEP_PX
        if self.window_px and (self.window_px < 2 * step or self.window_px % step):
            raise SettingsError(f"window_px = {self.window_px}: choose a multiple of {step} from {2 * step} on, or 0")
        if self.windows_per_clip < 1:
            raise SettingsError(f"windows_per_clip = {self.windows_per_clip}: at least 1 is needed")


@dataclass(frozen=True)
class DataSettings:
    """Which videos, and what is taken of each. `protocol` and `fold` are OULU-NPU's; fold 0 stands for none."""

    protocol: int = 1
    fold: int = 0
    label: str = "location"
    clips_per_video: int = 4

    def __post_init__(self) -> None:
        if self.label not in LABEL_KINDS:
            raise SettingsError(f"label = {self.label!r}: choose one of {', '.join(LABEL_KINDS)}")
        if self.protocol not in (1, 2, 3, 4) or not 0 <= self.fold <= 6:
            raise SettingsError(f"protocol = {self.protocol}, fold = {self.fold}: protocols are 1 to 4, folds 1 to 6")


@dataclass(frozen=True)
class Settings:
    """One run. `seed` decides parameters, order and augmentation."""

    seed: int = 0
    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        if self.augmentation.window_px > self.network.image_size:
            raise SettingsError(
                f"window_px = {self.augmentation.window_px}: more than image_size {self.network.image_size}"
            )


def read_settings(path: Path) -> Settings:
    """Reads a TOML file with the sections [data], [network], [optimizer], [loss], [augmentation] and the value `seed`.

    Raises:
        SettingsError: the file can't be read, or names something that does not exist or does not fit.
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
                raise SettingsError(f"{where}{name}: is a section, write [{name}]")
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
