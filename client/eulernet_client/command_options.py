# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that call a server, and the clients made from them. Imports click only."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import click

if TYPE_CHECKING:
    from eulernet_client.aio import AsyncClient
    from eulernet_client.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def _headers(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for value, (key, equals, _) in zip(values, pairs, strict=True):
        if not equals or not key:
            raise click.BadParameter(f"{value!r}: give NAME=VALUE")
    return {key: value for key, _, value in pairs}


def server_options(timeout_s: float) -> Callable[[F], F]:
    """Decorator: adds `--url`, `--timeout-s`, `--tls`, `--tls-ca` and `--header` to a command.

    The command gets them as `urls`, `timeout_s`, `tls`, `tls_ca` and `headers`, the keywords of `connect`.

    Args:
        timeout_s: default of `--timeout-s`.
    """
    options = [
        click.option(
            "--url",
            "urls",
            multiple=True,
            default=["localhost:8001"],
            show_default=True,
            envvar="EULERNET_URL",
            metavar="HOST:PORT",
            help="gRPC address of the server; repeat the option for more servers.",
        ),
        click.option(
            "--timeout-s",
            type=click.FloatRange(min=0, min_open=True),
            default=timeout_s,
            show_default=True,
            help="Seconds for one call, retries included.",
        ),
        click.option("--tls", is_flag=True, help="Use TLS with the system's certificates."),
        click.option("--tls-ca", type=click.Path(exists=True, dir_okay=False), help="Use TLS and trust this PEM file."),
        click.option(
            "--header", "headers", multiple=True, callback=_headers, metavar="NAME=VALUE", help="gRPC header to send."
        ),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@overload
def connect(kind: Literal["Client"], **server: Any) -> Client: ...
@overload
def connect(kind: Literal["AsyncClient"], **server: Any) -> AsyncClient: ...
def connect(kind: str, **server: Any) -> Any:
    """A client made from the values of `server_options`.

    Args:
        kind: "Client" or "AsyncClient".
        server: `urls`, `timeout_s`, `tls`, `tls_ca` and `headers` of the options, all but `urls` optional; further
            keywords, such as `retry`, go to the client as they are.

    Raises:
        click.BadParameter: an address is not host:port.
    """
    # Keeps gRPC's own messages about lost connections out of the terminal. gRPC reads the variable when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import eulernet_client
    from eulernet_client import Tls

    tls, tls_ca = server.pop("tls", False), server.pop("tls_ca", None)
    certificates = Tls(root_certificates=tls_ca) if tls or tls_ca else None
    try:
        return getattr(eulernet_client, kind)(tls=certificates, **server)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error
