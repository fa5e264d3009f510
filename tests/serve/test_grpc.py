"""The gRPC server on a socket, by stubs of our own messages."""

import shutil
import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool

import lenet_serve
from lenet_serve.errors import Code, ServeError
from lenet_serve.grpc import GrpcServer
from lenet_serve.limits import Limits
from lenet_serve.protocol.messages import METHODS

INFERENCE, HEALTH = "/inference.GRPCInferenceService/", "/grpc.health.v1.Health/"
REFLECTIONS = [path for path in METHODS if path.endswith("ServerReflectionInfo")]
DIGIT = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
SMALL = Limits(body_bytes=2**20)
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


class Client:
    """Calls methods by path, with a document as the request."""

    def __init__(self, address, credentials=None):
        self.channel = (
            grpc.secure_channel(address, credentials)
            if credentials
            else grpc.insecure_channel(address)
        )

    def call(self, path, body=None, options=None, **fields):
        method = METHODS.get(path)
        stub = self.channel.unary_unary(
            path, response_deserializer=method.response.FromString if method else None
        )
        if body is None:
            body = method.request(**fields).SerializeToString()
        return stub(body, **{"timeout": 10, **(options or {})})

    def code(self, path, body=None, options=None, **fields):
        with pytest.raises(grpc.RpcError) as failed:
            self.call(path, body, options, **fields)
        return failed.value.code().name, failed.value.details()

    def stream(self, path, requests, timeout=10):
        method = METHODS[path]
        kind = self.channel.stream_stream if method.client_streams else self.channel.unary_stream
        stub = kind(path, method.request.SerializeToString, method.response.FromString)
        return stub(requests, timeout=timeout)


def infer_request(images=DIGIT, **fields):
    tensor = {"name": "images", "datatype": "FP32", "shape": images.shape}
    raw = {"inputs": [tensor], "raw_input_contents": [images.tobytes()]}
    return METHODS[f"{INFERENCE}ModelInfer"].request(**{"model_name": "lenet", **raw, **fields})


@pytest.fixture(scope="module")
def service(native_artifact):
    with lenet_serve.Service.open(native_artifact.path, limits=SMALL, trust=True) as service:
        yield service


def serve(service, address="127.0.0.1:0", **options):
    server = GrpcServer(service, address, **options)
    return server, server.start()


@pytest.fixture(scope="module")
def client(service):
    server, port = serve(service)
    yield Client(f"127.0.0.1:{port}")
    server.stop(0.1)


def test_logits_are_the_sessions_own(client, service):
    answer = client.call(f"{INFERENCE}ModelInfer", infer_request(id="7").SerializeToString())
    assert (answer.model_name, answer.model_version, answer.id) == ("lenet", "1", "7")
    (logits,) = answer.raw_output_contents
    alone = service.repository.get("lenet").session.run(DIGIT)
    assert np.array_equal(np.frombuffer(logits, np.float32).reshape(1, 10), alone)


def test_what_is_asked_of_the_server_and_its_models(client):
    assert client.call(f"{INFERENCE}ServerLive").live
    assert client.call(f"{INFERENCE}ServerReady").ready
    assert client.call(f"{INFERENCE}ModelReady", name="lenet").ready
    assert not client.call(f"{INFERENCE}ModelReady", name="nope").ready
    assert client.call(f"{INFERENCE}ServerMetadata").name
    metadata = client.call(f"{INFERENCE}ModelMetadata", name="lenet", version="1")
    assert metadata.inputs[0].name == "images"
    config = client.call(f"{INFERENCE}ModelConfig", name="lenet").config
    assert (config.name, config.input[0].name) == ("lenet", "images")
    (model,) = client.call(f"{INFERENCE}RepositoryIndex").models
    assert (model.name, model.version, model.state) == ("lenet", "1", "READY")
    assert client.call(f"{INFERENCE}ModelStatistics", name="lenet").model_stats[0].name == "lenet"
    assert client.call(f"{INFERENCE}TraceSetting").settings["trace_level"].value == ["OFF"]
    assert client.call(f"{INFERENCE}LogSettings").settings["log_info"].bool_param in (True, False)
    assert not client.call(f"{INFERENCE}SystemSharedMemoryStatus").regions


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("ModelMetadata", {"name": "nope"}, "NOT_FOUND"),
        ("ModelMetadata", {"name": "lenet", "version": "9"}, "NOT_FOUND"),
        ("ModelMetadata", {"name": "lenet", "version": "x"}, "INVALID_ARGUMENT"),
        ("ModelConfig", {"name": "nope"}, "NOT_FOUND"),
        ("ModelStatistics", {"name": "nope"}, "NOT_FOUND"),
        ("RepositoryIndex", {"repository_name": "other"}, "UNIMPLEMENTED"),
        ("RepositoryModelLoad", {"model_name": "lenet"}, "UNAVAILABLE"),
        ("RepositoryModelLoad", {"parameters": {"config": {"string_param": "{}"}}},
         "INVALID_ARGUMENT"),
        ("RepositoryModelUnload", {"model_name": "lenet"}, "UNAVAILABLE"),
        ("TraceSetting", {"settings": {"trace_level": {"value": ["TIMESTAMPS"]}}}, "UNIMPLEMENTED"),
        ("LogSettings", {"settings": {"log_info": {"bool_param": True}}}, "UNIMPLEMENTED"),
    ],
)  # fmt: skip
def test_refused_calls(client, method, fields, code):
    assert client.code(INFERENCE + method, **fields)[0] == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_name": "nope"}, "NOT_FOUND"),
        ({"model_name": ""}, "NOT_FOUND"),
        ({"model_version": "9"}, "NOT_FOUND"),
        ({"model_version": "x"}, "INVALID_ARGUMENT"),
        ({"inputs": [], "raw_input_contents": []}, "INVALID_ARGUMENT"),
        ({"raw_input_contents": []}, "INVALID_ARGUMENT"),
        ({"images": np.full_like(DIGIT, np.nan)}, "INVALID_ARGUMENT"),
        ({"images": DIGIT[:0]}, "INVALID_ARGUMENT"),
        ({"images": DIGIT[..., :28, :28]}, "INVALID_ARGUMENT"),
        ({"outputs": [{"name": "nope"}]}, "INVALID_ARGUMENT"),
        ({"inputs": [{"name": "other", "datatype": "FP32", "shape": DIGIT.shape}]},
         "INVALID_ARGUMENT"),
        ({"inputs": [{"name": "images", "datatype": "INT32", "shape": DIGIT.shape}]},
         "INVALID_ARGUMENT"),
    ],
)  # fmt: skip
def test_refused_inferences(client, changes, code):
    body = infer_request(**changes).SerializeToString()
    assert client.code(f"{INFERENCE}ModelInfer", body)[0] == code


def test_garbage_and_methods_that_are_not_there(client):
    code, details = client.code(f"{INFERENCE}ModelInfer", b"\xff\xff")
    assert (code, "found 2 bytes" in details) == ("INVALID_ARGUMENT", True)
    code, details = client.code(f"{INFERENCE}SystemSharedMemoryRegister", b"")
    assert (code, "expected one of ModelInfer" in details) == ("UNIMPLEMENTED", True)
    assert client.code("/other.Service/Method", b"")[0] == "UNIMPLEMENTED"


def test_what_a_client_wrote_is_not_repeated_at_length(client):
    for changes in ({"model_name": "n" * 99_999}, {"outputs": [{"name": "n" * 99_999}]}):
        body = infer_request(**changes).SerializeToString()
        code, details = client.code(f"{INFERENCE}ModelInfer", body)
        assert code in ("NOT_FOUND", "INVALID_ARGUMENT")
        assert len(details) <= 1000


@pytest.mark.parametrize("size", [SMALL.body_bytes + 1, 4 * SMALL.body_bytes])
def test_a_message_over_the_limit_is_refused(client, size):
    code, details = client.code(f"{INFERENCE}ModelInfer", bytes(size))
    assert code == "RESOURCE_EXHAUSTED"
    # What is more than twice the limit is refused by grpcio, which knows no options of ours.
    assert ("--max-body" in details) == (size < 2 * SMALL.body_bytes)


def test_compressed_messages_are_read_and_their_inflated_size_counts(client):
    gzip = {"compression": grpc.Compression.Gzip}
    body = infer_request().SerializeToString()
    assert client.call(f"{INFERENCE}ModelInfer", body, gzip).outputs
    bomb = bytes(32 * SMALL.body_bytes)
    assert client.code(f"{INFERENCE}ModelInfer", bomb, gzip)[0] == "RESOURCE_EXHAUSTED"


def test_each_message_of_a_stream_is_answered_and_a_bad_one_ends_nothing(client):
    requests = [
        infer_request(id="1"),
        infer_request(id="2", model_name="no"),
        infer_request(id="3"),
    ]
    answers = list(client.stream(f"{INFERENCE}ModelStreamInfer", iter(requests)))
    assert [answer.infer_response.id for answer in answers] == ["1", "", "3"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]


def test_health_of_the_server_and_of_models(client):
    for name in ("", "lenet", "inference.GRPCInferenceService"):
        assert client.call(f"{HEALTH}Check", service=name).status == SERVING
    assert client.code(f"{HEALTH}Check", service="nope")[0] == "NOT_FOUND"
    unknown = client.stream(f"{HEALTH}Watch", METHODS[f"{HEALTH}Watch"].request(service="nope"))
    assert next(unknown).status == SERVICE_UNKNOWN
    unknown.cancel()


@pytest.mark.parametrize("path", REFLECTIONS)
def test_reflection_tells_all_that_a_client_needs(client, path):
    request = METHODS[path].request
    (listed,) = client.stream(path, iter([request(list_services="*")]))
    names = {service.name for service in listed.list_services_response.service}
    assert names == {name.split("/")[1] for name in METHODS}
    pool = DescriptorPool()
    for name in names:
        (found,) = client.stream(path, iter([request(file_containing_symbol=name)]))
        for file in reversed(found.file_descriptor_response.file_descriptor_proto):
            pool.AddSerializedFile(file)
        assert pool.FindServiceByName(name).methods
    (missing,) = client.stream(path, iter([request(file_containing_symbol="no.Such")]))
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_token_is_asked_for_except_by_probes(service):
    server, port = serve(service, token="secret")
    client = Client(f"127.0.0.1:{port}")
    for wrong in ((), (("authorization", "Bearer wrong"),)):
        code = client.code(f"{INFERENCE}ServerMetadata", options={"metadata": wrong})[0]
        assert code == "UNAUTHENTICATED"
    right = {"metadata": (("authorization", "Bearer secret"),)}
    assert client.call(f"{INFERENCE}ServerMetadata", options=right).name
    assert client.call(f"{HEALTH}Check").status == SERVING
    assert client.call(f"{INFERENCE}ServerReady").ready
    server.stop(0)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, for a certificate")
def test_tls(service, tmp_path):
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-keyout", key, "-out", chain, "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    server, port = serve(service, "localhost:0", tls=(chain.read_bytes(), key.read_bytes()))
    trusted = grpc.ssl_channel_credentials(chain.read_bytes())
    assert Client(f"localhost:{port}", trusted).call(f"{INFERENCE}ServerLive").live
    assert Client(f"localhost:{port}").code(f"{INFERENCE}ServerLive")[0] == "UNAVAILABLE"
    server.stop(0)


def test_a_unix_socket(service, tmp_path):
    server, _ = serve(service, f"unix:{tmp_path}/lenet.sock")
    assert Client(f"unix:{tmp_path}/lenet.sock").call(f"{INFERENCE}ServerLive").live
    server.stop(0)


def test_an_address_that_is_taken_is_said(service):
    server, port = serve(service)
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        serve(service, f"127.0.0.1:{port}")
    server.stop(0)


class Slow(lenet_serve.Service):
    """Answers when it is let; says when it was asked."""

    def __init__(self, service):
        self.__dict__.update(vars(service))
        self.asked, self.go = threading.Semaphore(0), threading.Event()

    def submit(self, request, deadline=None):
        self.asked.release()
        assert self.go.wait(10)
        return super().submit(request, deadline)


def test_a_call_under_way_is_answered_while_the_server_stops(service):
    slow = Slow(service)
    server, port = serve(slow)
    client = Client(f"127.0.0.1:{port}")
    with ThreadPoolExecutor() as pool:
        body = infer_request().SerializeToString()
        answer = pool.submit(client.call, f"{INFERENCE}ModelInfer", body)
        assert slow.asked.acquire(timeout=10)
        watch = client.stream(f"{HEALTH}Watch", METHODS[f"{HEALTH}Watch"].request())
        assert next(watch).status == SERVING
        server.drain()
        assert next(watch).status == NOT_SERVING
        assert client.call(f"{HEALTH}Check").status == NOT_SERVING
        stopped = pool.submit(server.stop, 10)
        time.sleep(0.1)
        assert not stopped.done()
        slow.go.set()
        assert answer.result(10).outputs
        stopped.result(10)
    assert list(watch) == []  # ended, not cancelled
    assert client.code(f"{INFERENCE}ServerLive")[0] == "UNAVAILABLE"


def test_stopping_loses_no_call_of_busy_channels(service):
    """grpcio alone cancels two or three of these eight."""
    server, port = serve(service)
    body = infer_request().SerializeToString()
    busy = threading.Barrier(9)

    def call_until_it_ends():
        options = [("grpc.use_local_subchannel_pool", 1)]  # else channels share a connection
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            stub = channel.unary_unary(f"{INFERENCE}ModelInfer")
            stub(body, timeout=10)
            busy.wait(10)
            while True:
                try:
                    stub(body, timeout=10)
                except grpc.RpcError as error:
                    return error.code().name, error.details()
                time.sleep(0.002)

    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(call_until_it_ends) for _ in range(8)]
        busy.wait(10)
        time.sleep(0.1)
        server.stop(5)
        for code, details in (end.result(10) for end in ends):
            assert (code, "failed to connect" in details) == ("UNAVAILABLE", True), details


def test_who_has_gone_costs_no_inference(service):
    slow = Slow(service)
    server, port = serve(slow, threads=1)
    client = Client(f"127.0.0.1:{port}")
    body = infer_request().SerializeToString()
    stub = client.channel.unary_unary(f"{INFERENCE}ModelInfer")
    first = stub.future(body, timeout=10)
    assert slow.asked.acquire(timeout=10)
    second = stub.future(body, timeout=10)  # waits for the only thread
    time.sleep(0.05)
    second.cancel()
    time.sleep(0.05)
    slow.go.set()
    assert first.result(10)
    server.stop(1)
    assert not slow.asked.acquire(timeout=0)


def test_a_deadline_reaches_the_service_and_ends_the_call(service):
    class Late(lenet_serve.Service):
        def __init__(self):
            self.__dict__.update(vars(service))

        def submit(self, request, deadline=None):
            left.append(deadline - time.monotonic())
            return Future()  # that nobody ever completes

    left = []
    server, port = serve(Late())
    client = Client(f"127.0.0.1:{port}")
    body = infer_request().SerializeToString()
    assert client.code(f"{INFERENCE}ModelInfer", body, {"timeout": 0.1})[0] == "DEADLINE_EXCEEDED"
    assert 0 < left[0] < 1  # grpcio sends whole milliseconds, rounded up
    server.stop(1)


def test_a_message_that_does_not_come_holds_its_thread_for_read_s_alone(service):
    class Hasty(lenet_serve.Service):
        def __init__(self):
            self.__dict__.update(vars(service))
            self.limits = Limits(read_s=0.1)

    server, port = serve(Hasty(), threads=1)
    client = Client(f"127.0.0.1:{port}")
    never = threading.Event()
    stub = client.channel.stream_unary(f"{INFERENCE}ServerLive")
    slow = stub.future(iter(lambda: never.wait(20) and None, None), timeout=20)
    with pytest.raises(grpc.RpcError) as cancelled:
        slow.result(10)
    assert cancelled.value.code().name == "CANCELLED"
    assert client.call(f"{INFERENCE}ServerLive").live
    never.set()
    server.stop(1)


def test_a_call_without_a_message_is_malformed(client):
    stub = client.channel.stream_unary(f"{INFERENCE}ServerLive")
    with pytest.raises(grpc.RpcError) as refused:
        stub(iter(()), timeout=10)
    assert refused.value.code().name == "INVALID_ARGUMENT"


def test_who_hangs_up_while_it_waits_cancels_the_work(service):
    class Never(lenet_serve.Service):
        def __init__(self):
            self.__dict__.update(vars(service))

        def submit(self, request, deadline=None):
            traces.append(request.trace)
            future = Future()
            futures.put(future)
            return future

    futures, traces, ended = Queue(), [], threading.Event()
    trace = f"00-{'1' * 32}-{'2' * 16}-01"
    server, port = serve(Never())
    stub = Client(f"127.0.0.1:{port}").channel.unary_unary(f"{INFERENCE}ModelInfer")
    body = infer_request().SerializeToString()
    call = stub.future(body, timeout=10, metadata=(("traceparent", trace),))
    future = futures.get(timeout=10)
    future.add_done_callback(lambda future: ended.set())
    call.cancel()
    assert ended.wait(10)
    assert future.cancelled()
    assert traces == [trace]
    server.stop(1)


def test_when_to_try_again_is_told(service):
    class Busy(Slow):
        def submit(self, request, deadline=None):
            raise ServeError("the queue is full", Code.UNAVAILABLE, retry_after=2)

    server, port = serve(Busy(service))
    with pytest.raises(grpc.RpcError) as refused:
        Client(f"127.0.0.1:{port}").call(
            f"{INFERENCE}ModelInfer", infer_request().SerializeToString()
        )
    assert refused.value.code().name == "UNAVAILABLE"
    assert ("grpc-retry-pushback-ms", "2000") in refused.value.trailing_metadata()
    server.stop(0)
