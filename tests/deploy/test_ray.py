"""Ray's adapters on a fake Ray, and what they say without one; `make test-ray` has the real one."""

import asyncio
import importlib.util
import shutil
import socket

import fake_ray
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from cli_helper import run

from lenet_deploy import batch, cluster
from lenet_deploy.batch import tables
from lenet_deploy.packaging import TARGETS, Package, write
from lenet_runtime import Artifact
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError, InputError
from lenet_runtime.images.digits import load_digits

WITHOUT_RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is not None, reason="Ray is installed: make test-ray tries it"
)


@pytest.fixture
def ray(monkeypatch):
    # What a cluster of one machine is told stays in the test.
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return fake_ray.install(monkeypatch)


@pytest.fixture
def source(tmp_path):
    images = load_digits().images[:10].reshape(10, 784)
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), 784)
    pq.write_table(pa.table({"pixels": pixels}), tmp_path / "in.parquet", row_group_size=4)
    return tmp_path / "in.parquet"


@WITHOUT_RAY
@pytest.mark.parametrize("command", ["serve", "batch"])
def test_without_ray_its_extra_is_named(command, tmp_path, source):
    output = () if command == "serve" else ("-o", tmp_path / "out.parquet")
    done = run(command, source, *output, "--engine", "ray", code=4)
    assert "needs Ray, which is not installed" in done.stderr
    assert "[ray]" in done.stderr
    assert not (tmp_path / "out.parquet").exists()


def test_an_old_ray_is_refused(ray, monkeypatch):
    monkeypatch.setattr(cluster, "installed", lambda _: "2.9.3")
    with pytest.raises(BackendUnavailable, match=r"expected 2\.60 or later, found 2\.9\.3"):
        cluster.prepare("auto")


@pytest.mark.parametrize("address", ["somewhere", "ray://host:10001", "host:port", ":6379"])
def test_an_address_that_is_none(ray, address):
    with pytest.raises(InputError, match="address: expected auto or HOST:PORT"):
        cluster.prepare(address)


def test_nothing_listens_at_the_address(ray):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(DeployError, match=f"nothing listens at {address}"):
        cluster.prepare(address)


def test_a_cluster_that_refuses(ray, monkeypatch):
    def refuse(**_):
        raise RuntimeError("Version mismatch: The cluster was started with Ray 2.9\nand more")

    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(DeployError, match="no cluster to use at auto: Version mismatch"),
        cluster.connected("auto"),
    ):
        pass


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--engine", "rai"], "--engine: expected one of local, ray"),
        (["--engine", "ray", "--workers", "2"], "--workers: expected none with --engine ray"),
        (["--engine", "ray", "--token-file", "x"], "--token-file: expected none"),
        (["--engine", "ray", "--replicas", "1"], "two at least"),
        (["--engine", "ray", "--replicas", "8..2"], "such as 2..8"),
        (["--address", "auto"], "--address: expected --engine ray"),
    ],
)
def test_flags_that_are_not_rays(ray, tmp_path, flags, said):
    assert said in " ".join(run("serve", tmp_path, *flags, code=2).stderr.split())
    assert not ray.log, "a cluster was started before"


def test_a_job_on_ray_is_the_local_engines(ray, tmp_path, source, exported, monkeypatch):
    options = {"artifact": exported("native").path, "trust": True}
    for engine in ("local", "ray"):
        batch.run([str(source)], tmp_path / f"{engine}.parquet", engine=engine, **options)
        monkeypatch.setattr(tables, "PART", 4)  # then three parts
    answers = [pq.read_table(tmp_path / f"{engine}.parquet") for engine in ("local", "ray")]
    assert answers[0].num_rows == 10
    assert answers[0].equals(answers[1])
    assert ray.log[0]["address"] == "local"
    assert ray.log[-1] == "shutdown"


def test_an_actors_error_is_the_jobs(ray, tmp_path, source, exported):
    def later(items, **_):
        source.unlink()
        return fake_ray.Dataset(items)

    ray.data.from_items = later
    options = {"artifact": exported("native").path, "trust": True, "engine": "ray"}
    with pytest.raises(InputError, match=r"in\.parquet: is gone since the job was planned"):
        batch.run([str(source)], tmp_path / "out.parquet", **options)
    assert ray.log[-1] == "shutdown"


def test_an_artifact_that_nobody_trusts_starts_no_cluster(ray, tmp_path, source, exported):
    copy = shutil.copytree(exported("native").path, tmp_path / "copy")
    manifest = (copy / "manifest.json").read_bytes()
    (copy / "manifest.json").write_bytes(manifest + b"\n")  # not what this process wrote
    with pytest.raises(DeployError, match="trust=True"):
        batch.run([str(source)], tmp_path / "out.parquet", engine="ray", artifact=copy)
    assert not ray.log


def test_ray_that_fails_keeps_what_is_done(ray, tmp_path, source, exported, monkeypatch):
    def lost(rows):
        yield next(iter(rows.rows))
        raise fake_ray.RayError

    monkeypatch.setattr(fake_ray.Dataset, "iter_rows", lost)
    monkeypatch.setattr(tables, "PART", 4)
    job = {"artifact": exported("native").path, "trust": True, "engine": "ray"}
    output = tmp_path / "out.parquet"
    with pytest.raises(DeployError, match="go on with resume=True"):
        batch.run([str(source)], output, **job)
    summary = batch.run([str(source)], output, **job | {"engine": "local"}, resume=True)
    assert (summary.rows, summary.rows_before) == (10, 4)


def test_a_node_that_does_not_see_the_output(monkeypatch, ray, tmp_path):
    from lenet_deploy.batch.on_ray import check_nodes

    check_nodes(ray, [tmp_path])
    with pytest.raises(InputError, match=r"all nodes of the cluster see, but 10\.0\.0\.1"):
        check_nodes(ray, [tmp_path / "local"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"artefact": "x"}, "did you mean artifact"),
        ({"path": "x"}, "args: expected one of"),
        ({"allow_model_control": True}, "args: expected one of"),
        ({"replicas": "1..8"}, "two at least"),
    ],
)
def test_arguments_of_the_application(ray, args, said):
    from lenet_serve.ray import app

    with pytest.raises(InputError, match=said):
        app(args)


def test_the_package_says_what_the_application_does_by_itself(ray, tmp_path, exported):
    from lenet_serve.ray import DEPLOYMENT, app

    package = Package(Artifact.open(exported("native").path), "digits", {"shared": "/mnt"})
    write(TARGETS["ray"], package, tmp_path / "package")
    document = yaml.safe_load((tmp_path / "package" / "serve.yaml").read_text())
    (application,) = document["applications"]
    (deployed,) = application["deployments"]
    own = app(application["args"])
    assert application["import_path"] == "lenet_serve.ray:app"
    assert deployed.pop("name") == own.options["name"]
    assert deployed.pop("user_config") == {"artifact": "/mnt/digits/1"}
    assert deployed == {name: DEPLOYMENT[name] for name in deployed}
    assert (own.arguments[0].name, own.arguments[0].trust) == ("digits", True)
    assert Artifact.open(tmp_path / "package" / "digits" / "1")


def test_a_replica_serves_the_new_artifact_or_the_old(ray, tmp_path, exported):
    from lenet_serve.ray import app

    first = exported("native").path
    own = app({"trust": True, "replicas": "3..5"})
    assert own.options["autoscaling_config"]["min_replicas"] == 3
    replica = own.target(*own.arguments)

    def change(artifact):
        asyncio.run(replica.reconfigure({"artifact": str(artifact)}))

    with pytest.raises(InputError, match="expected an artifact, found none"):
        replica.check_health()
    service = replica.service
    change(first)
    replica.check_health()
    old = service.repository.get("lenet")
    change(shutil.copytree(first, tmp_path / "next"))
    new = service.repository.get("lenet")
    assert new is not old
    assert not old.admission.enter(1, 1), "the old one still takes requests"
    (tmp_path / "next" / "lenet.so").write_bytes(b"no library")
    with pytest.raises(ArtifactError):
        change(tmp_path / "next")
    assert service.repository.get("lenet") is new
    assert b"one replica of several" in service.metrics.text()
    replica.__del__()
    assert service.draining


def test_rays_metrics_have_the_names_of_ours(ray):
    from lenet_serve.errors import Code
    from lenet_serve.metrics import Metrics
    from lenet_serve.protocol.infer import Times
    from lenet_serve.ray_metrics import RayMetrics

    own, names = RayMetrics(), Metrics().text().decode()
    own.record("m", "1", protocol="http", code=None, rows=3, times=Times(batch=3))
    own.record("m", "1", protocol="grpc", code=Code.NOT_FOUND, rows=0, times=Times())
    own.pending("m", "1", 1)
    own.reloaded(True)
    values = {metric.name: dict(metric.values) for metric in ray.util.metrics.made}
    assert all(f"# TYPE {name} " in names for name in values)
    assert values.pop("lenet_requests_total") == {
        ("m", "1", "http", "200"): 1, ("m", "1", "grpc", "NOT_FOUND"): 1,
    }  # fmt: skip
    assert values.pop("lenet_images_total") == {("m", "1"): 3}
    assert values.pop("lenet_reloads_total") == {("succeeded",): 1}
    assert set(map(str, values.values())) == {str({("m", "1"): 1})}
