"""The same odd requests to our server and to a real Triton, and what differs, with the reason.

    python -m tests.serve.differential ARTIFACT            # ours against the recording
    python -m tests.serve.differential ARTIFACT --triton   # and the recording against Triton

`wire` sends what a case holds and reduces the answer to what is compared; `paths`, `bodies`,
`binary` and `framing` hold the cases of REST, `calls` those of gRPC; `verdicts` says equal, better
or worse, and why. `triton-2.51.json` is what Triton answered.
"""
