"""One small tree of errors: catch `DeployError` to catch them all.

Every message says where, what was expected, what was found, and what to do. An engine's own
exception is translated where we call it, with the original as ``__cause__``.
"""


class DeployError(Exception):
    """Base of every error that lenet-deploy raises on purpose."""


class ArtifactError(DeployError):
    """An artifact or checkpoint cannot be read, trusted or written: missing, damaged or foreign."""


class InputError(DeployError):
    """The caller's data or arguments are not what the network takes; nothing was run."""


class BackendUnavailable(DeployError):
    """The engine or the hardware that was asked for is not here; nothing ran instead of it."""


class DeviceMemoryError(DeployError):
    """The GPU has too little free memory for this call; the session works on, with less."""


class ParityError(DeployError):
    """An artifact does not answer as its reference does; it was not published or not loaded."""
