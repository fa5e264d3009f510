"""The serving layer: sessions behind the Open Inference Protocol.

`Service` answers requests without any network; `asgi` puts it behind HTTP, in an application of
its own or mounted in another. Importing this needs NumPy alone; a server needs the extras `serve`
and, for gRPC, `grpc`.
"""

from typing import TYPE_CHECKING, Any

from lenet_serve.errors import Code, ServeError
from lenet_serve.limits import Limits
from lenet_serve.model import Model
from lenet_serve.models import ModelState, Repository, StaticRepository
from lenet_serve.protocol.infer import (
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    Times,
)
from lenet_serve.recorder import Recorder
from lenet_serve.repository import FolderRepository, RepositoryOptions
from lenet_serve.service import Service

if TYPE_CHECKING:
    from lenet_serve.http import asgi

__all__ = [
    "Code", "FolderRepository", "InferRequest", "InferResponse", "Limits", "Model", "ModelState",
    "Recorder", "Repository", "RepositoryOptions", "RequestedOutput", "ServeError", "Service",
    "StaticRepository", "Tensor", "Times", "asgi",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "asgi":  # which needs orjson
        from lenet_serve.http import asgi

        return asgi
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
