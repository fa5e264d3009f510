"""The model.py of Triton's python backend, with a backend that stands in for Triton's."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from samples import noise

from lenet_deploy.packaging.target import TEMPLATES
from lenet_runtime import load
from lenet_runtime.errors import DeployError


class Refused(Exception):
    """What Triton's TritonModelException is to it."""


class Tensor:
    """A tensor of the python backend; `misread` arrays as 24.10 does those of NumPy 2."""

    misread = False

    def __init__(self, name, array):
        self.name, self.array = name, array

    @classmethod
    def from_dlpack(cls, name, tensor):
        return cls(name, tensor.array * 0 if cls.misread else tensor.array)

    def as_numpy(self):
        return self.array


@pytest.fixture
def model(monkeypatch, native_artifact, tmp_path):
    """model.py beside an artifact, and initialize's arguments."""
    utils = ModuleType("triton_python_backend_utils")
    utils.Tensor, utils.TritonModelException = Tensor, Refused
    utils.get_input_tensor_by_name = lambda request, name: request[name]
    utils.InferenceResponse = lambda tensors=None, error=None: SimpleNamespace(
        tensors=tensors, error=error
    )
    utils.TritonError = type(
        "TritonError", (Exception,), {"INVALID_ARG": 1, "INTERNAL": 2}
    )  # of a message and a code
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    folder = tmp_path / "1"
    folder.mkdir()
    for name, data in native_artifact.contents.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(native_artifact.manifest.to_bytes())
    (folder / "model.py").write_bytes((TEMPLATES / "triton" / "model.py").read_bytes())
    spec = importlib.util.spec_from_file_location("triton_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TritonPythonModel()


def arguments(trust="true"):
    config = f'{{"parameters": {{"TRUST": {{"string_value": "{trust}"}}}}}}'
    return {"model_config": config, "model_instance_kind": "CPU", "model_instance_device_id": "0"}


def test_a_batch_is_one_run_and_one_bad_request_costs_the_others_nothing(model, native_artifact):
    model.initialize(arguments())
    images = [noise(n, seed=n) for n in (1, 3, 2)]
    with load(native_artifact, trust=True) as session:
        expected = [session.run(each) for each in images]
    images[1][2, 0, 4, 4] = np.nan
    refused, good = images[1], [images[0], images[2]]
    answers = model.execute([{"images": Tensor("images", each)} for each in good])
    for answer, logits in zip(answers, expected[::2], strict=True):
        assert (answer.error, answer.tensors[0].name) == (None, "logits")
        np.testing.assert_array_equal(answer.tensors[0].array, logits)
    mixed = [good[0], refused, good[1]]
    first, second, third = model.execute([{"images": Tensor("images", each)} for each in mixed])
    assert (first.error, third.error, second.error.args[1]) == (None, None, 1)
    assert "finite" in second.error.args[0]
    np.testing.assert_array_equal(third.tensors[0].array, expected[2])
    model.finalize()
    (answer,) = model.execute([{"images": Tensor("images", good[0])}])
    assert answer.error.args[1] == 2


def test_arrays_that_the_backend_misreads_are_refused_before_the_first_request(model, monkeypatch):
    monkeypatch.setattr(Tensor, "misread", True)
    with pytest.raises(Refused, match=r"misreads arrays of NumPy .*pip install 'numpy<2'"):
        model.initialize(arguments())


def test_an_environment_without_the_runtime_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "lenet_runtime", None)
    with pytest.raises(Refused, match=r"pip install lenet-deploy.*EXECUTION_ENV_PATH"):
        model.initialize(arguments())


def test_the_artifacts_faults_are_tritons_own_errors(model, tmp_path):
    (tmp_path / "1" / "lenet.so").write_bytes(b"another")
    with pytest.raises(Refused, match="damaged or changed") as error:
        model.initialize(arguments())
    assert isinstance(error.value.__cause__, DeployError)
