# SPDX-License-Identifier: Apache-2.0
"""How to reach the servers: addresses, time limits, credentials, headers, and gRPC's channel arguments."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from eulernet_client._credentials import PemFiles, Tls, Token, TokenReader, pem_files, token_reader
from eulernet_client.errors import CredentialsError
from eulernet_core.limits import MAX_ENCODED_BYTES

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 30.0
LONGEST_TIMEOUT_S = 86_400.0  # gRPC's clock overflows far above; a call without an end is a hang
MB = 1 << 20
DEFAULT_FRAME_MB = MAX_ENCODED_BYTES / MB
LARGEST_FRAME_MB = 2047.0  # gRPC takes no message of 2 GB
LARGEST_MESSAGE = 2**31 - 1  # bytes
AUTHORIZATION = "authorization"

# gRPC's default waits up to 120 s before it connects again, too long for a server that restarts. The message lengths
# are tritonclient's defaults, which it drops when it gets channel arguments.
CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),  # the time limit of one attempt to connect, despite its name
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
]
# gRPC would send requests to this machine's own servers through the proxy in http_proxy, which can't reach them.
NO_PROXY = ("grpc.enable_http_proxy", 0)


@dataclass(frozen=True)
class Connection:
    """How to reach the servers.

    Attributes:
        urls: addresses, host:port.
        timeout_s: for one call with all its retries.
        tls: certificates, or None for plain text.
        headers: gRPC headers of every request, keys in lower case, without the token.
        retry: whether a request is sent again after an error that may pass.
        max_frame_bytes: size of the largest JPEG that is sent.
        pem: contents of the files of `tls`.
        token: reads the bearer token.
    """

    urls: tuple[str, ...]
    timeout_s: float = DEFAULT_TIMEOUT_S
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    retry: bool = True
    max_frame_bytes: int = MAX_ENCODED_BYTES
    pem: PemFiles | None = None
    token: TokenReader | None = None

    @classmethod
    def make(
        cls,
        urls: str | Sequence[str],
        timeout_s: float,
        tls: Tls | None,
        headers: Mapping[str, str] | None,
        retry: bool = True,
        *,
        token: Token | str | None = None,
        plain_text_token: bool = False,
        max_frame_mb: float = DEFAULT_FRAME_MB,
    ) -> Connection:
        """Checks the user's values; see Client for them.

        Raises:
            ValueError, TypeError: names the value and the expected form.
            CredentialsError: a certificate or the token can't be used, or would be sent in plain text.
        """
        if isinstance(urls, bytes) or not isinstance(urls, Iterable):
            raise TypeError(f"urls: {urls!r}; give one address as text or a list of them, such as {DEFAULT_URL!r}")
        urls = (urls,) if isinstance(urls, str) else tuple(urls)
        if not urls:
            raise ValueError("urls is empty: give at least one server as host:port")
        for url in urls:
            _check_address(url)
        made = cls(
            urls,
            in_range("timeout_s", timeout_s, LONGEST_TIMEOUT_S),
            tls,
            _checked_headers(headers or {}),
            retry,
            int(in_range("max_frame_mb", max_frame_mb, LARGEST_FRAME_MB) * MB),
            pem_files(tls),
            token_reader(token),
        )
        made._check_secrets(plain_text_token)
        return made

    def metadata(self) -> dict[str, str]:
        """The gRPC headers of the next request, with the token."""
        token = {} if self.token is None else {AUTHORIZATION: self.token.header()}
        return {**self.headers, **token}

    def channel(self, url: str) -> dict[str, Any]:
        """Arguments of tritonclient's InferenceServerClient, the same for sync and asyncio."""
        channel_args: list[tuple[str, Any]] = [*CHANNEL_ARGUMENTS]
        if is_loopback(url):
            channel_args.append(NO_PROXY)
        if self.tls is None or self.pem is None:
            return {"url": url, "channel_args": channel_args}
        if self.tls.server_name is not None:
            channel_args.append(("grpc.ssl_target_name_override", self.tls.server_name))
        import grpc

        files = self.pem
        creds = grpc.ssl_channel_credentials(files.root_certificates, files.private_key, files.certificate_chain)
        return {"url": url, "channel_args": channel_args, "creds": creds}

    def _check_secrets(self, plain_text_token: bool) -> None:
        if self.token is not None and AUTHORIZATION in self.headers:
            raise ValueError(f"headers has {AUTHORIZATION!r} beside a token: give one of them")
        if plain_text_token or self.tls is not None or (self.token is None and AUTHORIZATION not in self.headers):
            return
        for url in self.urls:
            if not is_loopback(url):
                raise CredentialsError(
                    f"{url}: the token would be sent in plain text; use TLS, or allow it with plain_text_token=True "
                    "(--plain-text-token)"
                )


def in_range(name: str, value: float, most: float) -> float:
    """The value of an argument, above 0 and up to `most`. Raises: ValueError, TypeError."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: give a number")
    if not math.isfinite(value) or not 0 < value <= most:
        raise ValueError(f"{name}={value}: must be above 0 and at most {most:g}")
    return float(value)


def is_loopback(url: str) -> bool:
    """Whether an address is of this machine itself."""
    if url.startswith("unix:"):
        return True
    host = url.rpartition(":")[0].removeprefix("ipv4:").removeprefix("ipv6:").strip("[]")
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(url: str) -> None:
    if not isinstance(url, str):
        raise TypeError(f"urls: {url!r}; give addresses as text, such as {DEFAULT_URL!r}")
    host, _, port = url.rpartition(":")
    named = bool(host) and port.isascii() and port.isdecimal() and 0 < int(port) < 65_536
    if "://" in url or any(each.isspace() for each in url) or not (named or url.startswith("unix:")):
        raise ValueError(f"{url!r}: give the server's gRPC address as host:port, such as {DEFAULT_URL}")


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with keys in lower case, as gRPC wants them."""
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers: {type(headers).__name__}; give a mapping of names to values")
    for key, value in headers.items():
        if not isinstance(key, str) or not re.fullmatch(r"[0-9A-Za-z_.-]+", key) or key.lower().startswith("grpc-"):
            raise ValueError(f"header {key!r}: give a name of letters, digits, - _ and ., not beginning with grpc-")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise ValueError(f"header {key!r}: its value must be printable ASCII text")  # which may be a secret
    return {key.lower(): value for key, value in headers.items()}
