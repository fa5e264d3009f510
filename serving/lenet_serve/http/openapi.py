"""The OpenAPI 3.1 document, made of the table of routes."""

import re
from collections.abc import Iterable
from typing import Any

from lenet_runtime.version import __version__
from lenet_serve.http.routing import Route


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Describe the routes."""
    paths: dict[str, Any] = {}
    for route in routes:
        names = re.findall(r"{(\w+)}", route.path)
        paths[route.path] = {
            method.lower(): _operation(route, method) for method in route.methods
        } | ({"parameters": [_parameter(name) for name in names]} if names else {})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lenet-deploy",
            "version": __version__,
            "description": "The Open Inference Protocol (KServe V2), with Triton's extensions for "
            "binary tensors, classification, configuration, statistics and the repository.",
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, method: str) -> dict[str, Any]:
    identifier = re.sub(r"\W+", "_", f"{method}{route.path}").strip("_").lower()
    operation: dict[str, Any] = {
        "operationId": identifier,
        "summary": route.summary,
        "responses": {
            "200": _answer(route),
            "default": {
                "description": "Why there is no answer",
                "content": {"application/json": {"schema": _reference("Error")}},
            },
        },
    }
    if not route.is_public:
        operation["security"] = [{}, {"token": []}]
    if content := _BODIES.get(route.path.rpartition("/")[2]):
        operation["requestBody"] = {"content": content, "required": route.needs_body}
    return operation


def _answer(route: Route) -> dict[str, Any]:
    """What comes with 200; probes have no body."""
    answer: dict[str, Any] = {"description": route.summary}
    if kind := _TEXTS.get(route.path):
        answer["content"] = {kind: {"schema": {"type": "string"}}}
    elif not route.is_public:
        name = "InferResponse" if route.path.endswith("/infer") else None
        schema = _reference(name) if name else {}
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_TEXT, _LIST = {"type": "string"}, {"type": "array"}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_SHAPE = {"type": "array", "items": {"type": "integer"}}
_TENSOR = _object(
    ["name", "shape", "datatype"],
    name=_TEXT, shape=_SHAPE, datatype=_TEXT, parameters=_PARAMETERS, data=_LIST,
)  # fmt: skip
_SCHEMAS = {
    "Error": _object(["error"], error=_TEXT),
    "Tensor": _TENSOR,
    "InferRequest": _object(
        ["inputs"],
        id=_TEXT,
        parameters=_PARAMETERS,
        inputs={"type": "array", "items": _reference("Tensor")},
        outputs={
            "type": "array",
            "items": _object(["name"], name=_TEXT, parameters=_PARAMETERS),
        },
    ),
    "InferResponse": _object(
        ["model_name", "outputs"],
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        parameters=_PARAMETERS,
        outputs={"type": "array", "items": _reference("Tensor")},
    ),
}
_TEXTS = {
    "/": "text/html",
    "/docs": "text/html",
    "/favicon.ico": "image/svg+xml",
    "/metrics": "text/plain",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODIES: dict[str, dict[str, Any]] = {  # by the last word of a path
    "infer": {
        "application/json": {"schema": _reference("InferRequest")},
        "application/octet-stream": _BINARY,
    },
    "predict": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "additionalProperties": {"type": "string", "format": "binary"},
            }
        },
        "image/png": _BINARY,
        "image/jpeg": _BINARY,
    },
    "index": {"application/json": {"schema": _object([], ready={"type": "boolean"})}},
    "load": {"application/json": {"schema": _object([], parameters=_PARAMETERS)}},
    "unload": {"application/json": {"schema": _object([], parameters=_PARAMETERS)}},
}
