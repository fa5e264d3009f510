"""`lenet-deploy inspect`: everything about an artifact, in whatever state, without running it."""

import json
import os
import shutil

import pytest
from artifact_files import edit_manifest, replace_file, write_artifact
from cli_helper import assert_fits, run, run_alone, set_columns
from dense_onnx import FLAT, model, onnx, write_dense
from every_format import EACH

from lenet_export.network import weights
from lenet_runtime.artifact import Requirements
from lenet_runtime.parity import Comparison, ParityReport
from lenet_runtime.version import pip_install


def inspect(folder, code=0):
    return json.loads(run("inspect", folder, "--json", code=code).stdout)


@pytest.fixture
def folder(onnx_artifact, copy_of):
    """A private copy of an ONNX artifact, to damage."""
    return copy_of(onnx_artifact)


# ---- a good artifact


@pytest.mark.parametrize("format", EACH)
def test_every_format_is_shown_and_would_load(exported, net, format):
    artifact = exported(format)
    report = inspect(artifact.path)
    assert report["path"] == str(artifact.path)
    assert report["digest"] == artifact.digest
    assert report["manifest"]["format"] == format
    assert report["manifest"]["weights_sha256"] == weights.fingerprint(net)
    assert set(report["files"].values()) == {"ok"}
    assert report["runs_code"] == (format != "onnx")
    assert (report["needs_trust"] is None) == (format == "onnx")
    on_cpu = {n: reasons for n, reasons in report["loads_here"].items() if n.endswith(" on cpu")}
    assert on_cpu
    assert all(reasons == [] for reasons in on_cpu.values())
    assert format in run("inspect", artifact.path).stdout


def test_the_graph_is_summed_up(onnx_artifact):
    graph = inspect(onnx_artifact.path)["graph"]
    assert graph["opset"] == {"ai.onnx": 20}
    assert graph["ir_version"] == 9
    assert graph["operators"].count("Gemm") == 3
    assert graph["metadata"]["padding"] == "2"
    table = run("inspect", onnx_artifact.path).stdout
    assert "Conv Relu MaxPool" in table
    assert "81,194 parameters, ai.onnx 20, IR 9" in table


def test_a_graph_that_needs_trust_is_told_why(tmp_path):
    folder = write_dense(tmp_path / "a")
    edit_manifest(folder, lambda document: document.update(weights_sha256="1" * 64))
    report = inspect(folder)
    assert "its weights have the SHA-256" in report["needs_trust"]
    assert report["graph"]["operators"] == ["Flatten", "Gemm"]
    made = model(nodes=[FLAT, onnx.helper.make_node("Loop", ["flat"], ["logits"], doc_string="x")])
    report = inspect(replace_file(folder, "model.onnx", made.SerializeToString()))
    assert "NodeProto: doc_string: expected none" in report["needs_trust"]
    assert report["graph"] is None


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_the_terminal(onnx_artifact, torchscript_artifact, monkeypatch, columns):
    set_columns(monkeypatch, columns)
    for artifact in (onnx_artifact, torchscript_artifact):
        assert_fits(run("inspect", artifact.path).stdout, columns)


def test_it_needs_no_trust_and_runs_nothing(torchscript_artifact, tmp_path):
    """Not even the engine is loaded with it: a bomb in the file stays a file."""
    folder = shutil.copytree(torchscript_artifact.path, tmp_path / "a")
    replace_file(folder, "model.pt", b"not an archive")
    report = inspect(folder)
    assert report["files"]["model.pt"] == "ok"
    assert report["runs_code"] is True


# ---- damage: shown where the manifest can be read, one line where it cannot


MODEL, MANIFEST = "model.onnx", "manifest.json"


def rewritten(name, change):
    """Damage to an artifact: the bytes of its file become what `change` makes of them."""

    def damage(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def fifo(folder):
    (folder / MODEL).unlink()
    os.mkfifo(folder / MODEL)


DAMAGE = {
    "flip": rewritten(MODEL, lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]),
    "cut": rewritten(MODEL, lambda data: data[:-1]),
    "grow": rewritten(MODEL, lambda data: data + b"x"),
    "fifo": fifo,
    "missing": lambda folder: (folder / MODEL).unlink(),
    "not ONNX": lambda folder: replace_file(folder, MODEL, b"\xff\xff not a protobuf"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_and_exits_1(folder, damage):
    """The rest is still shown, and no backend is said to load it."""
    damage(folder)
    report = inspect(folder, code=1)
    assert report["files"]["golden.npz"] == "ok"
    assert str(folder / "model.onnx") in report["files"]["model.onnx"]
    assert report["graph"] is None
    assert report["loads_here"]["ort-cpu on cpu"] == [report["files"]["model.onnx"]]
    result = run("inspect", folder, code=1)
    assert f"error: {folder / 'model.onnx'}" in result.stderr
    assert "onnx, fp32" in result.stdout


def test_what_is_not_listed_is_said_and_does_no_harm(folder):
    (folder / "\x1b[2J").touch()
    report = inspect(folder)
    assert report["unlisted"] == ["\x1b[2J"]
    assert report["loads_here"]["ort-cpu on cpu"] == []
    assert r"\x1b[2J (never read)" in run("inspect", folder).stdout


def edits(**fields):
    return lambda folder: edit_manifest(folder, lambda document: document.update(fields))


def escape(folder):
    entry = {"sha256": "0" * 64, "size": 1}
    edit_manifest(folder, lambda document: document["files"].update({"../../secret": entry}))


def a_file(folder):
    shutil.rmtree(folder)
    folder.touch()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json"),
        (rewritten(MANIFEST, lambda data: b"\x00\xff{"), "manifest.json"),
        (rewritten(MANIFEST, lambda data: data[: len(data) // 2]), "manifest.json"),
        (
            rewritten(MANIFEST, lambda data: b'{"format": "x",' + data[1:]),
            "duplicate keys ['format']",
        ),
        (
            rewritten(MANIFEST, lambda data: data.replace(b"0.1307", b"NaN")),
            "NaN is not a JSON number",
        ),
        (rewritten(MANIFEST, lambda data: b"[" * 100_000), "manifest.json"),
        (edits(schema_version=3), "expected schema_version 4, found 3"),
        (edits(surprise=1), "unknown keys ['surprise']"),
        (edits(labels=["0"]), "labels, found"),
        (escape, "'../../secret': expected a plain name"),
        (shutil.rmtree, "expected an artifact's folder"),
        (a_file, "expected an artifact's folder"),
    ],
)
def test_what_is_no_artifact_is_one_line(folder, damage, message):
    damage(folder)
    for words in (("inspect", folder), ("inspect", folder, "--json")):
        result = run(*words, code=1)
        assert message in result.stderr
        assert result.stdout == ""


# ---- artifacts of other machines, versions and authors


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ({"cpu_isa": ["avx2", "sse9"]}, "CPU extensions that this CPU lacks"),
        ({"platform": "plan9-z80"}, "plan9-z80"),
    ],
)
def test_foreign_requirements_are_reasons_not_faults(folder, needs, reason):
    edit_manifest(folder, lambda document: document["requirements"].update(needs))
    (found,) = inspect(folder)["loads_here"]["ort-cpu on cpu"]
    assert reason in found
    assert reason.split()[0] in run("inspect", folder).stdout


def test_an_unknown_precision_is_a_reason(folder):
    edits(precision="int3")(folder)
    assert "int3" in inspect(folder)["loads_here"]["ort-cpu on cpu"][0]


def test_a_format_of_the_future_is_shown(tmp_path):
    needs = Requirements("cuda", "oracle", "9", compute_capability=(99.9,))
    folder = write_artifact(tmp_path / "a", format="crystal-ball", requirements=needs)
    assert inspect(folder)["loads_here"] == {}
    table = run("inspect", folder).stdout
    assert "no backend of this version runs this format" in table
    assert "compute_capability 99.9" in table


FAILED = Comparison("random", 2, None, None, None, None, None, "1 of the 20 logits is not finite")


@pytest.mark.parametrize("comparisons", [(), (FAILED,)])
def test_an_artifact_that_never_passed_would_not_load(onnx_artifact, folder, comparisons):
    report = onnx_artifact.manifest.parity
    parity = {**json.loads((folder / "manifest.json").read_text())["parity"],
              "comparisons": [vars(c) for c in comparisons]}  # fmt: skip
    assert not ParityReport(report.precision, report.tolerance, comparisons).ok
    edits(parity=parity)(folder)
    (reason,) = inspect(folder)["loads_here"]["ort-cpu on cpu"]
    table = run("inspect", folder).stdout
    if comparisons:
        assert reason == "its parity report says it failed"
        assert "1 of 1 comparisons" in table
    else:
        assert "verify --record" in reason
        assert "not proven" in table


HOSTILE = ["\x1b[2J", "[red]x[/]", "[/]", "\ud800", "\x07", "\\", "a\nb", "\u202e", "[", "]"]


def test_hostile_text_cannot_steer_the_terminal(folder):
    """It is spelled out; neither escape codes nor rich's markup take effect."""
    edits(labels=HOSTILE, tools={"[bold]": "\x1b]0;title\x07", "[/]": "\ud800"})(folder)
    replace_file(folder, "[red]", b"a name like markup")
    table = run("inspect", folder).stdout
    assert not [c for c in table if not c.isprintable() and c != "\n"]
    for text in (r"\x1b[2J", "[red]x[/]", r"\ud800", r"\x07", "[bold]", r"\u202e", "│ [red]"):
        assert text in table
    assert inspect(folder)["manifest"]["labels"] == HOSTILE


@pytest.mark.parametrize("name", ["a[b]", "[red]", "x[", "[/b]", "ümlaut"])
def test_any_folder_name_is_shown_as_it_is(onnx_artifact, tmp_path, monkeypatch, name):
    set_columns(monkeypatch, 250)
    folder = shutil.copytree(onnx_artifact.path, tmp_path / name / "a")
    assert f"{name}/a" in run("inspect", folder).stdout


# ---- missing packages


def test_without_onnx_the_graph_is_there_and_all_the_rest(onnx_artifact):
    done = run_alone("inspect", onnx_artifact.path, "--json", without=["onnx", "torch"])
    report = json.loads(done.stdout)
    assert report["graph"] == inspect(onnx_artifact.path)["graph"]
    assert report["loads_here"]["ort-cpu on cpu"] == []
    assert list(report["loads_here"]) == [
        "ort-cpu on cpu",
        "ort-cuda on cuda",
        "ort-tensorrt on cuda",
    ]


def test_without_engines_it_says_what_to_install(onnx_artifact, torchscript_artifact):
    done = run_alone("inspect", onnx_artifact.path, without=["onnxruntime", "torch"])
    assert "[cpu]'" in done.stdout.replace("│", "").replace("\n", " ")
    done = run_alone("inspect", torchscript_artifact.path, "--json", without=["torch"])
    (reason,) = json.loads(done.stdout)["loads_here"]["torchscript on cpu"]
    assert pip_install("export") in reason


@pytest.mark.slow
def test_a_package_of_another_pytorch_release_is_said_not_to_load(torch_compile_artifact, copy_of):
    folder = copy_of(torch_compile_artifact)
    edit_manifest(folder, lambda d: d["requirements"].update(engine_version="1.13.1"))
    (reason,) = inspect(folder)["loads_here"]["torch-compile on cpu"]
    assert "compiled with PyTorch '1.13.1'" in reason
