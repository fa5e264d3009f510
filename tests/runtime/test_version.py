"""The advice to install something: one command, which works where this lenet-deploy came from."""

import importlib.metadata
import json

import pytest
from processes import REPOSITORY

from lenet_runtime.version import pip_install

PACKAGES = ("lenet_deploy", "export", "runtime", "benchmarks/lenet_bench")


class Installed:
    def __init__(self, record):
        self.record = record

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.record


@pytest.fixture
def came_from(monkeypatch):
    """`came_from(record)`: what pip wrote down about the installation."""

    def install(record):
        text = json.dumps(record) if isinstance(record, dict) else record
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Installed(text))

    return install


def test_a_checkout_and_a_wheel_are_named_as_the_shell_wants_them(came_from, tmp_path):
    came_from({"url": tmp_path.as_uri(), "dir_info": {}})
    assert pip_install("cpu") == f"pip install '{tmp_path}[cpu]'"
    came_from({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    assert pip_install("cpu") == f"pip install -e '{tmp_path}[cpu]'"
    wheel = tmp_path / "it's here" / "lenet_deploy-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    came_from({"url": wheel.as_uri(), "archive_info": {}})
    quoted = str(wheel).replace("'", "'\"'\"'")
    assert pip_install("export") == f"pip install '{quoted}[export]'"


def test_an_index_is_believed_where_it_came_from_one(came_from):
    came_from(None)
    assert pip_install("cpu") == "pip install 'lenet-deploy[cpu]'"


@pytest.mark.parametrize(
    "record", [{"url": "file:///no/longer/here"}, {"url": "https://x/y.whl"}, {}, "no JSON", "[]"]
)
def test_where_nobody_knows_it_takes_a_checkout(came_from, record):
    came_from(record)
    assert pip_install("cpu") == "pip install '.[cpu]' in a checkout of lenet-deploy"


def test_not_installed_at_all(monkeypatch):
    def missing(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert pip_install("cpu") == "pip install '.[cpu]' in a checkout of lenet-deploy"


def test_no_message_has_advice_of_its_own():
    """The name at a package index is not ours yet: only `pip_install` may write it."""
    files = [file for folder in PACKAGES for file in (REPOSITORY / folder).rglob("*.py")]
    assert len(files) > 100
    found = [str(file) for file in files if "lenet-deploy[" in file.read_text()]
    assert found == [str(REPOSITORY / "runtime" / "lenet_runtime" / "version.py")]
