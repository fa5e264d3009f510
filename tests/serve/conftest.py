"""A served network: the bundled one, by the engine that needs nothing but itself."""

import pytest

import lenet_runtime
import lenet_serve


@pytest.fixture(scope="session")
def native_session(native_artifact):
    with lenet_runtime.load(native_artifact.path, trust=True) as session:
        yield session


@pytest.fixture
def service(native_session):
    return lenet_serve.Service([lenet_serve.Model("lenet", "1", native_session)])
