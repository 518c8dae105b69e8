# SPDX-License-Identifier: Apache-2.0
"""What the gateway lets pass and what it refuses: the chart's configuration in HAProxy before a real server."""

import hashlib
import re
from http import HTTPStatus
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2

from eulernet_client import Client, Tls, errors
from eulernet_core.limits import CALLER_HEADER, MAX_ENCODED_BYTES, STREAM_HEADER
from eulernet_core.tensors import CLIP_MODEL, ENCODED, STREAM_MODEL
from eulernet_serving.health_port import HealthPort, Page
from tests.client.secure_servers import NAME, make_certificates, recording_server
from tests.deploy.gateway_cluster import Cluster

pytestmark = pytest.mark.triton
TOKEN, OTHER_TOKEN = "a-token-of-alice", "a-token-of-bob"
SERVICE = "inference.GRPCInferenceService"
OPEN = {"ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelInfer"}
SPOILT = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)  # Triton can't parse it, or its answer is cut short
METHODS = [method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def files(certificates, tmp_path_factory):
    """The folder of a gateway's Secrets."""
    folder = tmp_path_factory.mktemp("gateway_files")
    tokens = [f"{hashlib.sha256(token.encode()).hexdigest()} {caller}" for token, caller in CALLERS.items()]
    contents = {
        "tls/tls.crt": Path(certificates.pem("server")).read_bytes(),
        "tls/tls.key": Path(certificates.key("server")).read_bytes(),
        "client-ca/ca.crt": Path(certificates.pem("ca")).read_bytes(),
        "tokens/tokens.map": ("# SHA-256 of the token, caller\n" + "\n".join(tokens) + "\n").encode(),
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


CALLERS = {TOKEN: "alice", OTHER_TOKEN: "bob"}


@pytest.fixture(scope="module")
def always_ready():
    """The health port in front of a server that has no supervisor."""
    with HealthPort("127.0.0.1", 0, lambda path: Page(HTTPStatus.OK, "")) as port:
        yield port._socket.getsockname()[1]


@pytest.fixture(scope="module")
def gateway(server, always_ready, files, tmp_path_factory):
    """A gateway with TLS and tokens before the real server. It takes messages of up to 1 MiB."""
    values = {"tls": {"enabled": True}, "tokensSecret": "tokens", "limits": {"messageMiB": 1}}
    with Cluster(tmp_path_factory.mktemp("cluster"), values, files) as cluster:
        cluster.door(0, server.ports.grpc, server.ports.metrics, always_ready)
        cluster.list(0)
        yield cluster.gateway()


@pytest.fixture(scope="module")
def recorded(always_ready, files, tmp_path_factory):
    """A gateway with mutual TLS and 1 request a second before a server that records headers; and these headers."""
    values = {"tls": {"enabled": True, "clientCaSecret": "ca"}, "limits": {"requestsPerSecond": 1}}
    with recording_server() as (url, seen), Cluster(tmp_path_factory.mktemp("mutual"), values, files) as cluster:
        cluster.door(0, int(url.rpartition(":")[2]), always_ready, always_ready)
        cluster.list(0)
        yield cluster.gateway(), seen


@pytest.fixture(scope="module")
def tls(certificates):
    return Tls(certificates.pem("ca"), server_name=NAME)


@pytest.fixture(scope="module")
def call(gateway, certificates):
    """`call(method, message)`: the status code that the gateway answers."""
    roots = grpc.ssl_channel_credentials(Path(certificates.pem("ca")).read_bytes())
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.max_send_message_length", -1)]
    with grpc.secure_channel(gateway.url, roots, options) as channel:

        def send(method, message=b"", token=TOKEN, headers=(), compression=None):
            metadata = [("authorization", f"Bearer {token}"), *headers] if token else headers
            try:
                channel.unary_unary(method)(message, timeout=20, metadata=metadata, compression=compression)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        yield send


def infer_message(model, jpegs=(b"no picture",)):
    """A request to a model as the client writes it, for its first input."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for number, jpeg in enumerate(jpegs):
        request.inputs.add(name=f"{ENCODED}_{number}", datatype="UINT8", shape=[1, len(jpeg)])
        request.raw_input_contents.append(jpeg)
    return request.SerializeToString()


def test_scores_are_those_of_the_server(gateway, server, tls, moving_faces):
    frames = moving_faces(8, 3)
    with Client(server.url) as client:
        clip = client.score_frames(frames[:4])
        with client.stream() as stream:
            expected = [stream.score(frame).liveness for frame in frames]
    with Client(gateway.url, tls=tls, token=TOKEN) as client:
        assert client.check().models == (STREAM_MODEL, CLIP_MODEL)
        result = client.score_frames(frames[:4])
        assert (result.liveness, result.weights) == (pytest.approx(clip.liveness, abs=1e-5), clip.weights)
        with client.stream() as stream:
            assert [stream.score(frame).liveness for frame in frames] == pytest.approx(expected, abs=1e-5)


def test_only_methods_to_score_and_to_ask_are_open(call):
    name = service_pb2.ModelReadyRequest(name=CLIP_MODEL).SerializeToString()  # of all messages the first field
    refused = {each for each in METHODS if call(f"/{SERVICE}/{each}", name) is grpc.StatusCode.PERMISSION_DENIED}
    assert refused == set(METHODS) - OPEN
    assert {"RepositoryIndex", "SystemSharedMemoryRegister", "TraceSetting", "LogSettings"} <= refused
    assert call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo") is grpc.StatusCode.PERMISSION_DENIED
    assert call(f"/{SERVICE}/ModelInfer/") is grpc.StatusCode.PERMISSION_DENIED


def test_only_the_two_ensembles_are_open(call, repository):
    models = sorted(path.name for path in repository.iterdir() if path.is_dir())
    assert {STREAM_MODEL, CLIP_MODEL} < set(models)
    for model in {*models, "", "antispoof_clip2", "ANTISPOOF"} - {STREAM_MODEL, CLIP_MODEL}:
        assert call(f"/{SERVICE}/ModelInfer", infer_message(model)) is grpc.StatusCode.PERMISSION_DENIED, model
        about = service_pb2.ModelConfigRequest(name=model).SerializeToString()
        assert call(f"/{SERVICE}/ModelConfig", about) is grpc.StatusCode.PERMISSION_DENIED, model
    for model in (STREAM_MODEL, CLIP_MODEL):
        about = service_pb2.ModelConfigRequest(name=model).SerializeToString()
        assert call(f"/{SERVICE}/ModelConfig", about) is grpc.StatusCode.OK


def test_a_large_message_is_refused_before_the_server_gets_it(gateway, call):
    def sent():
        return gateway.metric("haproxy_server_bytes_out_total", proxy="replicas")

    before = sent()
    large = infer_message(CLIP_MODEL, [bytes(1 << 20)])
    assert call(f"/{SERVICE}/ModelInfer", large) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sent() == before
    # What fits is passed on: Triton itself misses an input.
    assert (
        call(f"/{SERVICE}/ModelInfer", infer_message(CLIP_MODEL, [bytes(900_000)])) is grpc.StatusCode.INVALID_ARGUMENT
    )


def test_the_largest_clip_fits(root):
    text = (root / "deploy" / "helm" / "eulernet" / "values.yaml").read_text()
    largest_mib = int(re.search(r"messageMiB: (\d+)", text)[1])
    assert largest_mib << 20 >= 4 * MAX_ENCODED_BYTES + (1 << 16)


def test_compressed_messages_are_refused(call):
    message = infer_message(CLIP_MODEL, [bytes(9999)])
    compressed = call(f"/{SERVICE}/ModelInfer", message, compression=grpc.Compression.Gzip)
    assert compressed is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_needs_its_header(gateway, call, encode, portrait, certificates):
    frame = infer_message(STREAM_MODEL, [encode(portrait)])
    for headers in [(), [(STREAM_HEADER, "")], [(STREAM_HEADER, "x" * 65)]]:
        assert call(f"/{SERVICE}/ModelInfer", frame, headers=headers) is grpc.StatusCode.INVALID_ARGUMENT
    assert "eulernet-stream" not in "".join(gateway.log.splitlines()[-1:])


@pytest.mark.parametrize("token", [None, "another-token", TOKEN[:-1], hashlib.sha256(TOKEN.encode()).hexdigest()])
def test_a_caller_needs_a_token(gateway, call, tls, token):
    assert call(f"/{SERVICE}/ServerLive", token=token) is grpc.StatusCode.UNAUTHENTICATED
    with Client(gateway.url, tls=tls, token=token) as client, pytest.raises(errors.RequestRefusedError):
        client.server_version()


def test_the_log_names_the_caller_and_no_secret(gateway, call):
    call(f"/{SERVICE}/ServerReady", headers=[(STREAM_HEADER, "value-of-a-stream")])
    assert '"caller":"alice","method":"/inference.GRPCInferenceService/ServerReady"' in gateway.log
    assert TOKEN not in gateway.log
    assert "value-of-a-stream" not in gateway.log


def test_refusals_are_counted(gateway, call):
    before = gateway.metric("haproxy_frontend_requests_denied_total", proxy="clients")
    call(f"/{SERVICE}/RepositoryIndex")
    assert gateway.metric("haproxy_frontend_requests_denied_total", proxy="clients") == before + 1


def test_pages_for_the_kubelet(gateway, tmp_path, files):
    assert [gateway.page(path)[0] for path in ("/livez", "/readyz", "/stats")] == [200, 200, 404]
    with Cluster(tmp_path) as cluster:
        lonely = cluster.gateway(replicas=0)
        assert [lonely.page(path)[0] for path in ("/livez", "/readyz")] == [200, 503]
        with Client(lonely.url, timeout_s=1) as client, pytest.raises(errors.ServerUnavailableError):
            client.server_version()


def test_a_certificate_is_asked_for(recorded, certificates, tls):
    gateway, seen = recorded
    stranger = Tls(tls.root_certificates, certificates.key("stranger"), certificates.pem("stranger"), NAME)
    for refused in (tls, stranger):
        with Client(gateway.url, tls=refused, timeout_s=5) as client, pytest.raises(errors.ServerUnavailableError):
            client.server_version()
    assert seen == []


def test_the_caller_is_named_and_limited(recorded, certificates, tls):
    gateway, seen = recorded
    own = Tls(tls.root_certificates, certificates.key("client"), certificates.pem("client"), NAME)
    forged = {
        CALLER_HEADER: "root",
        "authorization": "Bearer x",
        "triton-grpc-protocol-key": "guess",
        "x-trace": "kept",
    }
    with Client(gateway.url, tls=own, headers=forged, retry=False) as client:
        refusals = []
        for _ in range(14):
            with pytest.raises(errors.ServerError) as raised:
                client.server_version()
            refusals.append(raised.value)
    for headers in seen:
        assert headers[CALLER_HEADER] == "client"
        assert headers["x-trace"] == "kept"
        assert not {"authorization", "triton-grpc-protocol-key"} & set(headers)
    assert len(seen) == 10, "one a second, over 10 s"
    assert [type(each) for each in refusals[10:]] == [errors.ServerBusyError] * 4


def test_metrics_that_the_page_names_exist(gateway, root):
    page = (root / "docs" / "cluster.md").read_text()
    names = set(re.findall(r"`(haproxy_\w+)", page))
    assert len(names) >= 5
    served = gateway.page("/metrics")[1]
    assert {name for name in names if f"\n{name}{{" not in served} == set()


def test_a_second_name_behind_the_first_is_refused(call, moving_faces):
    clip = infer_message(CLIP_MODEL, moving_faces(4, 1))
    assert len(clip) > 200_000, "far more than the rules of HAProxy see"
    assert call(f"/{SERVICE}/ModelInfer", clip) is grpc.StatusCode.OK
    for name in (CLIP_MODEL, "face_locate", ""):
        again = b"\x0a" + bytes([len(name)]) + name.encode()
        padded = b"\x8a\x80\x00" + again[1:]  # the same field, its number written in three bytes
        for second in (again, padded, again + bytes(9999)):
            assert call(f"/{SERVICE}/ModelInfer", clip + second) in SPOILT
    assert call(f"/{SERVICE}/ModelInfer", clip) is grpc.StatusCode.OK
