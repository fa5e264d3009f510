"""What is served from a folder: found, loaded, proven, replaced and let go while requests go on."""

from lenet_serve.repository.folder import FolderRepository
from lenet_serve.repository.loading import VERSIONS, RepositoryOptions

__all__ = ["VERSIONS", "FolderRepository", "RepositoryOptions"]
