"""The one place where the distribution's version stands; pyproject.toml reads it here."""

__version__ = "0.1.0"


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, which is not imported; None where it is not."""
    import importlib.metadata  # 20 ms, which only plans and reports pay

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
