"""Says of each case whether ours is equal, better or worse than Triton, and why."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.serve.differential.reasons import REASONS
from tests.serve.differential.wire import Answer

SILENCE = {"closed", "timeout"}


@dataclass(frozen=True)
class Verdict:
    """What came of a case.

    Attributes:
        protocol, case: Which case.
        verdict: ``equal``, ``better``, ``other`` (neither serves a client worse) or ``worse``.
        ours, triton: The statuses of what each answered, and the body's shape where ours is worse.
        reason: Why they differ; empty where they are equal.
    """

    protocol: str
    case: str
    verdict: str
    ours: str
    triton: str
    reason: str = ""


def judge(
    protocol: str, ours: dict[str, list[Answer]], triton: dict[str, list[Answer]]
) -> Iterator[Verdict]:
    """Compare all cases; raises KeyError where the recording lacks one."""
    for case, answers in ours.items():
        verdict, reason = compare(f"{protocol} {case}", answers, triton[case])
        say = both if verdict == "worse" else statuses
        yield Verdict(protocol, case, verdict, say(answers), say(triton[case]), reason)


def compare(key: str, ours: list[Answer], triton: list[Answer]) -> tuple[str, str]:
    """The verdict and the reason."""
    if ours == triton:
        return "equal", ""
    mine, theirs = statuses(ours), statuses(triton)
    if key in REASONS:
        expected, verdict, reason = REASONS[key]
        if mine == expected:
            return verdict, reason
    for rule, reason in RULES:
        if rule(ours, triton):
            return "better", reason
    return "worse", f"expected {theirs}, found {mine}; no reason is known"


def statuses(answers: list[Answer]) -> str:
    """All statuses, in order."""
    return ", ".join(answer.status for answer in answers)


def both(answers: list[Answer]) -> str:
    """Statuses, and the first body's shape, short."""
    text = str(answers[0].body) if answers else ""
    return f"{statuses(answers)} {text if len(text) < 60 else f'{text[:57]}...'}"


def says_why(answers: list[Answer], *kinds: str) -> bool:
    """Whether the first answer is of one of these kinds, and for REST holds an error's text."""
    first = answers[0]
    if first.status.isdigit() and first.body not in ({"error": "text"}, None):
        return False
    return first.status.startswith(kinds)


Rule = Callable[[list[Answer], list[Answer]], bool]
RULES: tuple[tuple[Rule, str], ...] = (
    (
        lambda ours, triton: triton[0].status == "500" and says_why(ours, "4"),
        "A client's fault is 4xx and says what was expected; 500 would page the operator.",
    ),
    (
        lambda ours, triton: triton[0].status in SILENCE and says_why(ours, "4"),
        "A refusal that says why, instead of a closed connection or no answer at all.",
    ),
    (
        lambda ours, triton: triton[0].status == "INTERNAL" and ours[0].status
        in ("INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"),
        "A client's fault is not the server's.",
    ),
    (
        lambda ours, triton: statuses(ours) == statuses(triton) and triton[0].body is None
        and isinstance(ours[0].body, dict) and "error" not in ours[0].body,
        "The body that the specification gives it; Triton's is empty.",
    ),
    (
        lambda ours, triton: statuses(ours) == statuses(triton)
        and triton[0].status in ("200", "OK") and covers(ours[0].body, triton[0].body),
        "The same, and more beside it.",
    ),
)  # fmt: skip


def covers(ours: Any, triton: Any) -> bool:
    """Whether ours holds all that Triton's does: each key, and each element in its place."""
    if isinstance(ours, dict) and isinstance(triton, dict):
        return all(key in ours and covers(ours[key], each) for key, each in triton.items())
    if isinstance(ours, list) and isinstance(triton, list):
        return len(ours) >= len(triton) and all(map(covers, ours, triton))
    return bool(ours == triton)


def markdown(verdicts: list[Verdict]) -> str:
    """Two tables of all differences, one row for each reason and pair of answers."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for v in verdicts:
        if v.verdict != "equal":
            name = f"gRPC {v.case}" if v.protocol == "gRPC" else v.case
            answers = (v.triton, v.ours) if v.triton != v.ours else (f"{v.triton}, other body",) * 2
            rows.setdefault((v.verdict, v.protocol, *answers, v.reason), []).append(name)
    lines: list[str] = []
    for kind in ("worse", "better", "other"):
        own = {key: cases for key, cases in rows.items() if key[0] == kind}
        if own:
            lines += ["", f"## {kind.capitalize()}", "", "| request | Triton | ours | why |"]
            lines += ["|---|---|---|---|"]
        for key in sorted(own, key=lambda key: (key[1] == "gRPC", -len(own[key]))):
            _, _, triton, ours, reason = key
            line = f"| {'; '.join(own[key])} | {triton} | {ours} | {reason} |"
            lines.append(line.replace("*", "\\*"))
    return "\n".join(lines)


def counts(verdicts: list[Verdict]) -> str:
    """How many of each."""
    total = {kind: sum(v.verdict == kind for v in verdicts)
             for kind in ("equal", "better", "other", "worse")}  # fmt: skip
    return f"{len(verdicts)} requests: " + ", ".join(f"{n} {kind}" for kind, n in total.items())
