"""The process of the command line: ``lenet-deploy``, or ``python -m lenet_deploy``.

This module imports next to nothing, so that Ctrl-C is answered and the standard streams are in
order while NumPy and the commands are still being imported.
"""

import io
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

FAILURE, INTERRUPTED = 1, 130  # exit codes


def main() -> "NoReturn":
    """Run the command line and exit with its code.

    Ctrl-C ends the process at once, with exit code 130, while modules are imported and once the
    command is over: there is nothing to clean up then, and an import that is broken off would show
    a traceback. In between it is a `KeyboardInterrupt`. Where SIGINT is ignored, as in the
    background of a shell, it stays so.
    """
    heeds_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def answer_ctrl_c(handler: "Any") -> None:
        if heeds_ctrl_c:
            signal.signal(signal.SIGINT, handler)

    try:
        answer_ctrl_c(_interrupted)
        try:
            _open_streams()
            from lenet_deploy.cli import app
        except (ImportError, OSError) as error:
            cause = getattr(error, "strerror", None) or error
            _leave(FAILURE, f"error: lenet-deploy cannot start: {cause}")
        try:
            answer_ctrl_c(signal.default_int_handler)
            app()
        finally:
            answer_ctrl_c(_interrupted)
    except KeyboardInterrupt:
        _interrupted()
    sys.exit()


def _interrupted(*_: object) -> "NoReturn":
    _leave(INTERRUPTED, "interrupted")


def _leave(code: int, message: str) -> "NoReturn":
    try:
        os.write(2, f"{message}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(code)


class _Output(io.TextIOWrapper):
    """Standard output, whose errors name it, or standard error, whose errors nobody can be told.

    Characters that the terminal's encoding lacks are escaped. After an error what follows goes
    nowhere, so that Python does not fail once more when it flushes the stream at its end.
    """

    def __init__(self, stream: "Any", *, must_be_written: bool) -> None:
        descriptor = stream.fileno()
        super().__init__(
            open(descriptor, "wb", closefd=False),  # noqa: SIM115  not a path
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
        )
        self._must_be_written = must_be_written

    def write(self, text: str, /) -> int:
        """Write as any stream does."""
        try:
            return super().write(text)
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        """Flush as any stream does."""
        try:
            super().flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self._must_be_written:
            error.filename = "standard output"
            raise error


def _open_streams() -> None:
    """Make sure that there are three standard streams, and that results have a place to go.

    A closed one is opened on nothing, so that no file of ours gets its number; but a command whose
    results nobody could see fails here, before it works for them.
    """
    is_closed = sys.stdout is None
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if is_closed:
        _leave(
            FAILURE,
            "error: standard output is closed, where results go; send them to a file, or to "
            "/dev/null if nobody wants them",
        )
    sys.stdout = _Output(sys.stdout, must_be_written=True)
    if sys.stderr is not None:
        sys.stderr = _Output(sys.stderr, must_be_written=False)
    else:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  not a path


if __name__ == "__main__":
    main()
