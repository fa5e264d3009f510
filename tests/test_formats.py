"""The declaration of each format, held against its builder, its backends and its artifacts."""

import pytest
from every_format import EACH

import lenet_export
from lenet_export.formats import BUILDERS
from lenet_runtime import BACKENDS, FORMATS
from lenet_runtime.artifact import GOLDEN_NAME
from lenet_runtime.backends import backends_of, kinds_of
from lenet_runtime.errors import InputError
from lenet_runtime.formats import find, numbered, numbers


def test_every_format_has_a_builder_and_a_backend():
    assert FORMATS.keys() == BUILDERS.keys() == {b.format for b in BACKENDS.values()}
    assert lenet_export.FORMATS is FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_a_backend_runs_it_on_every_device_that_it_is_declared_for(name):
    declared = {kind for kinds in FORMATS[name].precisions.values() for kind in kinds}
    assert sorted(declared) == kinds_of(name)
    for kind in declared:
        assert backends_of(name, kind)


@pytest.mark.parametrize("name", EACH)
def test_an_artifact_holds_the_declared_files_and_no_others(exported, name):
    names = exported(name).manifest.files.keys() - {GOLDEN_NAME}
    for pattern in FORMATS[name].files:
        made = set(numbers(pattern, names).values()) if "N" in pattern else {pattern}
        assert made
        assert made <= names
        names -= made
    assert not names


def test_numbered_names_are_read_as_they_are_written():
    names = [numbered("a-N.b", number) for number in (24, 1, 2)]
    foreign = ["a-N.b", "a-01.b", "a-.b", "a-1xb", "xa-1.b", "a-123456.b"]
    assert numbers("a-N.b", names + foreign) == {1: "a-1.b", 2: "a-2.b", 24: "a-24.b"}


def test_a_flag_that_is_no_value_is_refused_by_name():
    (opset,) = FORMATS["onnx"].options
    assert opset.read("18") == 18
    with pytest.raises(InputError, match="--opset: expected N, found 'x'"):
        opset.read("x")


def test_what_a_format_lacks_is_refused_with_who_has_it():
    with pytest.raises(InputError, match=r"expected one of onnx, .*found 'tflite'"):
        find("tflite")
    with pytest.raises(InputError, match=r"can be exported in .*found 'int8'"):
        find("onnx").kinds("int8")
    with pytest.raises(
        InputError, match="--calibration-dir: only the native, web and tensorrt formats"
    ):
        find("onnx").require_options(["opset", "calibration"], "fp32")
