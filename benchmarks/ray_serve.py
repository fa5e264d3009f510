"""Ray beside our own server and our own batch engine, in turns, on one machine.

    python -m benchmarks.ray_serve ARTIFACT [--rounds 5] [--json FILE]

It takes the environment of `make test-ray`, and wrk. Servers have a core and the generator another.
Ray Serve is measured as it comes, and behind its HAProxy, which listens on all addresses: all of it
runs in a network of its own (`unshare`), so it wants root. One cluster runs at a time; each is
measured in turns with our own server.
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.serve import load
from benchmarks.serve.bodies import bodies

ROOT = Path(__file__).parent.parent
SERVER_CORE, GENERATOR_CORE = "1", "0"
OURS = "`lenet-deploy serve`"
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
CLUSTERS = {"Ray Serve": {}, "Ray Serve, HAProxy": HAPROXY}
BODIES, CONNECTIONS = ("JSON", "binary"), (1, 16)
ROWS = (60_000, 480_000)


@contextlib.contextmanager
def server(artifact, port, *words, **env):
    """A server of ours by its command, on its core; its process, and seconds until it was ready."""
    begin = time.monotonic()
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "lenet_deploy", "serve",
               artifact, "--trust", "--http-port", str(port), *words]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=os.environ | env, stdout=log, stderr=log)
        try:
            while not ready(port):
                if process.poll() is not None or time.monotonic() - begin > 90:
                    log.seek(0)
                    raise RuntimeError(log.read()[-1000:].decode())
                time.sleep(0.1)
            yield process, time.monotonic() - begin
        finally:
            process.terminate()
            process.wait(60)


def ready(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/lenet/ready").close()
    except OSError:
        return False
    return True


def serving(artifact, rounds):
    """Rows of the table: the median CPU of a request and rate by server, body and connections."""
    requests, rows = bodies_here(), []
    for name, env in CLUSTERS.items():
        ray = ("--engine", "ray", "--replicas", "2..2")
        with (
            server(artifact, 18000, "--grpc-port", "off") as (own, own_s),
            server(artifact, 18001, *ray, **env) as (theirs, their_s),
        ):
            servers = {OURS: (own.pid, 18000, own_s), name: (theirs.pid, 18001, their_s)}
            memory = {each: load.memory_mb(pid) for each, (pid, _, _) in servers.items()}
            windows = {}
            for turn in range(rounds + 1):  # the first warms up
                for n in CONNECTIONS:
                    for body in BODIES:
                        for each, (pid, port, _) in servers.items():
                            window = load.closed_loop(
                                pid, port, requests[body], n, 1.0, core=GENERATOR_CORE
                            )
                            if turn:
                                windows.setdefault((each, body, n), []).append(window)
        rows += [
            {
                "server": each, "beside": name, "body": body, "connections": n,
                "cpu_us": round(statistics.median(w.cpu_us for w in own_windows)),
                "rate": round(statistics.median(w.rate for w in own_windows)),
                "errors": sum(w.errors for w in own_windows),
                "ready_s": round(servers[each][2], 1), **memory[each],
            }
            for (each, body, n), own_windows in windows.items()
        ]  # fmt: skip
    return rows


def bodies_here():
    """The requests without gRPC's, whose client this environment cannot have."""
    from benchmarks.serve import bodies as module

    module.message = lambda images: None
    return bodies()


def batches(artifact, rounds):
    """Rows of the table: the median seconds of a job by engine and size."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import lenet_runtime
    from lenet_deploy import batch
    from lenet_deploy.cluster import connected
    from lenet_runtime.images.digits import load_digits

    digits, rows = load_digits().images.reshape(-1, 784), []

    def plain(source, output):
        with lenet_runtime.load(artifact, threads=1, trust=True) as session:
            tables = []
            for piece in pq.ParquetFile(source).iter_batches(1024):
                pixels = piece.column("pixels").flatten().to_numpy().reshape(-1, 28, 28)
                answer = session.predict(pixels)
                tables.append(pa.table({"label": answer.labels}))
            pq.write_table(pa.concat_tables(tables), output)

    def engine(name, **more):
        return lambda source, output: batch.run(
            [str(source)], output, artifact=artifact, trust=True, engine=name, **more
        )

    folder = Path(tempfile.mkdtemp(prefix="ray-bench-"))
    begin = time.monotonic()
    with connected(None) as ray:
        start_s = time.monotonic() - begin
        address = ray.get_runtime_context().gcs_address
        shutdown = ray.shutdown  # a job would end the cluster that is this process's own
        ray.shutdown = lambda: None
        ray.init = lambda **_: None
        engines = {"a plain pyarrow loop": plain, "`batch`": engine("local"),
                   "`batch --engine ray`": engine("ray", address=address)}  # fmt: skip
        for count in ROWS:
            source = folder / f"{count}.parquet"
            pixels = pa.FixedSizeListArray.from_arrays(
                pa.array(np.resize(digits, (count, 784)).ravel()), 784
            )
            pq.write_table(pa.table({"pixels": pixels}), source, row_group_size=count // 12)
            seconds = {name: [] for name in engines}
            for turn in range(rounds):
                for name, run in engines.items():
                    began = time.monotonic()
                    run(
                        source, folder / f"{count}-{turn}-{'ray' in name}-{'batch' in name}.parquet"
                    )
                    seconds[name].append(time.monotonic() - began)
            rows += [
                {"engine": name, "rows": count, "seconds": round(statistics.median(each), 2),
                 "rounds_s": [round(s, 2) for s in each]}
                for name, each in seconds.items()
            ]  # fmt: skip
        ray.shutdown = shutdown
    shutil.rmtree(folder)
    return rows, start_s


def markdown(document):
    """The record, for people."""
    lines = [
        f"{document['date']}, {document['machine']}, Ray {document['ray']}; servers on one core, "
        f"generator on another, one digit a request, keep-alive; {document['rounds']} rounds of "
        "1 s in turns.", "", "| server | body | connections | CPU us a request | requests/s |",
        "|---|---|---:|---:|---:|",
    ]  # fmt: skip
    for row in document["serving"]:
        beside = f" (beside {row['beside']})" if row["server"] == OURS else ""
        lines.append(f"| {row['server']}{beside} | {row['body']} | {row['connections']} "
                     f"| {row['cpu_us']:,} | {row['rate']:,} |")  # fmt: skip
    each = {row["server"]: row for row in document["serving"]}
    lines += [
        "",
        "| | ready after | processes | memory, shared pages once |",
        "|---|---:|---:|---:|",
    ]
    lines += [f"| {name} | {row['ready_s']} s | {row['processes']} | {row['pss_mb']:,.0f} MB |"
              for name, row in each.items()]  # fmt: skip
    lines += ["", f"Batch, Parquet of pixels, two cores; Ray's cluster ran already (its start took "
              f"{document['cluster_start_s']} s):", "", "| | rows | seconds | rows/s |",
              "|---|---:|---:|---:|"]  # fmt: skip
    lines += [f"| {row['engine']} | {row['rows']:,} | {row['seconds']} "
              f"| {row['rows'] / row['seconds']:,.0f} |" for row in document["batch"]]  # fmt: skip
    errors = sum(row["errors"] for row in document["serving"])
    return "\n".join([*lines, "", f"Requests that failed: {errors}.", ""])


def alone():
    """Run this again in a network of its own, where nobody else can reach what listens."""
    own = [sys.executable, "-m", "benchmarks.ray_serve", *sys.argv[1:], "--alone"]
    script = 'ip link set lo up && exec "$@"'
    return subprocess.run(["unshare", "-n", "sh", "-c", script, "sh", *own], check=False).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.alone:
        return alone()
    import lenet_bench
    from lenet_runtime.version import installed

    machine = lenet_bench.fingerprint()["machine"]
    served = serving(arguments.artifact, arguments.rounds)
    jobs, start_s = batches(arguments.artifact, arguments.rounds)
    document = {
        "schema": "lenet-ray/1",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": f"python -m benchmarks.ray_serve ARTIFACT --rounds {arguments.rounds}",
        "machine": f"{machine['cpu']} ({machine['cpu_level']})",
        "ray": installed("ray"),
        "rounds": arguments.rounds,
        "serving": served,
        "batch": jobs,
        "cluster_start_s": round(start_s, 1),
    }
    name = f"ray-{machine['cpu_level']}-{document['date']}.json"
    path = arguments.json or ROOT / "benchmarks" / "results" / name
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(document))
    print(markdown(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
