"""The artifact that commands use when they are given none."""

import pytest

from lenet_deploy import cache
from lenet_runtime import load
from lenet_runtime.errors import BackendUnavailable


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lenet-deploy"


def test_it_is_exported_once_and_then_found(root):
    steps = []
    first = cache.default_artifact(progress=steps.append)
    assert root in first.parents
    assert "once" in steps[0]
    steps.clear()
    assert cache.default_artifact(progress=steps.append) == first
    assert steps == []
    with load(first) as session:
        assert session.backend == "ort-cpu"


def test_a_damaged_one_is_made_again(root):
    path = cache.default_artifact()
    (path / "manifest.json").write_text("{}")
    assert cache.default_artifact() == path
    load(path).close()


def test_without_torch_it_says_what_to_name_or_install(root, monkeypatch):
    monkeypatch.setattr(cache, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"--artifact DIR.*lenet-deploy\[export\]"):
        cache.default_artifact()
    assert not root.exists()
