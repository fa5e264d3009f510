"""ONNX Runtime as it is on a CPU with AVX2 alone, on a CPU that has AVX-512, too.

    python -m benchmarks.peers.avx2 [--only AVX2 and other words of benchmarks.peers]

ONNX Runtime asks CPUID itself which kernels to use, and has no option for it. So a copy of the
installed package gets UD2 in the place of each CPUID of its library (`avx2.c` answers what that
raises), and `benchmarks.peers` runs with this copy, all but our own kernels unchanged.

First two processes show that it works: XGETBV tells which registers a thread has used. After a run
of the copy, none of AVX-512 are; after one of the package itself, they are.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "peers" / "avx2"
MODEL = CACHE / "model.onnx"
AVX512 = 0xE0  # of XCR0: masks, upper halves, and the upper sixteen registers
# NumPy and the C library would use these registers themselves.
QUIET = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD,-EVEX",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_SKX AVX512_ICL AVX512_SPR",
}


def main() -> int:
    if sys.argv[1:2] == ["--probe"]:
        print(json.dumps(probe(sys.argv[2] == "held")))
        return 0
    registers = hold()  # whose memory has to live as long as this process
    save_model()
    free, held = (run_probe(how) for how in ("free", "held"))
    print(f"as installed: AVX-512 registers used {bool(free['used'] & AVX512)}, "
          f"{free['us']:.2f} us an image of 64", file=sys.stderr)  # fmt: skip
    print(f"held to AVX2: AVX-512 registers used {bool(held['used'] & AVX512)}, "
          f"{held['us']:.2f} us an image of 64, {held['answered']} CPUIDs answered",
          file=sys.stderr)  # fmt: skip
    if held["used"] & AVX512 or not held["answered"]:
        print("the copy is not held to AVX2", file=sys.stderr)
        return 1
    from benchmarks.peers.__main__ import main as compare

    if not any(word.startswith("--only") for word in sys.argv):
        sys.argv += ["--only", "native AVX2"]
    result = compare()
    print(f"{registers.held()} CPUIDs answered in this process", file=sys.stderr)
    return result


def save_model() -> None:
    """Our ONNX export, which both probes run."""
    import lenet_export
    from lenet_deploy.training.checkpoint import load_checkpoint

    with tempfile.TemporaryDirectory(prefix="avx2-") as folder:
        artifact = lenet_export.export(load_checkpoint().eval(), "onnx", Path(folder) / "onnx")
        MODEL.write_bytes(artifact.read("model.onnx"))


def run_probe(how: str) -> dict[str, Any]:
    """`probe` in a process of its own, in which nobody else uses AVX-512."""
    command = [sys.executable, "-m", "benchmarks.peers.avx2", "--probe", how]
    done = subprocess.run(
        command, env=os.environ | QUIET, check=True, stdout=subprocess.PIPE, timeout=300
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def probe(held: bool) -> dict[str, Any]:
    """Runs our model once and says which registers were used."""
    registers = hold() if held else helper()
    import time

    import numpy as np

    from lenet_runtime.backends.ort.core import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    images = np.zeros((64, 1, 32, 32), np.float32)
    times = []
    for _ in range(200):
        started = time.perf_counter()
        session.run(None, {"images": images})
        times.append(time.perf_counter() - started)
    return {
        "used": registers.used(),
        "answered": registers.held(),
        "us": min(times) * 1e6 / len(images),
    }


def hold() -> ctypes.CDLL:
    """Make the copy what `import onnxruntime` finds, and answer its CPUIDs."""
    folder, places = copy()
    registers = helper()
    sys.path.insert(0, str(folder))
    array = (ctypes.c_uint64 * len(places))(*places)
    registers.places = array  # which has to live
    registers.hold(array, len(places))
    return registers


def helper() -> ctypes.CDLL:
    """`avx2.c`, compiled."""
    source = Path(__file__).with_suffix(".c")
    name = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    library = CACHE / f"{name}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
    loaded = ctypes.CDLL(str(library))
    loaded.used.restype, loaded.held.restype = ctypes.c_uint64, ctypes.c_long
    return loaded


def copy() -> tuple[Path, list[int]]:
    """A folder with a copy of the package, and the places of what was CPUID in its library."""
    from lenet_runtime.version import installed

    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        sys.exit("onnxruntime is not installed: pip install onnxruntime")
    package = Path(spec.origin).parent
    folder = CACHE / f"onnxruntime-{installed('onnxruntime')}"
    known = folder / "places.json"
    if not known.exists():
        shutil.rmtree(folder, ignore_errors=True)
        ignored = shutil.ignore_patterns(
            "libonnxruntime.so*", "tools", "quantization", "__pycache__"
        )
        shutil.copytree(package, folder / "onnxruntime", ignore=ignored)
        [library] = (folder / "onnxruntime" / "capi").glob("onnxruntime_pybind11_state*.so")
        places = cpuids(library)
        replace(library, places)
        known.write_text(json.dumps(places))
    return folder, json.loads(known.read_text())


def cpuids(library: Path) -> list[int]:
    """The virtual addresses of all CPUID instructions, as objdump finds them."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(library)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return [int(at, 16) for at in re.findall(r"^ *([0-9a-f]+):\s+cpuid\b", text, re.MULTILINE)]


def replace(library: Path, places: list[int]) -> None:
    """Writes UD2 to the places, by the segments of the ELF file."""
    data = bytearray(library.read_bytes())
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, table + size * i) for i in range(count)]
    for place in places:
        [offset] = [
            start + place - address
            for kind, _, start, address, _, length in segments
            if kind == 1 and address <= place < address + length
        ]
        assert data[offset : offset + 2] == b"\x0f\xa2", hex(place)
        data[offset : offset + 2] = b"\x0f\x0b"
    library.write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
