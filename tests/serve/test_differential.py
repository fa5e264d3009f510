"""Ours against what a real Triton answered to the same odd requests; see tests/serve/differential.

`make test-triton` puts them to a Triton as well.
"""

import pytest

from tests.serve.differential import ours, run, verdicts
from tests.serve.differential.reasons import REASONS
from tests.serve.differential.wire import Answer


@pytest.fixture(scope="module")
def compared(native_artifact):
    with ours.started(native_artifact.path) as (http, grpc):
        answers = run.answers(http, grpc)
    triton = run.recorded()
    return [v for p in answers for v in verdicts.judge(p, answers[p], triton[p])]


def test_nothing_is_worse_than_tritons(compared):
    worse = [f"{v.protocol} {v.case}: {v.triton}, {v.ours}" for v in compared
             if v.verdict == "worse"]  # fmt: skip
    assert not worse, "\n".join(worse)


def test_every_reason_is_needed(compared):
    """One that explains nothing any more would hide the next difference."""
    given = {f"{v.protocol} {v.case}" for v in compared if v.reason}
    unused = REASONS.keys() - given
    assert not unused


@pytest.mark.parametrize(
    ("ours", "triton", "verdict"),
    [
        ("400", "400", "equal"),
        ("400", "500", "better"),
        ("413", "timeout", "better"),
        ("200", "500", "worse"),
        ("500", "400", "worse"),
        ("404", "200", "worse"),
        ("closed", "400", "worse"),
    ],
)
def test_a_difference_without_a_reason_is_judged_by_who_is_at_fault(ours, triton, verdict):
    answer = {status: [Answer(status, {"error": "text"})] for status in (ours, triton)}
    assert verdicts.compare("REST nothing", answer[ours], answer[triton])[0] == verdict


def test_a_body_that_lacks_what_tritons_has_is_worse():
    triton, more, less = ([Answer("200", body)] for body in ({"a": 1}, {"a": 1, "b": 2}, {"b": 2}))
    assert verdicts.compare("REST nothing", more, triton)[0] == "better"
    assert verdicts.compare("REST nothing", less, triton)[0] == "worse"
