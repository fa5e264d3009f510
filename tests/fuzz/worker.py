"""One campaign in a process of its own; what it does stands in a log, line by line.

A line begins with what it is: ``> 12`` a case begins, ``# text`` what it is, ``= word`` how it
ended, ``! text`` a finding. So the log tells of a case that takes the whole process with it.
"""

import argparse
import gc
import itertools
import os
import time
import traceback
from pathlib import Path

from lenet_runtime.errors import DeployError
from tests.fuzz import CAMPAIGNS, Case, Draw

LONGEST_MESSAGE = 20_000  # characters


def main() -> None:
    """Run cases until time is up, or as many as were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CAMPAIGNS)
    for option in ("--seed", "--first", "--count"):
        parser.add_argument(option, type=int, default=0)
    parser.add_argument("--seconds", type=float)
    for option in ("--artifacts", "--scratch", "--log"):
        parser.add_argument(option, type=Path)
    told = parser.parse_args()
    log = os.open(told.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)

    def write(kind: str, text: object) -> None:
        line = ascii(str(text))[1:-1][:4000]
        os.write(log, f"{kind} {line}\n".encode())

    end, campaign = time.monotonic() + told.seconds, CAMPAIGNS[told.name]
    with campaign.start(told.name, told.artifacts, told.scratch) as case:
        for number in itertools.count(told.first):
            if number - told.first >= (told.count or 10**12):
                break
            if number > told.first and time.monotonic() > end:
                break
            write(">", number)
            draw = Draw(told.name, told.seed, number, lambda text: write("#", text))
            for fault in faults(case, draw, campaign.cpu_seconds, campaign.mebibytes, write):
                write("!", fault)


def faults(case: Case, draw: Draw, cpu_seconds: float, mebibytes: float, write):
    """Run a case; yields what is wrong with how it went."""
    descriptors, memory, cpu = os.listdir("/proc/self/fd"), fresh_peak(), time.process_time()
    word = "refused"
    try:
        word = case(draw)
    except DeployError as error:
        yield from wrong_message(str(error))
    except BaseException as error:
        word = "failed"
        place = traceback.extract_tb(error.__traceback__)[-1]
        yield f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    cpu = time.process_time() - cpu
    if cpu > cpu_seconds:
        yield f"took {cpu:.1f} s of processor time"
    if (more := peak() - memory) > mebibytes:
        yield f"took {more:.0f} MiB"
    if len(os.listdir("/proc/self/fd")) > len(descriptors):
        gc.collect()  # an interrupt's traceback may be one of a cycle's, and hold a file
    if (left := len(os.listdir("/proc/self/fd")) - len(descriptors)) > 0:
        yield f"left {left} descriptors open"
    write("=", word)


def wrong_message(text: str):
    """What is wrong with an error's message."""
    if not text or len(text) > LONGEST_MESSAGE:
        yield f"a message of {len(text)} characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        yield f"a message that cannot be written: {text[:200]}"


def fresh_peak() -> float:
    """Forget the peak of this process's memory; returns what it has, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """The most memory that this process had since `fresh_peak`, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def resident() -> float:
    """The memory that this process has, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
