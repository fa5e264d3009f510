"""Each target's files, held against the platforms' own checkers and against our server."""

import dataclasses
import importlib.metadata
import itertools
import json
import re
import shlex

import pytest
import typer.main
from cli_helper import run
from packages import checker, outcome, written
from processes import REPOSITORY

from lenet_deploy.cli import app
from lenet_deploy.packaging import TARGETS, Package, options, service, write
from lenet_runtime import Artifact
from lenet_runtime.errors import InputError
from lenet_serve import server
from lenet_serve.metrics import Metrics

SERVING = ("compose", "docker", "kserve", "kubernetes", "systemd")


@pytest.fixture(scope="module")
def artifacts(exported):
    return {name: Artifact.open(exported(name).path) for name in ("native", "onnx")}


@pytest.fixture(scope="module")
def packages(artifacts, tmp_path_factory):
    """Each of our own targets, of a native artifact."""
    folder = tmp_path_factory.mktemp("packages")
    names = (*SERVING, "monitoring")
    return {name: written(name, artifacts["native"], folder / name) for name in names}


def documents(path):
    return list(pytest.importorskip("yaml").safe_load_all(path.read_text()))


def arguments(target, folder):
    """What `lenet-deploy` is started with."""
    if target == "docker":
        return json.loads(
            re.search(r"^CMD (\[.*\])$", (folder / "Dockerfile").read_text(), re.M)[1]
        )
    if target == "systemd":
        line = re.search(r"^ExecStart=((.*\\\n)*.*)$", (folder / "lenet.service").read_text(), re.M)
        return shlex.split(line[1].replace("\\\n", " "))[1:]
    file = {"compose": "compose.yaml", "kserve": "runtime.yaml", "kubernetes": "deployment.yaml"}
    spec = documents(folder / file[target])[0]
    if target == "compose":
        return spec["services"]["server"]["command"]
    spec = spec["spec"] if target == "kserve" else spec["spec"]["template"]["spec"]
    return spec["containers"][0]["args"]


def parsed(words):
    command = typer.main.get_command(app).commands["serve"]
    return command.make_context("serve", list(words)).params


@pytest.mark.parametrize("target", SERVING)
def test_the_server_takes_its_arguments(packages, target):
    name, *words = arguments(target, packages[target])
    assert name == "serve"
    options = parsed(words)
    assert options["trust"] is True
    assert options["host"] == ("127.0.0.1" if target == "systemd" else "0.0.0.0")


@pytest.mark.parametrize("target", SERVING)
def test_an_artifact_that_is_data_is_not_trusted(artifacts, tmp_path, target):
    folder = written(target, artifacts["onnx"], tmp_path / target)
    assert parsed(arguments(target, folder)[1:])["trust"] is False
    if target in ("docker", "systemd"):
        file = folder / ("Dockerfile" if target == "docker" else "lenet.service")
        assert f"[{service.extras(Package(artifacts['onnx']))}]" in file.read_text()


@pytest.mark.parametrize("target", SERVING)
def test_the_end_has_the_time_that_the_drain_takes(packages, target):
    """What ends a server by force waits longer than the server itself does."""
    files = [p for p in packages[target].iterdir() if p.suffix in (".yaml", ".service", "")]
    text = "".join(path.read_text() for path in files if path.is_file())
    found = re.findall(
        r"^ *(?:terminationGracePeriodSeconds: |TimeoutStopSec=|stop_grace_period: )(\d+)"
        r"|--stop-timeout (\d+)", text, re.M,
    )  # fmt: skip
    delay = parsed(arguments(target, packages[target])[1:])["drain_delay"]
    least = delay + server._HANDSHAKE + server._LINGER + server._GRACE
    assert found
    assert all(int("".join(seconds)) > least for seconds in found)


def test_every_text_says_what_made_it_and_where_it_came_from(packages, artifacts):
    digest = artifacts["native"].digest[:12]
    for folder in packages.values():
        for path in folder.iterdir():
            if path.is_file() and path.suffix not in (".whl", ".txt", ".py"):
                text = path.read_text()
                assert "lenet-deploy 0.1.0" in text, path
                assert digest in text, path


def test_engines_that_no_image_of_ours_has_are_refused(exported, tmp_path):
    package = Package(Artifact.open(exported("torchscript").path))
    for target in SERVING:
        with pytest.raises(InputError, match=r"native or onnx, found torchscript"):
            write(TARGETS[target], package, tmp_path / "p")
    assert not list(tmp_path.iterdir())
    write(TARGETS["monitoring"], package, tmp_path / "p")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("LeNet", {}, "name: expected small letters"),
        ("a.b", {}, "name: expected small letters"),
        ("a" * 59, {}, "at most 58"),  # NAME-pods is a Service, too
        ("lenet", {"replicas": 3, "max_replicas": 2}, "max_replicas: expected at least 3"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(artifacts, tmp_path, name, options, said):
    with pytest.raises(InputError, match=said):
        written("kubernetes", artifacts["native"], tmp_path / "p", name, **options)
    assert not (tmp_path / "p").exists()


def test_the_units_user_may_bind_to_no_low_port(artifacts, tmp_path):
    with pytest.raises(InputError, match="port: expected 1024 or more, found 443"):
        written("systemd", artifacts["native"], tmp_path / "p", port=443)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--replicas", "0"), "--replicas: expected N, found '0'"),
        (("--port", "65535"), "--port: expected PORT, found '65535'"),
        (("--image", "a b"), "--image: expected IMAGE, found 'a b'"),
        (("--wheel", "x.whl"), "--wheel: docker alone takes it, found --target kubernetes"),
    ],
)
def test_flags_that_are_wrong_are_usage_errors(artifacts, tmp_path, words, said):
    told = ("package", artifacts["native"].path, "--target", "kubernetes", "-o", tmp_path / "p")
    assert said in run(*told, *words, code=2).stderr
    assert not list(tmp_path.iterdir())


def test_docker_wants_the_wheel(artifacts, tmp_path):
    words = ("package", artifacts["native"].path, "--target", "docker", "-o", tmp_path / "p")
    assert "make wheel builds it; pass --wheel dist/lenet_deploy-" in run(*words, code=2).stderr
    assert "found 'other.whl'" in run(*words, "--wheel", tmp_path / "other.whl", code=2).stderr


def test_versions_are_those_that_are_installed_here(packages):
    lines = (packages["docker"] / "constraints.txt").read_text().split()
    pins = dict(line.split("==") for line in lines)
    assert {"numpy", "uvicorn", "orjson", "grpcio", "pillow"} <= pins.keys()
    assert "torch" not in pins
    assert "onnxruntime" not in pins
    assert all(importlib.metadata.version(name) == version for name, version in pins.items())


# The platforms' own checkers.


def test_hadolint_has_nothing_to_say_about_the_dockerfile(packages, tmp_path):
    hadolint = checker("hadolint")
    file = packages["docker"] / "Dockerfile"
    assert outcome(hadolint, file) == (0, "")
    broken = tmp_path / "Dockerfile"
    broken.write_text(file.read_text().replace(" --no-cache-dir", ""))
    assert outcome(hadolint, broken)[0] == 1


def test_kubernetes_takes_the_manifests(packages):
    validator = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    folder = packages["kubernetes"]
    kinds = []
    for path in sorted(folder.glob("*.yaml")):
        for document in documents(path):
            kinds.append(document["kind"])
            validator.validate(document, "1.32", strict=True)
    assert kinds == [
        "HorizontalPodAutoscaler", "Deployment", "PodDisruptionBudget", "NetworkPolicy", "Service",
        "Service",
    ]  # fmt: skip
    document["spec"]["ports"][0]["prot"] = 1
    with pytest.raises(validator.ValidationError):
        validator.validate(document, "1.32", strict=True)


def test_the_container_of_kserve_is_one_of_kubernetes(packages):
    validator = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    runtime, service = (documents(packages["kserve"] / f"{name}.yaml")[0]
                        for name in ("runtime", "service"))  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
           "spec": {"containers": runtime["spec"]["containers"]}}  # fmt: skip
    validator.validate(pod, "1.32", strict=True)
    asked = service["spec"]["predictor"]["model"]
    assert asked["modelFormat"]["name"] == runtime["spec"]["supportedModelFormats"][0]["name"]
    assert asked["runtime"] == runtime["metadata"]["name"]
    assert asked["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_pods_have_no_rights(packages):
    """Pod Security's level "restricted", and a little more."""
    pod = documents(packages["kubernetes"] / "deployment.yaml")[0]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_compose_takes_the_file(packages, tmp_path):
    checks = checker("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"
    file = packages["compose"] / "compose.yaml"
    assert outcome(*checks, file)[0] == 0
    broken = tmp_path / "compose.yaml"
    broken.write_text(file.read_text().replace("read_only", "read_onyl"))
    assert outcome(*checks, broken)[0] == 1
    (compose,) = documents(file)
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["server"]["ports"])


def test_systemd_takes_the_unit_and_finds_it_closed(packages, tmp_path):
    analyze = checker("systemd-analyze")
    unit = tmp_path / "lenet.service"
    text = (packages["systemd"] / "lenet.service").read_text()
    assert "RestrictSUIDSGID" in text
    unit.write_text(text.replace("/opt/lenet-deploy/bin/lenet-deploy", "/bin/true"))
    code, said = outcome(analyze, "verify", "--man=no", unit)
    assert (code, [line for line in said.splitlines() if "lenet.service" in line]) == (0, [])
    said = outcome(analyze, "security", "--offline=true", "--no-pager", unit)[1]
    exposure = float(re.search(r"exposure level for lenet.service: ([0-9.]+)", said)[1])
    assert exposure < 1.5  # of 10


def test_promtool_takes_rules_and_their_test(packages, tmp_path):
    promtool, folder = checker("promtool"), packages["monitoring"]
    assert outcome(promtool, "check", "rules", folder / "rules.yaml")[0] == 0
    assert outcome(promtool, "check", "config", folder / "prometheus.yaml")[0] == 0
    assert outcome(promtool, "test", "rules", folder / "rules.test.yaml")[0] == 0
    limits = {"> 0.001": "> 0.1", "== 0": "== 3", "> 0.05": "> 1", "> 2": "> 99", "> 0.01": "> 0.1",
              '"failed"': '"succeeded"'}  # fmt: skip
    for limit, other in limits.items():
        broken = (folder / "rules.yaml").read_text().replace(limit + "\n", other + "\n")
        broken = broken.replace(limit + "}", other + "}")
        (tmp_path / "rules.yaml").write_text(broken)
        (tmp_path / "rules.test.yaml").write_text((folder / "rules.test.yaml").read_text())
        assert outcome(promtool, "test", "rules", tmp_path / "rules.test.yaml")[0] != 0, limit


def queries(folder):
    """Every query of the dashboard and the rules."""
    board = json.loads((folder / "dashboard.json").read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    (rules,) = documents(folder / "rules.yaml")
    return panels, [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_every_query_names_a_metric_that_the_server_has(packages):
    text = Metrics().text().decode()
    known = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge)$", text, re.M))
    for name in re.findall(r"^# TYPE (\S+) histogram$", text, re.M):
        known |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    for query in itertools.chain(*queries(packages["monitoring"])):
        named = set(re.findall(r"\b(?:lenet|process|nv)_\w+", query))
        assert named <= known, query
        assert named or "up{" in query or "lenet:" in query
        grouped = ",".join(re.findall(r"by \(([\w, ]+)\)", query))
        labels = {*re.findall(r"[{,](\w+)=", query), *re.findall(r"\w+", grouped)}
        assert labels <= {"job", "code", "protocol", "model", "version", "outcome", "reason", "le"}


def test_promtool_understands_every_query_of_the_dashboard(packages, tmp_path):
    promtool = checker("promtool")
    panels = [q.replace("$__rate_interval", "5m") for q in queries(packages["monitoring"])[0]]

    def check(queries):
        rules = [{"record": f"r:{n}", "expr": query} for n, query in enumerate(queries)]
        document = {"groups": [{"name": "g", "rules": rules}]}  # JSON is YAML
        (tmp_path / "rules.json").write_text(json.dumps(document))
        return outcome(promtool, "check", "rules", tmp_path / "rules.json")[0]

    assert check(panels) == 0
    assert check([panels[0] + ")"]) == 1


def test_the_page_has_every_option_and_target():
    page = (REPOSITORY / "docs" / "package.md").read_text()
    rows = re.findall(r"^\| `(--[a-z-]+)`(?:, `-o`)? \|([^|]*)\|", page, re.M)
    shown = {flag: owners.strip() for flag, owners in rows}
    command = typer.main.get_command(app).commands["package"]
    flags = {p.opts[0] for p in command.params if p.opts[0].startswith("--")} - {
        "--quiet",
        "--help",
    }
    ours = {option.flag: names for option, names in options().items()}
    for flag in flags - ours.keys():
        assert shown[flag] in ("", "all")
    for flag, names in ours.items():
        assert set(shown[flag].split(", ")) == set(names), flag
    for name, target in TARGETS.items():
        place = f"#{name}" if f"\n## {name}\n" in page else f"package-{name}.md"
        assert f"| [`{name}`]({place}) | {target.summary} |" in page
        assert place[0] == "#" or (REPOSITORY / "docs" / place).exists()


def test_the_commands_of_the_page_are_ours():
    page = (REPOSITORY / "docs" / "package.md").read_text()
    lines = re.findall(r"^lenet-deploy package (.*)$", page, re.M)
    command = typer.main.get_command(app).commands["package"]
    assert {
        command.make_context("package", shlex.split(line)).params["target"] for line in lines
    } == {
        *SERVING,
        "monitoring",
        "ray",
    }


@pytest.mark.parametrize(
    ("platform", "shown"), [("linux-x86_64", "amd64"), ("linux-aarch64", "arm64")]
)
def test_code_runs_on_nodes_of_its_own_architecture(artifacts, tmp_path, platform, shown):
    manifest = artifacts["native"].manifest
    needs = dataclasses.replace(manifest.requirements, platform=platform)
    manifest = dataclasses.replace(manifest, requirements=needs)
    artifact = dataclasses.replace(artifacts["native"], manifest=manifest)
    folder = written("kubernetes", artifact, tmp_path / "p")
    (deployment,) = documents(folder / "deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/arch": shown}
