"""Shared fixtures: one network, one artifact of each format, and private copies to damage."""

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from artifact_files import edit_manifest
from every_format import ENGINES, ON_CPU
from processes import REPOSITORY

# Before anything imports PyTorch: its threads sleep while they wait for one another. Spinning, as
# they otherwise do, costs half of all processor time in tests, and more beside other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before any test's own import of it, see `lenet_runtime.backends.ort.core.import_onnxruntime`.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from lenet_runtime import BACKENDS, load
from lenet_runtime.artifact import Artifact, trust
from lenet_runtime.backends import choose
from lenet_runtime.errors import BackendUnavailable

# Fixtures of several files, in tests/helpers.
pytest_plugins = (
    "checkpoint_files", "fake_sessions", "function_engines", "model_folders", "native_files",
    "publishing", "training_runs", "tuned_folders",
)  # fmt: skip

# A shell lets what it starts in the background ignore Ctrl-C, and so would the processes that tests
# start and interrupt. A handler that does nothing is not inherited: they begin with the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: None)


@pytest.fixture(autouse=True)
def threads_stay():
    """Commands set PyTorch's threads for their process, which is the next test's, too."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if before is not None:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def net():
    """The bundled LeNet in eval mode."""
    pytest.importorskip("torch")
    from lenet_deploy.training.checkpoint import load_checkpoint

    return load_checkpoint()


@pytest.fixture(scope="session")
def exported(net, tmp_path_factory):
    """`exported(format, **options)`: an artifact, made once for the session; never change it.

    Processes that share the tests (pytest-xdist) share it: the first to ask makes it.
    """
    import lenet_export

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"
    artifacts = {}

    def export(format, **options):
        key = "-".join([format, *(f"{k}={v}" for k, v in sorted(options.items()))])
        if key not in artifacts:
            (shared / key).mkdir(parents=True, exist_ok=True)
            with (shared / f"{key}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                artifacts[key] = export_once(format, shared / key / format, options)
        return artifacts[key]

    def export_once(format, folder, options):
        if not folder.exists():
            return lenet_export.export(net, format, folder, **options)
        artifact = Artifact.open(folder)
        trust.remember(artifact)  # as if this process had made it
        return artifact

    return export


def artifact_of(format):
    """The fixture `torch_compile_artifact` and so on; what uses that one takes 15 s: mark it."""

    def artifact(exported):
        from lenet_export.formats import require

        try:
            require(format)
            choose(format, "auto", "cpu")
        except (BackendUnavailable, ImportError) as error:
            pytest.skip(str(error))
        return exported(format)

    return pytest.fixture(artifact, scope="session", name=f"{format.replace('-', '_')}_artifact")


globals().update({f"{name}_artifact": artifact_of(name) for name in ON_CPU})


@pytest.fixture(scope="session", params=ENGINES)
def session(request):
    """A session of each backend on the CPU in turn, shared by all tests; never close it."""
    artifact = request.getfixturevalue(
        f"{BACKENDS[request.param].format.replace('-', '_')}_artifact"
    )
    with load(artifact.path, backend=request.param) as session:
        yield session


@pytest.fixture
def copy_of(tmp_path):
    """`copy_of(artifact)`: the folder of a private copy, to damage."""

    def copy(artifact):
        return shutil.copytree(artifact.path, tmp_path / f"copy-of-{artifact.path.name}")

    return copy


@pytest.fixture(scope="session")
def mnist_dir():
    """The real MNIST in torchvision's layout; nothing is downloaded."""
    given = os.environ.get("LENET_DEPLOY_DATA_DIR")
    folder = Path(given).resolve() if given else REPOSITORY.parent / "shared" / "mnist"
    if not (folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST in {folder}; set LENET_DEPLOY_DATA_DIR to a folder that has it")
    return folder


@pytest.fixture
def no_cuda(monkeypatch):
    """A machine without an NVIDIA driver, whatever this one has."""
    from lenet_runtime.cuda import driver

    monkeypatch.setattr(driver, "LIBRARY", "libcuda-that-is-not-here.so.1")
    driver.library.cache_clear()
    yield
    driver.library.cache_clear()


@pytest.fixture
def fake_cuda(monkeypatch):
    """`fake_cuda(devices=1, ...)`: CUDA is a `cuda_driver.FakeDriver` for the length of a test.

    Fails the test if it leaves anything on the driver.
    """
    if shutil.which("gcc") is None:
        pytest.skip("the fake CUDA driver needs gcc")
    import cuda_driver

    from lenet_runtime.cuda import driver

    made = []

    def install(**options):
        monkeypatch.setattr(driver, "LIBRARY", str(cuda_driver.library_path()))
        driver.library.cache_clear()
        made.append(cuda_driver.FakeDriver(**options))
        return made[-1]

    yield install
    driver.library.cache_clear()
    if made:
        assert made[-1].depth == 0, "a context was left on the stack"
        assert made[-1].live == 0, f"{made[-1].live} objects of the driver were not freed"


@pytest.fixture
def fake_gpu(fake_cuda):
    return fake_cuda(capability=(8, 6))


@pytest.fixture
def fake_trt(fake_gpu, monkeypatch):
    """The state of a fake TensorRT that is installed for the length of a test."""
    import fake_tensorrt
    from samples import first_ten

    from lenet_runtime.backends.tensorrt import library

    state = fake_tensorrt.State(fake_gpu, first_ten)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.make(state))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    library.library.cache_clear()
    yield state
    library.library.cache_clear()


@pytest.fixture
def fake_ort(fake_cuda, monkeypatch, tmp_path):
    """The `Machine` of an ONNX Runtime with a GPU for the length of a test."""
    pytest.importorskip("onnxruntime")
    import fake_onnxruntime

    return fake_onnxruntime.install(monkeypatch, tmp_path, fake_cuda())


@pytest.fixture
def tf32_artifact(onnx_artifact, copy_of):
    return Artifact.open(
        edit_manifest(copy_of(onnx_artifact), lambda document: document.update(precision="tf32"))
    )


@pytest.fixture
def on_cpu(onnx_artifact):
    """What ONNX Runtime answers on the CPU."""
    with load(onnx_artifact.path, device="cpu") as session:
        yield session.run
