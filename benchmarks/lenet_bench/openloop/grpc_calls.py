"""A server of the Open Inference Protocol over gRPC, by grpcio with bytes in and bytes out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_bench.openloop import sending, v2
from lenet_bench.openloop.clock import Clock
from lenet_bench.openloop.sending import Moments, Sent
from lenet_runtime.errors import BackendUnavailable, DeployError
from lenet_runtime.version import pip_install

_SERVICE = "/inference.GRPCInferenceService/"
_SECONDS = 5.0


class GrpcTarget:
    """A model behind gRPC, see `lenet_bench.openloop.targets.Target`; a channel for each caller.

    Args:
        address: Where the model is.
        concurrency: Number of callers, each a thread.

    Raises:
        BackendUnavailable: grpcio is not installed.
        DeployError: Nobody answers there as the protocol says.
    """

    def __init__(self, address: v2.Address, concurrency: int) -> None:
        self.name, self._address, self.concurrency = address.name, address, concurrency
        self.details = {"protocol": "grpc", "host": f"{address.host}:{address.port}"}
        self._grpc = _grpcio()
        self._channels = [self._channel(number) for number in range(concurrency)]
        self._calls: list[Callable[[int], object]] = []
        try:
            self._input = v2.choose_input(self._inputs(), address.name)
        except BaseException:
            self.close()
            raise
        self.image_shape = self._input.shape

    def prepare(self, images: Sequence[NDArray[np.float32]]) -> None:
        """See `Target.prepare`."""
        requests = [v2.grpc_request(self._address.model, self._input, one) for one in images]
        self._calls = [self._caller(channel, requests) for channel in self._channels]

    def warm_up(self) -> None:
        """See `Target.warm_up`."""
        for call in self._calls:
            call(0)

    def send(self, arrivals: Moments, clock: Clock) -> Sent:
        """See `Target.send`."""
        return sending.send(self._calls, arrivals, clock)

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            channel.close()

    def _caller(self, channel: Any, requests: Sequence[bytes]) -> Callable[[int], object]:
        ask, failure = channel.unary_unary(f"{_SERVICE}ModelInfer"), self._grpc.RpcError

        def call(number: int) -> None:
            try:
                ask(requests[number % len(requests)], timeout=_SECONDS)
            except failure as error:
                raise DeployError(f"{error.code().name}: {error.details()}") from error

        return call

    def _channel(self, number: int) -> Any:
        # Channels of equal options share one connection; a number keeps them apart.
        options = [("lenet_bench.channel", number), ("grpc.use_local_subchannel_pool", 1)]
        host = self._address.host
        place = f"[{host}]" if ":" in host else host
        return self._grpc.insecure_channel(f"{place}:{self._address.port}", options)

    def _inputs(self) -> list[tuple[str, str, list[int]]]:
        ask = self._channels[0].unary_unary(f"{_SERVICE}ModelMetadata")
        try:
            answer = ask(v2.grpc_metadata_request(self._address.model), timeout=_SECONDS)
            return v2.grpc_inputs(answer)
        except self._grpc.RpcError as error:
            raise DeployError(f"{self.name}: {error.code().name}: {error.details()}") from error
        except ValueError as error:
            raise DeployError(f"{self.name}: expected the model's metadata ({error})") from error


def _grpcio() -> Any:
    try:
        import grpc
    except ImportError as error:
        raise BackendUnavailable(f"grpc:// needs grpcio; {pip_install('grpc')}") from error
    return grpc
