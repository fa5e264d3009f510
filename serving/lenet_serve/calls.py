"""`Call`: one request from its admission until it is counted."""

import time
from concurrent.futures import CancelledError, Future
from typing import Any

from lenet_serve.batching import Images, Logits
from lenet_serve.errors import Code, ServeError, translated
from lenet_serve.inputs import require_finite
from lenet_serve.model import Model
from lenet_serve.protocol.infer import InferRequest, InferResponse, Times
from lenet_serve.recorder import Recorder


def waited(future: Future[InferResponse], deadline: float | None) -> InferResponse:
    """Wait for the answer, until the deadline of `time.monotonic` at most.

    Raises:
        ServeError: The deadline has passed, and the request is dropped; its client gave it up; or
            what the future raises.
    """
    try:
        return future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except TimeoutError as error:
        future.cancel()
        raise ServeError("deadline: it passed before the answer", Code.DEADLINE) from error
    except CancelledError as error:
        raise ServeError("call: its client has gone", Code.CANCELLED) from error


class Call:
    """One request that was admitted to a model; ends exactly once, with an answer or an error.

    Args:
        request: The request.
        model: The model that it was admitted to.
        deadline: See `lenet_serve.Service.submit`.
        metrics: What is told of it.
        rows, size: Images and bytes that were admitted.
    """

    __slots__ = ("_images", "_ready_ns", "_times", "_waits", "deadline", "metrics", "model",
                 "request", "rows", "size")  # fmt: skip

    def __init__(
        self,
        request: InferRequest,
        model: Model,
        deadline: float | None,
        metrics: Recorder,
        *,
        rows: int,
        size: int,
    ) -> None:
        self.request, self.model, self.deadline = request, model, deadline
        self.metrics, self.rows, self.size = metrics, rows, size
        self._times = Times()
        self._images: Images | None = None
        self._ready_ns = 0
        self._waits = False

    def inline(self) -> InferResponse | None:
        """Answer here and now; None where the engine is busy, and `queued` is to be called.

        Raises:
            ServeError: The request is refused, or the engine failed. The call has ended.
        """
        try:
            logits = self.model.batcher.try_run(self._prepared(), self.deadline)
            if logits is None:
                return None
            response = self._answer(logits)
        except Exception as error:
            raise self._refused(error) from error
        self._end(None)
        return response

    def queued(self) -> Future[InferResponse]:
        """Wait in the model's queue.

        Raises:
            ServeError: The request is refused. The call has ended.
        """
        try:
            images = self._finite()
        except Exception as error:
            raise self._refused(error) from error
        self.wait()
        future = self.model.batcher.submit(images, self.deadline, self._answer)
        future.add_done_callback(self.settle)
        return future

    def wait(self) -> None:
        """Be counted as pending until the call ends."""
        self._waits = True
        self.metrics.pending(self.model.name, self.model.version, 1)

    def whole(self) -> InferResponse:
        """Prepare and answer, and wait where the engine is busy; for a thread that may.

        The call has not ended: its future's `settle` does that.

        Raises:
            ServeError: The request is refused, or the engine failed.
        """
        try:
            logits = self.model.batcher.try_run(self._prepared(), self.deadline)
            if logits is None:
                waiting: Future[Logits] = self.model.batcher.submit(
                    self._finite(), self.deadline, lambda logits: logits
                )
                logits = waiting.result()
            return self._answer(logits)
        except Exception as error:
            raise translated(error) from error

    def settle(self, future: Future[Any]) -> None:
        """End the call as its future did."""
        if future.cancelled():
            self._end(Code.CANCELLED)
        else:
            error = future.exception()
            self._end(translated(error).code if error else None)

    def _prepared(self) -> Images:
        if self._images is None:
            begun = time.perf_counter_ns()
            self._images = self.model.images(self.request, self.deadline)
            self._ready_ns = time.perf_counter_ns()
            self._times.input_ns = self._ready_ns - begun
        return self._images

    def _finite(self) -> Images:
        """The images, looked at before they are computed with others'."""
        images = self._prepared()
        if self.model.session.check_finite:
            require_finite(images)
        return images

    def _refused(self, error: Exception) -> ServeError:
        """End the call by an error; what the client is told of it."""
        refusal = translated(error)
        self._end(refusal.code)
        return refusal

    def _answer(self, logits: Logits) -> InferResponse:
        times = self._times
        times.queue_ns = logits.begun_ns - self._ready_ns
        times.infer_ns = logits.ended_ns - logits.begun_ns
        times.batch = logits.batch
        response = self.model.answer(self.request, logits.values)
        ended = time.perf_counter_ns()
        times.output_ns = ended - logits.ended_ns
        times.total_ns = ended - self.request.begun_ns
        response.times = times
        return response

    def _end(self, code: Code | None) -> None:
        model, times = self.model, self._times
        model.admission.leave(self.rows, self.size)
        if code is not None:
            times.total_ns = time.perf_counter_ns() - self.request.begun_ns
        if self._waits:
            self.metrics.pending(model.name, model.version, -1)
        self.metrics.record(
            model.name, model.version, protocol=self.request.protocol, code=code, rows=self.rows,
            times=times, request=self.request,
        )  # fmt: skip
