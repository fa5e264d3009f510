"""The table of what is served: paths, methods, and who answers."""

from lenet_serve.http import endpoints, pages
from lenet_serve.http.context import Context
from lenet_serve.http.messages import Reply, Request, json_reply
from lenet_serve.http.openapi import document
from lenet_serve.http.pictures import predict
from lenet_serve.http.routing import Handler, Route

_GET, _POST = ("GET",), ("POST",)
_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"


def _of_models(
    suffix: str, methods: tuple[str, ...], handler: Handler, summary: str, **flags: bool
) -> list[Route]:
    return [
        Route(prefix + suffix, methods, handler, summary + which, **flags)
        for prefix, which in ((_MODEL, ""), (_VERSION, ", of one version"))
    ]


def _openapi(_: Context, __: Request) -> Reply:
    return json_reply(document(ROUTES))


def _docs(context: Context, _: Request) -> Reply:
    return pages.docs(context, ROUTES)


ROUTES = [
    Route("/", _GET, pages.page, "A page to draw a digit on", is_public=True),
    Route("/docs", _GET, _docs, "How to ask, for people", is_public=True),
    Route("/favicon.ico", _GET, pages.icon, "The icon of these pages", is_public=True),
    *(
        Route(path, _GET, endpoints.live, "Whether the process runs", is_public=True)
        for path in ("/v2/health/live", "/livez", "/healthz")
    ),
    *(
        Route(path, _GET, endpoints.ready, "Whether it answers requests", is_public=True)
        for path in ("/v2/health/ready", "/readyz")
    ),
    Route("/v2", _GET, endpoints.server_metadata, "The server's name, version and extensions"),
    *_of_models("", _GET, endpoints.metadata, "A model's inputs and outputs"),
    *_of_models("/ready", _GET, endpoints.model_ready, "Whether a model answers", is_public=True),
    *_of_models("/infer", _POST, endpoints.infer, "Inference", needs_body=True),
    *_of_models("/stats", _GET, endpoints.statistics, "Counts and times of a model"),
    *_of_models("/config", _GET, endpoints.config, "A model's configuration, as Triton has it"),
    Route("/v2/models/stats", _GET, endpoints.statistics, "Counts and times of all models"),
    Route("/v2/repository/index", _POST, endpoints.index, "Every version of every model"),
    Route("/v2/repository/models/{model}/load", _POST, endpoints.load, "Load a model"),
    Route("/v2/repository/models/{model}/unload", _POST, endpoints.unload, "Unload a model"),
    *(
        Route(path, _GET, endpoints.trace_setting, "What is traced, which nothing here changes")
        for path in ("/v2/trace/setting", _MODEL + "/trace/setting")
    ),
    Route("/v2/logging", _GET, endpoints.log_setting, "What is logged, which nothing here changes"),
    Route("/metrics", _GET, endpoints.metrics, "Metrics as Prometheus reads them"),
    Route("/openapi.json", _GET, _openapi, "This document"),
    Route("/v1/predict", _POST, predict, "Digits in picture files", needs_body=True),
]
