"""Power, clocks, temperature and memory of a GPU while it is measured, as ``nvidia-smi`` tells.

What it does not tell is None, and where it tells nothing at all there is a reason. Nothing on the
GPU is changed.
"""

import statistics
import subprocess
import threading
from typing import Any

from lenet_runtime import cuda

PERIOD_MS = 200
_TIMEOUT_S = 10.0
# nvidia-smi's field, our key with its unit.
_FIELDS = {
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "clocks.sm": "sm_mhz",
    "clocks.mem": "memory_mhz",
    "clocks.max.sm": "sm_max_mhz",
    "temperature.gpu": "temperature_c",
    "utilization.gpu": "utilization_percent",
    "memory.used": "memory_used_mib",
    "memory.total": "memory_total_mib",
}
_TEXTS = {"pstate": "performance_state", "driver_version": "driver"}
# The newer name of the same field, and the older; a driver refuses the whole question for one field
# that it does not know.
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
THROTTLES = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}


def read(gpu: cuda.Gpu) -> dict[str, Any]:
    """The state at this moment.

    Returns:
        Numbers with their units in the keys, ``driver``, ``performance_state``, and
        ``throttle_reasons``, a list of why the clock is not higher; or only ``reason``.
    """
    reason = "nvidia-smi was not asked"
    for extra in (*_REASONS, ""):
        try:
            done = subprocess.run(
                _command(gpu, extra), capture_output=True, text=True, check=False,
                timeout=_TIMEOUT_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"reason": f"nvidia-smi cannot be used ({error})"}
        if done.returncode == 0:
            return parsed(done.stdout, extra)
        reason = f"nvidia-smi: {' '.join((done.stdout + done.stderr).split()) or done.returncode}"
    return {"reason": reason}


def parsed(text: str, extra: str) -> dict[str, Any]:
    """The state that the last whole line of nvidia-smi's answer tells; see `read`."""
    names = [*_FIELDS, *_TEXTS, *([extra] if extra else [])]
    rows = [line.split(",") for line in text.splitlines()]
    cells = next(([c.strip() for c in row] for row in reversed(rows) if len(row) == len(names)), [])
    if not cells:
        return {"reason": f"nvidia-smi answered {text.strip()[:200]!r}"}
    answers = dict(zip(names, cells, strict=True))
    state: dict[str, Any] = {key: _number(answers[name]) for name, key in _FIELDS.items()}
    state |= {key: _text(answers[name]) for name, key in _TEXTS.items()}
    state["throttle_reasons"] = _throttles(answers[extra]) if extra else None
    return state


def _command(gpu: cuda.Gpu, extra: str) -> list[str]:
    fields = ",".join([*_FIELDS, *_TEXTS, *([extra] if extra else [])])
    # By its UUID: nvidia-smi numbers GPUs otherwise than CUDA does.
    return [
        "nvidia-smi", f"--id={gpu.nvidia_id}", f"--query-gpu={fields}",
        "--format=csv,noheader,nounits",
    ]  # fmt: skip


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # [N/A], [Not Supported]
        return None


def _text(text: str) -> str | None:
    return None if text.startswith("[") else text


def _throttles(text: str) -> list[str] | None:
    try:
        bits = int(text, 16)
    except ValueError:
        return None
    names = [name for bit, name in THROTTLES.items() if bits & bit]
    unknown = bits & ~sum(THROTTLES)
    return names + ([hex(unknown)] if unknown else [])


class Watch:
    """Reads the state five times a second while it is open."""

    def __init__(self, gpu: cuda.Gpu) -> None:
        self._gpu = gpu
        self._states: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._after: dict[str, Any] | None = None

    def __enter__(self) -> "Watch":
        self._before = read(self._gpu)
        if "reason" not in self._before:
            self._start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._thread is not None:
            self._process.terminate()
            self._thread.join(_TIMEOUT_S)
            self._process.wait()
        self._after = read(self._gpu) if "reason" not in self._before else self._before

    @property
    def summary(self) -> dict[str, Any]:
        """The states ``before``, ``during`` and ``after``; the last is None while it is open.

        ``during`` has for each number its ``min``, ``p50`` and ``max``, all ``throttle_reasons``
        that were seen, and how many ``samples`` there were.
        """
        during = summarized(list(self._states))
        return {"before": self._before, "during": during, "after": self._after}

    def _start(self) -> None:
        known = self._before["throttle_reasons"] is not None
        extra = next((name for name in _REASONS if known and self._answers(name)), "")
        command = [*_command(self._gpu, extra), f"--loop-ms={PERIOD_MS}"]
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            return  # it was there a moment ago; `during` then has no samples
        self._thread = threading.Thread(target=self._read, args=(extra,), daemon=True)
        self._thread.start()

    def _answers(self, extra: str) -> bool:
        done = subprocess.run(_command(self._gpu, extra), capture_output=True, check=False)
        return done.returncode == 0

    def _read(self, extra: str) -> None:
        assert self._process is not None and self._process.stdout is not None  # noqa: PT018
        for line in self._process.stdout:
            state = parsed(line, extra)
            if "reason" not in state:
                self._states.append(state)


def summarized(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The ``during`` of `Watch.summary`."""
    summary: dict[str, Any] = {"samples": len(states)}
    for key in _FIELDS.values():
        values = [state[key] for state in states if state[key] is not None]
        summary[key] = (
            {"min": min(values), "p50": statistics.median(values), "max": max(values)}
            if values
            else None
        )
    seen = [name for state in states for name in state["throttle_reasons"] or ()]
    summary["throttle_reasons"] = list(dict.fromkeys(seen))
    return summary
