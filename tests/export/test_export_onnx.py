"""The onnx format: a small graph of pinned versions that says how to feed it."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from samples import eager, noise, snapshot
from torch import nn

import lenet_export
import lenet_runtime
from lenet_export.formats import onnx as onnx_format
from lenet_export.network import weights
from lenet_runtime.artifact import trust
from lenet_runtime.errors import ArtifactError, DeployError, InputError
from lenet_runtime.images.preprocess import Preprocessing

NODES = [*["Conv", "Relu", "MaxPool"] * 2, "Reshape", *["Gemm", "Relu"] * 2, "Gemm"]


def graph_of(artifact):
    return onnx.load_model_from_string(artifact.read("model.onnx"))


def test_onnx_graph_is_as_small_as_it_can_be(onnx_artifact):
    graph = graph_of(onnx_artifact).graph
    assert [node.op_type for node in graph.node] == NODES
    assert set(NODES) <= onnx_format.OPERATORS


@pytest.mark.parametrize(("options", "batch"), [({}, "batch"), ({"static_batch": 5}, 5)])
def test_onnx_batch_is_the_one_symbol_or_a_number(exported, options, batch):
    graph = graph_of(exported("onnx", **options)).graph
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in (*graph.input, *graph.output)]  # fmt: skip
    assert dims == [[batch, 1, 32, 32], [batch, 10]]


def test_onnx_weights_are_embedded_and_exact(onnx_artifact, net):
    graph = graph_of(onnx_artifact).graph
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.initializer)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(stored[name], tensor.numpy())


def test_onnx_is_pinned_and_checks(onnx_artifact):
    model = graph_of(onnx_artifact)
    onnx.checker.check_model(model, full_check=True)
    assert [(e.domain, e.version) for e in model.opset_import] == [("", 20)]
    assert onnx_artifact.manifest.requirements.engine_version == "opset 20, IR 9"


def test_onnx_metadata_says_how_to_feed_and_read_it(onnx_artifact, net):
    metadata = {entry.key: entry.value for entry in graph_of(onnx_artifact).metadata_props}
    assert metadata == {
        "labels": '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]',
        "normalization_mean": "0.1307",
        "normalization_std": "0.3081",
        "padding": "2",
        "weights_sha256": weights.fingerprint(net),
    }


def test_onnx_names_no_path_and_no_source_line(onnx_artifact):
    data = onnx_artifact.read("model.onnx")
    for trace in (b".py", b"/home", b"/tmp", b"site-packages", b"stack_trace", b"File ",
                  os.fsencode(Path.cwd()), os.fsencode(sys.prefix)):  # fmt: skip
        assert trace not in data


@pytest.mark.parametrize("opset", list(onnx_format.OPSETS))
def test_each_opset_exports_and_runs(exported, net, opset):
    artifact = exported("onnx", **({} if opset == onnx_format.DEFAULT_OPSET else {"opset": opset}))
    graph = graph_of(artifact)
    version = {18: 8, 19: 9, 20: 9}.get(opset, 10)
    assert (graph.opset_import[0].version, graph.ir_version) == (opset, version)
    assert artifact.manifest.requirements.engine_version == f"opset {opset}, IR {version}"
    assert trust.reason(artifact) is None
    with lenet_runtime.load(artifact.path) as session:
        images = noise(3)
        np.testing.assert_allclose(session.run(images), eager(net, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [0, 17, 23, -1, 20.0, "20", True])
def test_other_opsets_are_refused(net, tmp_path, opset):
    with pytest.raises(InputError, match="opset: expected 18 to 22"):
        lenet_export.export(net, "onnx", tmp_path / "a", opset=opset)
    assert not list(tmp_path.iterdir())


def test_a_graph_without_the_batch_symbol_is_refused(onnx_artifact):
    """The assertion that the exporter kept the batch dynamic can fail."""
    model = graph_of(onnx_artifact)
    with pytest.raises(DeployError, match="expected a graph for 4 images"):
        onnx_format._require_batch(model, 4)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(
        DeployError, match="expected a graph for any number of images, found one for 2"
    ):
        onnx_format._require_batch(model, None)


# ---- what other processes load without trust


def sequence(*layers, features):
    """A network of these layers and a dense one."""
    torch.manual_seed(0)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 10))


@pytest.mark.parametrize(
    "module",
    [
        sequence(
            nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
            nn.AvgPool2d(2), features=400,
        ),
        sequence(
            nn.Conv2d(1, 4, 5, padding=2, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(),
            nn.Conv2d(4, 4, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), features=256,
        ),
        nn.Sequential(*sequence(nn.Tanh(), features=1024), nn.LogSoftmax(1)),
        nn.Sequential(*sequence(features=1024), nn.Softmax(dim=-1)),
    ],
    ids=["tanh, sigmoid and averages", "same size", "log softmax", "softmax"],
)  # fmt: skip
@pytest.mark.parametrize("static_batch", [None, 3])
def test_the_family_is_data_in_every_process(tmp_path, module, static_batch):
    artifact = lenet_export.export(
        module, "onnx", tmp_path / "a", static_batch=static_batch, batch_sizes=[2]
    )
    assert trust.reason(artifact) is None


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (sequence(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), features=3600),
         r"when the exporter folds batch norms"),
        (sequence(nn.LeakyReLU(), features=1024), "expected one of Conv.*found 'LeakyRelu'"),
    ],
    ids=["batch norm", "another layer"],
)  # fmt: skip
def test_another_graph_is_trusted_where_it_was_made_and_says_so(tmp_path, monkeypatch, module, why):
    told = []
    artifact = lenet_export.export(
        module, "onnx", tmp_path / "a", batch_sizes=[2], progress=told.append
    )
    assert re.search(f"other processes load it with trust=True alone: .*{why}", told[-1])
    lenet_runtime.load(artifact.path).close()
    monkeypatch.setattr(trust, "_written", set())
    with pytest.raises(ArtifactError, match=why):
        lenet_runtime.load(artifact.path)
    lenet_runtime.load(artifact.path, trust=True).close()


# ---- the same bytes twice


def test_onnx_twice_in_one_process_is_the_same_to_the_byte(onnx_artifact, net, tmp_path):
    again = lenet_export.export(net, "onnx", tmp_path / "again")
    assert snapshot(again.path) == snapshot(onnx_artifact.path)


def test_labels_and_preprocessing_travel_with_the_artifact(net, tmp_path):
    labels = ("null", "eins", "zwei", "drei", "vier", "fünf", "\ud800", 'a"b', "[red]", "\x1b[2J")
    own = Preprocessing(mean=0.5, std=0.5, padding=0)
    artifact = lenet_export.export(
        net, "onnx", tmp_path / "a", labels=labels, preprocessing=own, batch_sizes=[2]
    )
    with lenet_runtime.load(artifact.path) as session:
        assert session.manifest.labels == labels
        assert session.manifest.preprocessing == own
    metadata = {entry.key: entry.value for entry in graph_of(artifact).metadata_props}
    assert json.loads(metadata["labels"]) == list(labels)
    assert metadata["normalization_mean"] == metadata["normalization_std"] == "0.5"
    assert metadata["padding"] == "0"
