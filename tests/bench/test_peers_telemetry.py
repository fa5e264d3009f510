"""The peers talk to nobody: OpenVINO's own reporting is off before it is imported."""

import sys

import pytest

from benchmarks.peers import openvino

REPORTER = "raise AssertionError('the reporter was imported')"
# As the real one does: without the reporter it goes on in silence.
ENGINE = """
import contextlib
with contextlib.suppress(ImportError):
    import openvino_telemetry

class Core:
    def __init__(self):
        raise LookupError("as far as this test goes")
"""


def test_openvino_is_imported_without_its_reporter(monkeypatch, tmp_path):
    for name, text in (("openvino", ENGINE), ("openvino_telemetry", REPORTER)):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(LookupError):
            openvino.preset_tensor.__wrapped__(None, 1)
    finally:
        for name in ("openvino", "openvino_telemetry"):
            sys.modules.pop(name, None)
