# SPDX-License-Identifier: Apache-2.0
"""Connections to real servers: errors that name the cause; TLS, tokens and headers that arrive."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from tritonclient.utils import InferenceServerException

from eulernet_client import AsyncClient, Client, Tls, Token, errors
from eulernet_client._server_errors import server_error
from eulernet_core.command_root import main
from eulernet_loadtest.perf_analyzer import Job, access_arguments, measure
from eulernet_loadtest.plan import Mode
from tests.client.secure_servers import (
    NAME,
    BareServer,
    Certificates,
    bare_triton,
    free_ports,
    make_certificates,
    openssl,
    recording_server,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def servers(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], BareServer]]:
    """`servers("plain")`, `servers("tls")` and `servers("mtls")`: Triton, started once each."""
    tls = ["--grpc-use-ssl=1", f"--grpc-server-cert={certificates.pem('server')}"]
    tls.append(f"--grpc-server-key={certificates.key('server')}")
    mutual = ["--grpc-use-ssl-mutual=1", f"--grpc-root-cert={certificates.pem('ca')}"]
    options = {"plain": [], "tls": tls, "mtls": [*tls, *mutual]}
    running: dict[str, tuple[object, BareServer]] = {}

    def start(kind: str) -> BareServer:
        if kind not in running:
            context = bare_triton(tmp_path_factory.mktemp(kind), *options[kind])
            running[kind] = context, context.__enter__()
        return running[kind][1]

    yield start
    for context, _ in running.values():
        context.__exit__(None, None, None)  # type: ignore[attr-defined]


def version(form: str, url: str | list[str], **keywords: object) -> str:
    """Asks for the server's version with the client of that form."""

    async def ask() -> str:
        async with AsyncClient(url, **keywords) as client:  # type: ignore[arg-type]
            return await client.server_version()

    if form == "asyncio":
        return asyncio.run(ask())
    with Client(url, **keywords) as client:  # type: ignore[arg-type]
        return client.server_version()


# the server, the port, the client's files (authority, own), its error, and what the message names
CASES = {
    "HTTP port": ("plain", "http", None, errors.ConnectionSetupError, "HTTP port.*gRPC port"),
    "metrics port": ("plain", "metrics", None, errors.ConnectionSetupError, "HTTP port.*gRPC port"),
    "TLS to the HTTP port": ("plain", "http", ("ca",), errors.ConnectionSetupError, "HTTP port.*gRPC port"),
    "TLS to plain text": ("plain", "grpc", ("ca",), errors.ConnectionSetupError, "without TLS"),
    "plain text to TLS": ("tls", "grpc", None, errors.ConnectionSetupError, "tls=Tls"),
    "plain text to mutual TLS": ("mtls", "grpc", None, errors.ConnectionSetupError, "tls=Tls"),
    "unknown authority": ("tls", "grpc", ("other",), errors.ConnectionSetupError, "authority.*--tls-ca"),
    "the public authorities": ("tls", "grpc", (None,), errors.ConnectionSetupError, "authority.*--tls-ca"),
    "no client certificate": ("mtls", "grpc", ("ca",), errors.ServerUnavailableError, "client certificate.*--tls-cert"),
    "another's certificate": (
        "mtls",
        "grpc",
        ("ca", "stranger"),
        errors.ServerUnavailableError,
        "stranger.pem.*signed",
    ),
}


@pytest.mark.triton
@pytest.mark.parametrize("form", ["sync", "asyncio"])
@pytest.mark.parametrize("case", CASES)
def test_a_connection_that_fails_names_the_cause(
    case: str, form: str, servers: Callable[[str], BareServer], certificates: Certificates
) -> None:
    kind, port, files, error, says = CASES[case]
    url = f"127.0.0.1:{getattr(servers(kind), port)}"
    begun = time.monotonic()
    with pytest.raises(error, match=f"^{url}: .*{says}") as raised:
        version(form, url, tls=files and tls_of(certificates, *files))
    assert type(raised.value) is error
    assert time.monotonic() - begun < 5


def tls_of(certificates: Certificates, authority: str | None, own: str = "") -> Tls:
    mine = {"private_key": certificates.key(own), "certificate_chain": certificates.pem(own)} if own else {}
    return Tls(authority and certificates.pem(authority), **mine)


@pytest.mark.parametrize(("files", "says"), [(("ca",), "asks for"), (("ca", "stranger"), "refuses .*stranger.pem")])
def test_an_alert_about_the_client_certificate_is_final(
    files: tuple[str, ...], says: str, certificates: Certificates
) -> None:
    """OpenSSL's servers, unlike gRPC's, say that they want another certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.pem("server"), certificates.key("server"))
    context.load_verify_locations(certificates.pem("ca"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])

    class Refuses(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                context.wrap_socket(self.request, server_side=True)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(errors.ConnectionSetupError, match=f"ALERT.*{says}"):
            version("sync", f"127.0.0.1:{server.server_address[1]}", tls=tls_of(certificates, *files))
        server.shutdown()


@pytest.mark.triton
@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_a_wrong_host_name_is_named_and_another_may_be_expected(
    form: str, servers: Callable[[str], BareServer], certificates: Certificates
) -> None:
    url = f"localhost:{servers('tls').grpc}"
    with pytest.raises(errors.ConnectionSetupError, match="not for 'localhost'.*server_name"):
        version(form, url, tls=Tls(certificates.pem("ca")))
    assert version(form, url, tls=Tls(certificates.pem("ca"), server_name=NAME))


@pytest.mark.triton
@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_tls_and_mutual_tls_connect(
    form: str, servers: Callable[[str], BareServer], certificates: Certificates
) -> None:
    for kind, own in (("tls", ""), ("mtls", "client")):
        assert version(form, servers(kind).url, tls=tls_of(certificates, "ca", own)).count(".") == 2


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("UNAVAILABLE", "1024 streams are open, the most of this server; try another one", errors.ServerBusyError),
        ("UNAVAILABLE", "8 streams are open, the most of one caller; end some first", errors.ServerBusyError),
        ("UNAVAILABLE", "this server is draining and takes no new streams", errors.ServerUnavailableError),
        ("INVALID_ARGUMENT", "sequence 5: no state; start it again from its first frame", errors.SequenceError),
        ("UNAUTHENTICATED", "no token", errors.RequestRefusedError),
        ("PERMISSION_DENIED", "wrong token", errors.RequestRefusedError),
        ("UNIMPLEMENTED", "Method not found!", errors.RequestRefusedError),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: model-a:1: OK", errors.ServerUnavailableError),
    ],
)
def test_what_the_texts_of_the_stages_and_of_grpc_mean(code: str, text: str, kind: type[Exception]) -> None:
    error = server_error(InferenceServerException(text, status=f"StatusCode.{code}"), "gpu1:8001", "antispoof")
    assert type(error) is kind
    assert str(error).startswith("gpu1:8001: antispoof: ")
    assert text in str(error)


@pytest.mark.triton
def test_a_call_does_not_repeat_what_time_does_not_mend(servers: Callable[[str], BareServer]) -> None:
    begun = time.monotonic()
    with (
        Client(f"127.0.0.1:{servers('plain').http}", timeout_s=20) as client,
        pytest.raises(errors.ConnectionSetupError),
    ):
        client.score_frames([b"\xff\xd8"] * 4)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("tls", [None, Tls()])
def test_a_port_with_another_protocol_is_named(tls: Tls | None) -> None:
    class Greets(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            self.request.recv(999)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greets) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(errors.ConnectionSetupError, match="neither gRPC nor HTTP"):
            version("sync", f"127.0.0.1:{server.server_address[1]}", tls=tls)
        server.shutdown()


@pytest.mark.parametrize("form", ["sync", "asyncio"])
@pytest.mark.parametrize("tls", [None, Tls()])
def test_a_host_or_a_port_without_a_server_is_named(form: str, tls: Tls | None) -> None:
    with pytest.raises(errors.ServerUnavailableError, match="no-such-host.invalid:8001: .*name.*resolved"):
        version(form, "no-such-host.invalid:8001", tls=tls)
    url = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(errors.ServerUnavailableError, match=f"{url}: .*nothing listens.*eulernet serve") as raised:
        version(form, url, tls=tls)
    assert type(raised.value) is errors.ServerUnavailableError, "a server may start there later"


@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_files_for_tls_are_checked_when_the_client_is_made(
    form: str, certificates: Certificates, tmp_path: Path
) -> None:
    made = Client if form == "sync" else AsyncClient
    der, broken, locked = (str(tmp_path / name) for name in ("ca.der", "broken.pem", "locked.key"))
    openssl(certificates.folder, "x509", "-in", "ca.pem", "-outform", "der", "-out", der)
    Path(broken).write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    openssl(certificates.folder, "pkey", "-in", "client.key", "-aes256", "-passout", "pass:x", "-out", locked)
    client, key = certificates.pem("client"), certificates.key("client")
    for tls, says in (
        (Tls("missing.pem"), "missing.pem: .*No such file"),
        (Tls(str(tmp_path)), f"{tmp_path}: .*Is a directory"),
        (Tls(der), "ca.der: not a PEM"),
        (Tls(broken), "broken.pem: holds no valid"),
        (Tls(None, key), "private_key and certificate_chain"),
        (Tls(None, None, client), "private_key and certificate_chain"),
        (Tls(None, "gone.key", client), "gone.key: .*No such file"),
        (Tls(None, certificates.key("stranger"), client), "stranger.key: .*does not belong"),
        (Tls(None, locked, client), "locked.key: .*encrypted"),
        (Tls(None, key, key), "client.key: not a valid certificate"),
    ):
        with pytest.raises(errors.CredentialsError, match=says):
            made("127.0.0.1:9", tls=tls)
    with pytest.raises(TypeError, match="tls: str; .*Tls"):
        made("127.0.0.1:9", tls="ca.pem")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="certificates: bytes; .*path"):
        made("127.0.0.1:9", tls=Tls(b"-----BEGIN CERTIFICATE-----"))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_a_token_is_sent_and_read_again_when_it_changes(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"

    async def ask(client: AsyncClient) -> None:
        with pytest.raises(errors.RequestRefusedError, match="token"):
            await client.server_version()

    async def ask_both(client: AsyncClient) -> None:
        async with client:
            await ask(client)
            change()
            await ask(client)

    def change() -> None:
        file.write_text("second\n")
        monkeypatch.setenv("EULERNET_TOKEN", "fourth")

    for token, expected in (
        ("text", ["text", "text"]),
        (Token(file=file), ["first", "second"]),
        (Token(variable="EULERNET_TOKEN"), ["third", "fourth"]),
    ):
        file.write_text("first\n")
        monkeypatch.setenv("EULERNET_TOKEN", "third")
        with recording_server() as (url, seen):
            if form == "asyncio":
                asyncio.run(ask_both(AsyncClient(url, token=token)))
            else:
                with Client(url, token=token) as client:
                    for step in (change, lambda: None):
                        with pytest.raises(errors.RequestRefusedError, match="token"):
                            client.server_version()
                        step()
        assert [headers["authorization"] for headers in seen] == [f"Bearer {each}" for each in expected]


def test_a_token_that_goes_away_stays_the_one_read_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    with recording_server() as (url, seen), Client(url, token=Token(file=file)) as client:
        for change in (file.unlink, lambda: file.write_text("two words"), lambda: file.write_text("last")):
            change()
            with pytest.raises(errors.RequestRefusedError):
                client.server_version()
    assert [headers["authorization"] for headers in seen] == ["Bearer first", "Bearer first", "Bearer last"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert all("token" in record.getMessage() and "words" not in record.getMessage() for record in caplog.records)


def test_tokens_that_can_not_be_used_are_named_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EULERNET_TOKEN", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\x00secret\xff" * 9)
    (tmp_path / "long").write_text("secret" * 9999)
    for token, says in (
        (Token(file=tmp_path / "gone"), "gone: .*No such file"),
        (Token(file=tmp_path / "empty"), "empty: holds no token"),
        (Token(file=tmp_path / "binary"), "binary: not a token"),
        (Token(file=tmp_path / "long"), "long: not a token"),
        (Token(variable="EULERNET_TOKEN"), "EULERNET_TOKEN: holds no token"),
        ("secret with spaces", "not a token"),
        ("secrét", "not a token"),
        ("", "holds no token"),
    ):
        with pytest.raises(errors.CredentialsError, match=says) as raised:
            Client("127.0.0.1:9", token=token)
        assert "secr" not in str(raised.value)
    with pytest.raises(TypeError, match="token: bytes; "):
        Client("127.0.0.1:9", token=b"secret")  # type: ignore[arg-type]
    for places in ({}, {"value": "a", "file": "b"}):
        with pytest.raises(ValueError, match="value, file or variable"):
            Token(**places)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beside a token"):
        Client("127.0.0.1:9", token="a", headers={"Authorization": "Bearer b"})


@pytest.mark.parametrize("secret", [{"token": "s3cret"}, {"headers": {"Authorization": "Bearer s3cret"}}])
def test_a_token_in_plain_text_stays_on_this_machine(secret: dict) -> None:
    for url in ("gpu1:8001", "10.0.0.1:8001", "127.evil.example:8001", "localhost.example:8001", "[2001:db8::1]:8001"):
        with pytest.raises(errors.CredentialsError, match=f"{re.escape(url)}: .*plain text.*--plain-text-token"):
            Client(["127.0.0.1:9", url], **secret)
        Client(url, plain_text_token=True, **secret).close()
        Client(url, tls=Tls(), **secret).close()
    for url in ("localhost:8001", "127.0.0.2:8001", "[::1]:8001", "LOCALHOST:8001"):
        Client(url, **secret).close()


def test_secrets_are_in_no_repr() -> None:
    with Client("127.0.0.1:9", token="s3cret", headers={"x-key": "s3cret"}) as client:
        connection = client._session.connection
        for each in (client, connection, connection.token, connection.pem, Token("s3cret")):
            assert "s3cret" not in repr(each)
            assert "s3cret" not in str(each)


@pytest.mark.parametrize("headers", [{"a b": "c"}, {"": "c"}, {"a": "secrét"}, {"a": "s\n"}, {"a": 5}, {"grpc-a": "b"}])
def test_headers_that_grpc_would_refuse_are_named(headers: dict) -> None:
    with pytest.raises(ValueError, match="header '") as raised:
        Client("127.0.0.1:9", headers=headers)
    assert "secr" not in str(raised.value)


def test_headers_are_a_mapping() -> None:
    with pytest.raises(TypeError, match="headers: list; .*mapping"):
        Client("127.0.0.1:9", headers=[("a", "b")])  # type: ignore[arg-type]


COMMANDS = {
    "status": ["status"],
    "score": ["score", "frames"],
    "score --out": ["score", "frames", "--out", "scores.csv"],
    "loadtest": ["loadtest", "frames", "--duration-s", "1", "--warm-up-s", "0"],
    "perf": ["perf", "frames", "--duration-s", "1", "--warm-up-s", "0", "--perf-analyzer", "/bin/false"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_sends_certificate_token_and_headers(
    command: str, certificates: Certificates, make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EULERNET_TOKEN", "from-the-environment")
    make.folder(tmp_path / "frames", [f"{i}.jpg" for i in range(12)])
    Path("token").write_text("from-the-file")
    tls = [f"--tls-ca={certificates.pem('ca')}", f"--tls-cert={certificates.pem('client')}"]
    tls.append(f"--tls-key={certificates.key('client')}")
    with recording_server(certificates) as (url, seen):
        places = (["--token-file", "token"], "from-the-file"), ([], "from-the-environment")
        for token, expected in places if command in ("status", "score") else places[:1]:
            seen.clear()
            given = [*COMMANDS[command], "--url", url, "--timeout-s", "2", *tls, "--header", "x-tenant=a", *token]
            result = CliRunner().invoke(main, given)
            assert result.exit_code == 1, result.output
            assert seen, result.output
            assert {headers["authorization"] for headers in seen} == {f"Bearer {expected}"}
            assert {headers["x-tenant"] for headers in seen} == {"a"}
            assert "from-the" not in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_what_can_not_be_used(command: str, make, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EULERNET_TOKEN", raising=False)
    make.folder(tmp_path / "frames", [f"{i}.jpg" for i in range(12)])
    Path("token").write_text("s3cret")
    Path("text.pem").write_text("no certificate")
    for options, says in (
        (["--timeout-s", "inf"], "--timeout-s"),
        (["--timeout-s", "nan"], "--timeout-s"),
        (["--timeout-s", "0"], "--timeout-s"),
        (["--tls-ca", "text.pem"], "text.pem: not a PEM"),
        (["--tls-key", "text.pem"], "private_key and certificate_chain"),
        (["--token-file", "gone"], "--token-file"),
        (["--token-file", "token", "--url", "gpu1:8001"], "plain text"),
        (["--header", "x=a\nb"], "header 'x'"),
        (["--header", "secret"], "NAME=VALUE"),
        (["--max-frame-mb", "inf"], "--max-frame-mb"),
    ):
        result = CliRunner().invoke(main, [*COMMANDS[command], *options])
        assert result.exit_code == 2, (options, result.output)
        assert says in " ".join(result.output.replace("│", " ").split())
        assert "s3cret" not in result.output


def test_perf_analyzer_gets_certificates_and_headers(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """The real binary, as far as its first question to the server."""
    monkeypatch.setenv("EULERNET_TOKEN", "abc")
    binary = root / "out" / "perf_analyzer" / "perf_analyzer"
    if not binary.is_file():
        pytest.skip(f"{binary} is not there: `make perf` downloads it")
    server = {"tls": False, "tls_ca": certificates.pem("ca"), "tls_server_name": None, "headers": {"x-tenant": "a"}}
    server |= {"tls_cert": certificates.pem("client"), "tls_key": certificates.key("client"), "token_file": None}
    with recording_server(certificates) as (url, seen):
        job = Job(Mode.CLIPS, 1, 3.0, url, tmp_path / "data.json", access_arguments(server))
        assert "abc" not in repr(job)
        job.data.write_text('{"data": []}')
        with pytest.raises(errors.PerfAnalyzerError, match="not today"):
            measure(binary, job, tmp_path / "out.csv")
    assert {(headers["authorization"], headers["x-tenant"]) for headers in seen} == {("Bearer abc", "a")}
    with pytest.raises(errors.PerfAnalyzerError, match="--tls-server-name"):
        access_arguments({**server, "tls_server_name": NAME})


def test_a_header_of_the_command_line_takes_precedence_over_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("EULERNET_TOKEN", "from-the-environment")
    with recording_server() as (url, seen):
        CliRunner().invoke(main, ["status", "--url", url, "--header", "Authorization=Basic abc"])
    assert {headers["authorization"] for headers in seen} == {"Basic abc"}
    assert os.environ["EULERNET_TOKEN"] == "from-the-environment"
