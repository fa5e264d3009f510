"""What `lenet-deploy package --target triton` makes, served by a real Triton 2.51 on the CPU.

    python -m tests.trials.triton_trial NATIVE_FP32 NATIVE_INT8 [NATIVE_BF16]

Both flavours, JSON, binary and gRPC, dynamic batches, another network, wrong requests, and
environments that lack something. Each line that it prints was checked; the first that is wrong
ends it. Needs what `benchmarks/serve/triton.py` says.
"""

import collections
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

import lenet_export
import lenet_runtime
from benchmarks.serve import triton
from lenet_runtime.artifact import golden
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

PROTOCOLS = {"HTTP": tritonclient.http, "gRPC": tritonclient.grpc}
LABELS = ("é", "two words", "c", "d", "e", "f", "g")
KINDS = {"c": "native", "python": "python"}  # by what names begin with: the flavour
OPTIONS = ("--strict-readiness=false", "--exit-on-error=false", "--model-control-mode=explicit")


def main(*artifacts: Path) -> None:
    """Serve each of them in both flavours in one Triton, and ask."""
    with tempfile.TemporaryDirectory(prefix="triton-") as scratch:
        repository, other = Path(scratch) / "models", Path(scratch) / "other"
        export_other(other)
        kinds = [kind for kind in KINDS if kind == "c" or can_run_python()]
        good = {f"{kind}-{name_of(a)}": a for kind in kinds for a in (*artifacts, other)}
        for name, artifact in good.items():
            triton.packaged(repository, artifact, KINDS[name.partition("-")[0]], name)
        if "python" in kinds:
            triton.packaged(repository, other, "python", "bare", str(bare(Path(scratch) / "bare")))
            triton.packaged(repository, other, "python", "numpy-2", sys.prefix)
        edit(repository / f"c-{name_of(artifacts[1])}", "count: 1", "count: 2")
        triton.packaged(repository, artifacts[0], "native", "edited")
        edit(repository / "edited", "[1, 32, 32]", "[1, 16, 16]")
        with triton.started(repository, *OPTIONS, "--load-model=*") as server:
            clients = {
                "HTTP": tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.http}"),
                "gRPC": tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}"),
            }
            if "python" in kinds:
                not_loaded(clients["gRPC"])
            for name, artifact in good.items():
                with lenet_runtime.load(artifact, trust=True) as session:
                    answers_alone(clients, name, session)
                    together(clients["gRPC"], name, session)
                    refusals(clients["gRPC"], name, session)
                    shared_memory(clients["gRPC"], name, session)
            classes(clients, *(f"{kind}-other" for kind in kinds))
            small = np.zeros((1, 1, 16, 16), np.float32)
            refused(clients["gRPC"], "edited", request(tritonclient.grpc, small))
            say("edited", "a config of another network's sizes is an error, and no crash")
            new_version(clients["gRPC"], repository / f"c-{name_of(artifacts[0])}", artifacts[1])


def can_run_python() -> bool:
    """Whether Triton's python backend finds this Python's library."""
    try:
        triton.python_environment()
    except OSError as error:
        say("python", f"skipped ({error}; Debian: apt install libpython{triton.PYTHON})")
        return False
    return True


def edit(model: Path, before: str, after: str) -> None:
    """Change config.pbtxt, as its reader may."""
    config = model / "config.pbtxt"
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after))


def name_of(artifact: Path) -> str:
    """An artifact's precision; that of the other network is its name."""
    precision = lenet_runtime.Artifact.open(artifact).manifest.precision
    return artifact.name if artifact.name == "other" else precision


def bare(folder: Path) -> Path:
    """An environment with NumPy and without our runtime."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = triton.packages(triton.python_environment())  # whose own .pth is not read again
    (triton.packages(folder) / "numpy.pth").write_text(f"{packages}\n")
    return folder


def export_other(folder: Path) -> None:
    """Another network: three channels, other sides, seven labelled classes, softmax."""
    sys.path.insert(0, str(triton.ROOT / "tests" / "helpers"))
    from family import lenet
    from torch import nn

    module = lenet(image_shape=(3, 24, 20), classes=7, end=(nn.Softmax(dim=-1),))
    lenet_export.export(module, "native", folder, input_shape=(3, 24, 20), labels=LABELS)


def images_of(session: lenet_runtime.Session) -> np.ndarray:
    """Golden images and the bundled digits, of the network's shape."""
    images, _ = golden.read(session.artifact)
    if session.manifest.image_shape == (1, 32, 32):
        images = np.concatenate([images, to_batch(load_digits().images, Preprocessing())])
    return np.ascontiguousarray(images)


def request(module, images: np.ndarray, *, binary: bool = True):
    """An input of one of tritonclient's two modules."""
    images_in = module.InferInput("images", list(images.shape), "FP32")
    choice = {} if module is tritonclient.grpc else {"binary_data": binary}
    images_in.set_data_from_numpy(images, **choice)
    return [images_in]


def answers_alone(clients, name: str, session: lenet_runtime.Session) -> None:
    """All at once, then each alone, by each protocol: to the bit what the session answers."""
    images, output = images_of(session), session.manifest.output
    expected = session.run(images)
    for protocol, binary in (("HTTP", True), ("HTTP", False), ("gRPC", True)):
        module = PROTOCOLS[protocol]
        choice = {} if protocol == "gRPC" else {"binary_data": binary}
        asked = [module.InferRequestedOutput(output, **choice)]
        for rows in [slice(0, len(images)), *(slice(i, i + 1) for i in range(len(images)))]:
            sent = request(module, images[rows], binary=binary)
            answer = clients[protocol].infer(name, sent, outputs=asked).as_numpy(output)
            np.testing.assert_array_equal(answer.astype(np.float32), expected[rows])
    say(name, f"{len(images)} images by JSON, binary and gRPC: Session.run's bits")


def together(client, name: str, session: lenet_runtime.Session) -> None:
    """2,000 requests of one to three images at once: batches form, and no answer changes."""
    images, output = images_of(session), session.manifest.output
    expected, answers = session.run(images), collections.deque()
    before = statistics(client, name)
    firsts = [(7 * i % (len(images) - 3), 1 + i % 3) for i in range(2000)]
    for key in firsts:
        sent = request(tritonclient.grpc, images[key[0] : sum(key)])
        client.async_infer(
            name, sent, lambda result, error, key=key: answers.append((key, result, error))
        )
    end = time.monotonic() + 30
    while len(answers) < len(firsts):
        assert time.monotonic() < end, f"{name}: {len(answers)} answers"
        time.sleep(0.01)
    for (first, count), result, error in answers:
        assert error is None, error
        np.testing.assert_array_equal(result.as_numpy(output), expected[first : first + count])
    after = statistics(client, name)
    images_run, runs = (a - b for a, b in zip(after, before, strict=True))
    assert images_run == sum(count for _, count in firsts), images_run
    assert runs < len(firsts), f"{name}: no batches formed"
    say(name, f"{len(firsts)} requests at once ran as {runs} batches: Session.run's bits")


def statistics(client, name: str) -> tuple[int, int]:
    """Images, and runs of the model, so far; the runs by size add up to them."""
    (stats,) = client.get_inference_statistics(name).model_stats
    by_size = stats.batch_stats
    assert sum(b.batch_size * b.compute_infer.count for b in by_size) == stats.inference_count
    return stats.inference_count, stats.execution_count


def refusals(client, name: str, session: lenet_runtime.Session) -> None:
    """What is wrong is refused alone, and the next is answered."""
    good = images_of(session)[:1]
    bad = good.copy()
    bad[0, 0, 1, 2] = np.nan
    answers = collections.deque()
    for images in (good, bad) * 50:
        client.async_infer(
            name, request(tritonclient.grpc, images),
            lambda result, error, images=images: answers.append((images is bad, error)),
        )  # fmt: skip
    end = time.monotonic() + 30
    while len(answers) < 100 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(answers) == 100
    for wrong, error in answers:
        assert (error is not None) == wrong, error
        assert not wrong or ("finite" in str(error) and "INVALID" in str(error.status())), error
    for wrong in (good[:, :, 1:], good[0], np.repeat(good, 1025, axis=0)):
        refused(client, name, request(tritonclient.grpc, np.ascontiguousarray(wrong)))
    other = tritonclient.grpc.InferInput("images", list(good.shape), "INT32")
    other.set_data_from_numpy(good.astype(np.int32))
    refused(client, name, [other])
    huge = request(tritonclient.grpc, good)
    huge[0].set_shape([2**52 + 1, *good.shape[1:]])
    with contextlib.suppress(InferenceServerException):  # Triton takes it for one image
        answer = client.infer(name, huge).as_numpy(session.manifest.output)
        np.testing.assert_array_equal(answer, session.run(good))
    assert client.is_model_ready(name)
    say(name, "NaN, wrong shapes and types are refused, also within a batch of good requests")


def shared_memory(client, name: str, session: lenet_runtime.Session) -> None:
    """Input and output in a client's memory, where they begin at no multiple of four bytes."""
    images, output = images_of(session)[:3], session.manifest.output
    expected = session.run(images)
    size, offset = 2 + images.nbytes + expected.nbytes, 2 + images.nbytes
    region = shm.create_shared_memory_region(name, f"/lenet-{os.getpid()}", size)
    try:
        shm.set_shared_memory_region(region, [np.frombuffer(b"--" + images.tobytes(), np.uint8)])
        client.register_system_shared_memory(name, f"/lenet-{os.getpid()}", size)
        sent = tritonclient.grpc.InferInput("images", list(images.shape), "FP32")
        sent.set_shared_memory(name, images.nbytes, 2)
        asked = tritonclient.grpc.InferRequestedOutput(output)
        asked.set_shared_memory(name, expected.nbytes, offset)
        client.infer(name, [sent], outputs=[asked])
        written = shm.get_contents_as_numpy(region, np.uint8, [size]).tobytes()[offset:]
        assert written == expected.tobytes()
        client.unregister_system_shared_memory(name)
    finally:
        shm.destroy_shared_memory_region(region)


def refused(client, name: str, inputs) -> None:
    """It is a client's error."""
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(name, inputs)
    assert "INVALID_ARGUMENT" in str(refusal.value.status()), refusal.value


def not_loaded(client) -> None:
    """Environments that lack something say what, load nothing, and cost the server nothing."""
    reasons = {m.name: m.reason for m in client.get_model_repository_index().models if m.reason}
    expected = {"bare": "pip install lenet-deploy", "numpy-2": "pip install 'numpy<2'"}
    assert reasons.keys() == expected.keys(), reasons
    for name, text in expected.items():
        assert text in reasons[name], reasons[name]
        assert not client.is_model_ready(name)
        say(name, f"refused: {reasons[name].splitlines()[0].partition('Exception: ')[2]}")


def classes(clients, *names: str) -> None:
    """Triton's classification extension answers with the labels."""
    image = np.zeros((1, 3, 24, 20), np.float32)
    for name in names:
        for protocol, module in PROTOCOLS.items():
            asked = [module.InferRequestedOutput("probabilities", class_count=7)]
            answer = clients[protocol].infer(name, request(module, image), outputs=asked)
            rows = [row.decode() for row in answer.as_numpy("probabilities").ravel()]
            assert {row.split(":", 2)[2] for row in rows} == {*LABELS}, rows
            for row in rows:
                assert LABELS[int(row.split(":")[1])] == row.split(":")[2], row
        say(name, f"classes: {', '.join(rows[:2])}, ...")


def new_version(client, model: Path, artifact: Path) -> None:
    """Another export of the network is a folder 2/ beside the first, and then answers."""
    with tempfile.TemporaryDirectory() as scratch:
        triton.packaged(Path(scratch) / "models", artifact, "native", "next")
        (Path(scratch) / "models" / "next" / "1").rename(model / "2")
    client.load_model(model.name)
    assert client.is_model_ready(model.name, "2")
    assert not client.is_model_ready(model.name, "1")
    with lenet_runtime.load(artifact, trust=True) as session:
        images = images_of(session)
        answer = client.infer(model.name, request(tritonclient.grpc, images)).as_numpy("logits")
        np.testing.assert_array_equal(answer, session.run(images))
    say(model.name, "a folder 2/ with the int8 network answers after a load")


def say(name: str, text: str) -> None:
    """A line of what holds."""
    print(f"{name:12} {text}", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
