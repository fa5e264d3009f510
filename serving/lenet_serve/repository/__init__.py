"""What is served: found in a folder, loaded, proven, replaced and let go while requests go on."""

from lenet_serve.repository.loading import VERSIONS, RepositoryOptions
from lenet_serve.repository.repository import Repository
from lenet_serve.repository.versions import ModelState

__all__ = ["VERSIONS", "ModelState", "Repository", "RepositoryOptions"]
