"""The one place where the distribution's version stands; pyproject.toml reads it here."""

__version__ = "0.1.0"


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, which is not imported; None where it is not."""
    import importlib.metadata  # 20 ms, which only plans and reports pay

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def pip_install(extra: str) -> str:
    """The command that brings what an extra of lenet-deploy, such as ``cpu``, stands for.

    It installs from where this lenet-deploy came from, which pip wrote down: a checkout, a wheel,
    or an index. The one place to change how it is installed: every message takes the command here.
    """
    import importlib.metadata
    import json
    import shlex
    import urllib.parse
    from pathlib import Path

    try:
        record = importlib.metadata.distribution("lenet-deploy").read_text("direct_url.json")
        if record is None:
            return f"pip install 'lenet-deploy[{extra}]'"
        origin = json.loads(record)
        path = urllib.parse.unquote(urllib.parse.urlsplit(origin["url"]).path)
        if origin["url"].startswith("file:") and Path(path).exists():
            editable = "-e " * bool(origin.get("dir_info", {}).get("editable"))
            return f"pip install {editable}{shlex.quote(f'{path}[{extra}]')}"
    except (importlib.metadata.PackageNotFoundError, ValueError, LookupError, TypeError):
        pass
    return f"pip install '.[{extra}]' in a checkout of lenet-deploy"
