"""The OpenAPI document: what a validator of it would look at, and that it lists what is served."""

import json
import re

import pytest

from lenet_serve.http.openapi import document
from lenet_serve.http.routes import ROUTES

DOCUMENT = json.loads(json.dumps(document(ROUTES)))


def everything(node):
    """Each object in the document."""
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from everything(child)


def test_every_route_is_listed_with_its_methods():
    listed = {(path, m.upper()) for path, item in DOCUMENT["paths"].items() for m in item}
    served = {(route.path, method) for route in ROUTES for method in route.methods}
    assert listed - {(path, "PARAMETERS") for path, _ in served} == served


def test_every_name_in_a_path_is_a_parameter():
    for path, item in DOCUMENT["paths"].items():
        named = [parameter["name"] for parameter in item.get("parameters", ())]
        assert named == re.findall(r"{(\w+)}", path)


def test_operations_are_told_apart_and_have_answers():
    operations = [
        operation
        for item in DOCUMENT["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["responses"]["200"]["description"] for operation in operations)


def test_references_lead_somewhere():
    references = {node["$ref"] for node in everything(DOCUMENT) if "$ref" in node}
    schemas = DOCUMENT["components"]["schemas"]
    assert references == {f"#/components/schemas/{name}" for name in schemas}


def test_it_is_openapi():
    """By the validator, where it is installed."""
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(DOCUMENT)
