"""Running commands as tests do: in this process, or in a fresh one with packages missing."""

from processes import python
from typer.testing import CliRunner

from lenet_deploy.cli import app
from lenet_deploy.cli.console import stdout


def run(*words, code=0, **env):
    """Run a command, which must end with `code` and without a traceback; returns its result."""
    result = CliRunner(env=env).invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def run_alone(*words, without=(), code=0, **env):
    """The same in a fresh process, where importing what is named in `without` fails."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({list(without)!r}));"
        "from lenet_deploy.__main__ import main; main()"
    )
    done = python(script, *words, exits=code, **env)
    assert "Traceback" not in done.stderr
    return done


def assert_fits(text, columns):
    """No line is wider than the terminal, and no cell was cut."""
    assert max(len(line) for line in text.splitlines()) <= columns
    assert "…" not in text


def set_columns(monkeypatch, columns):
    # Not `width`: undoing that would fix the width for all later tests.
    monkeypatch.setattr(stdout, "_width", columns)
