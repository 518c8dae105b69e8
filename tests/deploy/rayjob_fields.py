# SPDX-License-Identifier: Apache-2.0
"""A JSON schema of the fields of a RayJob (ray.io/v1 of KubeRay 1.7) that deploy/ray uses; other names are refused.

Neither PyPI nor npm has KubeRay's own schema. Pod templates are checked by Kubernetes' schema instead.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {"type": "object"}


def fields(known: Mapping[str, Schema], *required: str) -> Schema:
    """An object that has no other fields."""
    return {"type": "object", "properties": dict(known), "required": list(required), "additionalProperties": False}


PARAMETERS: Schema = {"type": "object", "additionalProperties": TEXT}  # of `ray start`, always as text
HEAD = fields({"rayStartParams": PARAMETERS, "template": ANY}, "template")
WORKERS = fields(
    {
        "groupName": TEXT,
        "replicas": COUNT,
        "minReplicas": COUNT,
        "maxReplicas": COUNT,
        "rayStartParams": PARAMETERS,
        "template": ANY,
    },
    "groupName",
    "template",
)
CLUSTER = fields(
    {
        "rayVersion": TEXT,
        "authOptions": fields({"mode": {"enum": ["disabled", "token"]}}),
        "headGroupSpec": HEAD,
        "workerGroupSpecs": {"type": "array", "items": WORKERS},
    },
    "headGroupSpec",
)
JOB = fields(
    {
        "entrypoint": TEXT,
        "backoffLimit": COUNT,
        "shutdownAfterJobFinishes": FLAG,
        "ttlSecondsAfterFinished": COUNT,
        "rayClusterSpec": CLUSTER,
    }
)
RAY_JOB = fields(
    {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": "RayJob"}, "metadata": ANY, "spec": JOB},
    "apiVersion",
    "kind",
    "metadata",
    "spec",
)
