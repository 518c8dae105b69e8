# SPDX-License-Identifier: Apache-2.0
"""Single changes of configs/cpu.pbtxt, applied to a copy of a model repository."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from eulernet_loadtest.plan import Mode
from eulernet_serving.triton_config import read_config

PARAMETERS = "parameters."
NETWORK = ("eulernet", "eulernet_clip")
CROP = ("face_crop", "clip_crop")


class ChangeError(Exception):
    """The change is not possible; the message says why."""


@dataclass(frozen=True)
class Change:
    """One field set to one value in the configurations of some models.

    Attributes:
        models: usually one for clip calls and one for streams.
        field: `instance_group.count`, `max_batch_size`, `max_queue_delay_microseconds`, `preferred_batch_size`, or
            `parameters.NAME`.
        value: as in the configuration; preferred batch sizes separated by commas, empty for none.
        effect: a few words on the effect.
    """

    models: tuple[str, ...]
    field: str
    value: str
    effect: str

    @property
    def name(self) -> str:
        return f"{', '.join(self.models)}: {self.field} {self.value or 'none'}"


def candidates(bf16: bool) -> tuple[Change, ...]:
    """All changes to try. `bf16`: whether the processor supports it."""

    def each(models: tuple[str, ...], field: str, values: Iterable[str], effect: str) -> list[Change]:
        return [Change(models, field, value, effect) for value in values]

    bf16_runtimes = ("openvino-bf16",) if bf16 else ()
    return (
        *each(NETWORK, "parameters.threads", ("1", "0"), "threads of the network, 0: all cores"),
        *each(NETWORK, "parameters.runtime", bf16_runtimes, "runtime of the network"),
        *each(NETWORK, "instance_group.count", ("1", "2"), "networks in parallel"),
        *each(NETWORK, "max_queue_delay_microseconds", ("0", "2000"), "waiting for a larger batch"),
        *each(NETWORK, "max_batch_size", ("4",), "largest batch of an inference"),
        *each(CROP, "parameters.threads", ("1", "2"), "decoding threads"),
        *each(CROP, "instance_group.count", ("1", "2"), "stages that locate and crop in parallel"),
        *each(CROP, "max_queue_delay_microseconds", ("0", "2000"), "waiting for a larger batch"),
        *each(CROP + NETWORK, "preferred_batch_size", ("", "4,8"), "batch sizes that run without delay"),
        *each(CROP, "max_batch_size", ("4",), "largest batch of a decode"),
        *each(CROP, "parameters.full_check", ("false", "true"), "test decode of each JPEG at 1/8"),
    )


def _batcher(config: ModelConfig):  # type: ignore[no-untyped-def]  # protobuf messages have no static type here
    """The message with a model's batching options."""
    if config.HasField("sequence_batching"):
        return config.sequence_batching.oldest
    return config.dynamic_batching


def read(config: ModelConfig, field: str) -> str:
    """A field's value as text. Raises: ChangeError for an unknown field."""
    if field == "instance_group.count":
        return str(max(1, sum(group.count for group in config.instance_group)))
    if field == "max_batch_size":
        return str(config.max_batch_size)
    if field == "max_queue_delay_microseconds":
        return str(_batcher(config).max_queue_delay_microseconds)
    if field == "preferred_batch_size":
        return ",".join(map(str, _batcher(config).preferred_batch_size))
    if field.startswith(PARAMETERS):
        name = field.removeprefix(PARAMETERS)
        return str(config.parameters[name].string_value) if name in config.parameters else ""
    raise ChangeError(f"{config.name}: field {field!r} is unknown; see Change.field")


def change(config: ModelConfig, field: str, value: str) -> str:
    """Sets a field, in place. Returns the value before. Raises: ChangeError."""
    before = read(config, field)
    if field == "instance_group.count":
        if len(config.instance_group) != 1:
            raise ChangeError(
                f"{config.name}: {len(config.instance_group)} instance groups, needs 1 to change its count"
            )
        config.instance_group[0].count = int(value)
    elif field == "max_batch_size":
        config.max_batch_size = int(value)
    elif field == "max_queue_delay_microseconds":
        _batcher(config).max_queue_delay_microseconds = int(value)
    elif field == "preferred_batch_size":
        sizes = _batcher(config).preferred_batch_size
        del sizes[:]
        sizes.extend(int(size) for size in value.split(",") if size)
    else:
        config.parameters[field.removeprefix(PARAMETERS)].string_value = value
    return before


def _path(repository: Path, model: str) -> Path:
    return repository / model / "configs" / "cpu.pbtxt"


def pending(repository: Path, wanted: Iterable[Change]) -> list[Change]:
    """The changes that have an effect, each reduced to the models of the repository whose value differs."""

    def differs(model: str, each: Change) -> bool:
        path = _path(repository, model)
        if not path.is_file():
            return False
        now = read(read_config(path), each.field)
        unnamed = each.field.startswith(PARAMETERS) and not now  # the model may not have the parameter
        return now != each.value and not unnamed

    reduced = (replace(each, models=tuple(model for model in each.models if differs(model, each))) for each in wanted)
    return [each for each in reduced if each.models]


def applied(repository: Path, out: Path, wanted: Change) -> dict[str, str]:
    """Writes a changed copy of a repository to `out`, replacing the folder. Returns the previous value of each model.

    Raises: ChangeError.
    """
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(repository, out)
    before = {}
    for model in wanted.models:
        path = _path(out, model)
        if not path.is_file():
            raise ChangeError(f"{model}: no {path.name} in {repository}")
        config = read_config(path)
        before[model] = change(config, wanted.field, wanted.value)
        path.write_text(text_format.MessageToString(config), encoding="utf-8")
    return before


def stages(repository: Path) -> dict[str, list[str]]:
    """The models of each ensemble, by mode."""
    return {
        mode.value: [step.model_name for step in read_config(_path(repository, mode.model)).ensemble_scheduling.step]
        for mode in Mode
    }
