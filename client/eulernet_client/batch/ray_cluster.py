# SPDX-License-Identifier: Apache-2.0
"""Connects this process to a Ray cluster. Imports Ray only when it is used."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from eulernet_client.errors import RayClusterError

EXTRA = "ray"
ADDRESS_VARIABLE = "RAY_ADDRESS"  # Ray's own
LOCAL, FIND = "local", "auto"  # addresses: a Ray of this process alone; the cluster that this machine is part of
LOCAL_STORE_BYTES = 100 << 20  # of Ray's object store, which holds nearly nothing


def check_ray(address: str | None = None) -> None:
    """Checks that Ray is installed, and that the address, or $RAY_ADDRESS, is not for connections from outside.

    Raises:
        RayClusterError: says what to install or to give.
    """
    if find_spec("ray") is None:
        raise RayClusterError(f"needs ray: run  pip install 'eulernet[{EXTRA}]'")
    address = address or os.environ.get(ADDRESS_VARIABLE)
    if address is not None and "://" in address:
        raise RayClusterError(
            f"{address}: run this command on a node of the cluster, with host:port of its head. From outside, start it "
            "with `ray job submit` or as a RayJob"
        )


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """Connects this process to Ray for the block, unless it is connected already. Gives the module `ray`.

    Args:
        address: see `ray_engine`.
        workers: CPUs of a Ray that is started here; None for all.

    Raises:
        RayClusterError: no cluster can be used.
    """
    address = address or os.environ.get(ADDRESS_VARIABLE) or FIND
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise RayClusterError(f"ray can't be imported: {error}; run  pip install 'eulernet[{EXTRA}]'") from error
    own = not ray.is_initialized()
    if own:
        started: dict[str, Any] = {}
        if address == LOCAL:
            started = {"include_dashboard": False, "object_store_memory": LOCAL_STORE_BYTES, "num_cpus": workers}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **started)
        except Exception as error:  # a ConnectionError, a RuntimeError about versions, a ValueError about the address
            text = (str(error).strip() or repr(error)).splitlines()[0]
            raise RayClusterError(
                f"no Ray cluster at {address} ({text}); check --ray-address, run `ray start --head`, set "
                "RAY_AUTH_MODE=token if the cluster wants a token, or score without --ray"
            ) from error
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()
