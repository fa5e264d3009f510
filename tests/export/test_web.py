"""The web format: one answer of all variants, and each misuse of lenet.js said by name."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from every_format import needs_web
from samples import digits, noise

import lenet_runtime
from lenet_export import compiler
from lenet_export.formats.native import wasm_compiler, wasm_file
from lenet_runtime.errors import BackendUnavailable, DeployError
from lenet_runtime.images.preprocess import to_batch

HELPERS = Path(__file__).parents[1] / "helpers"
RELAXED = "--experimental-wasm-relaxed-simd"  # Node 20 wants to be asked


def node(script, *arguments, flags=(), data=b""):
    return subprocess.run(
        ["node", "--no-warnings", *flags, HELPERS / script, *map(str, arguments)],
        input=data, capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip


def odd_images():
    """Digits and noise; values whose products are tiny, whose sums are halves, and no numbers."""
    images = np.concatenate([digits(20), noise(20), 1e-20 * noise(4), noise(4).round(), noise(8)])
    images[48:50] *= np.float32(1e30)
    images[50, 0, 3, 4], images[51, 0, 5, 6] = np.nan, np.inf
    return images


@needs_web
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_all_variants_answer_as_native_to_the_bit(exported, precision):
    images = odd_images()
    with lenet_runtime.load(
        exported("native", precision=precision), check_finite=False, trust=True
    ) as session:
        expected = session.run(images)
    artifact = exported("web", precision=precision)
    variants = artifact.manifest.requirements.engine_version.split(", ")
    flags = [RELAXED] if "relaxed" in variants else []
    logits = node("web_logits.mjs", artifact.path, *variants, flags=flags, data=images.tobytes())
    found = np.frombuffer(logits, np.float32).reshape(len(variants), *expected.shape)
    for variant, answers in zip(variants, found, strict=True):
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(answers), ~number, err_msg=variant)
        same = answers.view(np.uint32)[number] == expected.view(np.uint32)[number]
        assert same.all(), variant


@needs_web
@pytest.mark.parametrize(("precision", "most"), [("fp32", 400_000), ("int8", 120_000)])
def test_it_is_small(exported, precision, most):
    """But for what turns pictures into digits, the first modules of lenet.js."""
    artifact = exported("web", precision=precision)
    own = artifact.read("lenet.js").decode().rpartition("const { network")[2]
    assert artifact.manifest.files["lenet.wasm"].size + len(own) < most


@pytest.fixture(scope="module")
def told(exported):
    return json.loads(node("web_api.mjs", exported("web").path))


@needs_web
def test_each_misuse_is_said_with_what_to_do(told):
    expected = {
        "truncated": r"Error: lenet.wasm: expected N bytes, found 1000; copy the artifact again",
        "a page": "Error: lenet.wasm: expected N bytes, found 15, which begin like a web page: see",
        "damaged": "Error: lenet.wasm: this engine cannot compile it",
        "foreign": "another; copy the artifact again",
        "no source": "TypeError: load: expected a URL, bytes or a Response, found Number",
        "no option": "TypeError: load: expected the options variant and checkFinite, found threads",
        "no variant": "Error: load: variant avx: avx is not in this lenet.wasm; leave the variant",
        "404": "found HTTP 404; see to the URL",
        "no WebAssembly": "Error: load: there is no WebAssembly here: use a browser of 2021",
        "no SIMD": "this engine lacks the instructions of simd128; leave the variant out",
        "no image yet": "Error: features: there is no image yet; call predict or run first",
        "not floats": "TypeError: run: expected a Float32Array, found Array; bytes go to predict",
        "no images": "RangeError: run: expected 1x32x32 = 1024 floats for each image, found 0",
        "half an image": "RangeError: run: expected 1x32x32 = 1024 floats for each image, found 1",
        "not finite": "RangeError: run: expected finite numbers, found NaN in image 2, pixel 52;",
        "not a picture": "TypeError: predict: expected ImageData, a canvas, a Uint8Array of 28x28",
        "null": "found null",
        "too few bytes": "RangeError: predict: expected 28x28 = 784 bytes, white ink on black, fou",
        "two images": "RangeError: predict: expected 1024 floats of one image, found 2048; run ta",
        "a canvas of WebGL": "TypeError: predict: expected a canvas with pixels and a 2d context",
        "blank": "expected a digit, found a blank 10x10 picture",
    }
    assert told["errors"].keys() == expected.keys()
    for name, words in expected.items():
        before, _, after = words.partition("N bytes")
        assert before in told["errors"][name], name
        assert after in told["errors"][name], name


@needs_web
def test_what_predict_takes_answers_as_python_does(told, exported):
    facts = told["facts"]
    digit = np.zeros((1, 28, 28), np.uint8)
    digit[0, 4:24, 13:16] = 255
    with lenet_runtime.load(exported("web")) as session:
        (prediction,) = session.predict(digit)
        (logits,) = session.run(to_batch(digit, session.manifest.preprocessing))
    assert facts["labels"] == [prediction["label"]] * 3
    for answer in facts["logits"]:
        np.testing.assert_array_equal(np.float32(answer), logits)
    assert facts["sum"] == pytest.approx(1, abs=1e-6)
    assert facts["maps"] == [["conv1", 15, 15, 6], ["conv2", 6, 6, 16]]
    assert facts["unchecked"] is True
    assert facts["sources"] == [prediction["label"]] * 4
    assert facts["without_simd"] == "plain"


# ---- the tools


def test_a_missing_tool_is_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BackendUnavailable, match=r"found no clang; install them .*apt install clang"
    ):
        wasm_compiler.find()


@pytest.mark.parametrize(("version", "relaxed"), [("14.0.6", False), ("16.0.6", True)])
def test_an_old_clang_leaves_relaxed_simd_out(version, relaxed):
    tools = wasm_compiler.Toolchain(compiler.Compiler(("clang",), version), "wasm-ld")
    assert ("relaxed" in tools.variants) == relaxed


def test_the_newest_clang_with_a_linker_is_taken(monkeypatch):
    here = {"clang": "14.0.6", "wasm-ld": "", "clang-19": "19.1.7", "wasm-ld-19": ""}
    here["clang-20"] = "20.1.0"
    monkeypatch.setattr(shutil, "which", lambda name: name if name in here else None)
    monkeypatch.setattr(compiler, "asked", lambda c: compiler.Compiler(c, here[c[0]]))
    assert wasm_compiler.find().linker == "wasm-ld-19"


# ---- the file


def module(*sections):
    """A module of sections (kind, content), each shorter than 128 bytes."""
    return b"\0asm\1\0\0\0" + b"".join(bytes([k, len(c)]) + c for k, c in sections)


def data(*segments):
    """A data section of segments (address below 64, content)."""
    body = b"".join(bytes([0, 0x41, at, 0x0B, len(c)]) + c for at, c in segments)
    return (11, bytes([len(segments)]) + body)


def test_modules_of_one_data_become_one_file_without_longer_zeros():
    content = b"ab" + bytes(20) + b"c" + bytes(30)
    plain = module((10, b"plain"), data((8, content)))
    other = module((10, b"fast"), (12, b"\1"), data((8, content)))
    file = wasm_file.bundle(plain, {"simd128": other})
    fast = module((10, b"fast"))
    assert file == module(
        (10, b"plain"), data((8, b"ab"), (30, b"c")), (0, b"\7simd128" + fast)
    )  # fmt: skip


def test_modules_of_other_data_are_refused():
    plain = module((10, b"plain"), data((8, b"ab")))
    with pytest.raises(DeployError, match="'relaxed' has other data than the plain one"):
        wasm_file.bundle(plain, {"relaxed": module((10, b"fast"), data((8, b"ac")))})
    with pytest.raises(DeployError, match="no WebAssembly module"):
        wasm_file.bundle(b"ELF" * 9, {})
