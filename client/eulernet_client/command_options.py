# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that call a server, and the clients made from them. Imports click only."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import click

from eulernet_core.limits import MAX_ENCODED_BYTES

if TYPE_CHECKING:
    from eulernet_client._credentials import Tls, Token
    from eulernet_client.aio import AsyncClient
    from eulernet_client.client import Client

F = TypeVar("F", bound=Callable[..., Any])

# The keywords that a command gets from `server_options`; `connect` takes them.
SERVER_OPTIONS = (
    "urls",
    "timeout_s",
    "tls",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "tls_server_name",
    "headers",
    "token_file",
    "plain_text_token",
    "max_frame_mb",
)
TOKEN_VARIABLE = "EULERNET_TOKEN"
LONGEST_S = 86_400  # a wait without an end is a hang
_PEM = click.Path(exists=True, dir_okay=False)


class Finite(click.FloatRange):
    """A number within limits that is neither infinite nor nan, which FloatRange lets through."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


SECONDS = Finite(min=0, max=LONGEST_S, min_open=True)
WAIT_SECONDS = Finite(min=0, max=LONGEST_S)


def header_options(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Callback of an option with NAME=VALUE that may be repeated. Raises: click.BadParameter."""
    pairs = [value.partition("=") for value in values]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise click.BadParameter(f"{key!r}: give NAME=VALUE")
    return {key: value for key, _, value in pairs}


def _url_option(several: bool) -> Callable[[F], F]:
    return click.option(
        "--url",
        "urls",
        multiple=several,
        default=["localhost:8001"] if several else "localhost:8001",
        callback=None if several else lambda _ctx, _param, value: (value,),
        show_default=True,
        envvar="EULERNET_URL",
        metavar="HOST:PORT",
        help="gRPC address of the server" + ("; repeat the option for more servers." if several else "."),
    )


def server_options(timeout_s: float, *, several_urls: bool = True, timeout_help: str = "") -> Callable[[F], F]:
    """Decorator: adds the options of a server to a command: address, time limit, TLS, headers and token.

    The command gets them as the keywords SERVER_OPTIONS, which `connect` takes.

    Args:
        timeout_s: default of `--timeout-s`.
        several_urls: whether `--url` may be repeated.
        timeout_help: help of `--timeout-s`, in place of the usual one.
    """
    options = [
        _url_option(several_urls),
        click.option(
            "--timeout-s",
            type=SECONDS,
            default=timeout_s,
            show_default=True,
            help=timeout_help or "Seconds for one call, retries included.",
        ),
        click.option("--tls", is_flag=True, help="Use TLS and trust gRPC's own list of public authorities."),
        click.option("--tls-ca", type=_PEM, help="Use TLS and trust the certificates in this PEM file."),
        click.option("--tls-cert", type=_PEM, help="Use TLS; this client's certificate, for mutual TLS."),
        click.option("--tls-key", type=_PEM, help="Key of --tls-cert."),
        click.option(
            "--tls-server-name", metavar="NAME", help="Use TLS; name in the server's certificate. [default: its host]"
        ),
        click.option(
            "--header",
            "headers",
            multiple=True,
            callback=header_options,
            metavar="NAME=VALUE",
            help="gRPC header to send.",
        ),
        click.option(
            "--token-file",
            type=click.Path(exists=True, dir_okay=False),
            envvar="EULERNET_TOKEN_FILE",
            help="File with a bearer token, read again when it changes. [default: the token in $EULERNET_TOKEN]",
        ),
        click.option(
            "--plain-text-token",
            is_flag=True,
            help="Send the token without TLS to other hosts than this machine as well.",
        ),
        click.option(
            "--max-frame-mb",
            type=Finite(min=0, min_open=True),
            default=MAX_ENCODED_BYTES / (1 << 20),
            show_default=True,
            help="Size of the largest JPEG to send.",
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
        server: the keywords SERVER_OPTIONS, all but `urls` optional; further keywords, such as `retry`, go to the
            client as they are.

    Raises:
        click.BadParameter: an address is not host:port.
        click.UsageError: a certificate or the token can't be used.
    """
    # Keeps gRPC's own messages about lost connections out of the terminal. gRPC reads the variable when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import eulernet_client
    from eulernet_client.errors import CredentialsError

    headers = server.get("headers") or {}
    try:
        tls = tls_of(server)
        token = token_of(server, headers)
        return getattr(eulernet_client, kind)(tls=tls, token=token, **server)
    except CredentialsError as error:
        raise click.UsageError(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url" if "host:port" in str(error) else None) from error


def request_headers(server: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request with the values of `server_options`, the token among them.

    Raises:
        CredentialsError: there is no token at the place.
    """
    from eulernet_client._credentials import token_reader

    headers = server.get("headers") or {}
    token = token_reader(token_of(dict(server), headers))
    return {**headers, **({} if token is None else {"authorization": token.header()})}


def tls_of(server: dict[str, Any]) -> Tls | None:
    """The certificates among the values of `server_options`, which it takes out."""
    from eulernet_client import Tls

    wanted = server.pop("tls", False)
    ca, cert, key, name = (server.pop(each, None) for each in ("tls_ca", "tls_cert", "tls_key", "tls_server_name"))
    if not (wanted or ca or cert or key or name):
        return None
    return Tls(root_certificates=ca, private_key=key, certificate_chain=cert, server_name=name)


def token_of(server: dict[str, Any], headers: Mapping[str, str]) -> Token | None:
    """The place of the token: `--token-file`, which it takes out, or the environment.

    A header `authorization` takes precedence over the environment.
    """
    from eulernet_client import Token

    file = server.pop("token_file", None)
    if file is not None:
        return Token(file=file)
    if os.environ.get(TOKEN_VARIABLE) and not any(name.lower() == "authorization" for name in headers):
        return Token(variable=TOKEN_VARIABLE)
    return None
