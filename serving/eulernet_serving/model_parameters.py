# SPDX-License-Identifier: Apache-2.0
"""Reads the `parameters` of a model's config.pbtxt into a frozen dataclass, so that a misspelt name is an error.

The label and the identity of the weights stand there for clients and are left out.
"""

import json
import typing
from typing import TypeVar

from eulernet_core.weights_label import IDENTITY_PARAMETER, WEIGHTS_PARAMETER

FOR_CLIENTS = (WEIGHTS_PARAMETER, IDENTITY_PARAMETER)
Settings = TypeVar("Settings")


def read_parameters(model_config: str, kind: type[Settings]) -> Settings:
    """Fills `kind` from the configuration; fields missing there keep their defaults.

    Args:
        model_config: the model's configuration as JSON, as Triton passes it to `initialize`.
        kind: a dataclass of int, float, bool and str fields.
    Raises: ValueError for an unknown parameter or a value of the wrong type.
    """
    types = typing.get_type_hints(kind)
    values = {}
    for name, value in json.loads(model_config).get("parameters", {}).items():
        if name in FOR_CLIENTS:
            continue
        if name not in types:
            raise ValueError(f"parameter {name}: unknown; this model takes {', '.join(sorted(types))}")
        values[name] = _convert(name, value["string_value"], types[name])
    return kind(**values)


def _convert(name: str, text: str, kind: type) -> object:
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(f"parameter {name}: {text!r} is neither true nor false")
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"parameter {name}: {text!r} is not of type {kind.__name__}") from None
