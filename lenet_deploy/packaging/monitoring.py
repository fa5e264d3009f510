"""`monitoring`: Prometheus' rules with their test, and a Grafana dashboard.

The dashboard is made here, not filled in, since its panels differ in names and queries alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled

_FILES = ("rules", "rules.test", "prometheus", "servicemonitor")
_WIDTH, _HEIGHT = 8, 8  # of a panel; a row of the dashboard has 24
# Of each panel: its title, what the values are, Grafana's unit, and the queries by their legends.
# $job is the job that is chosen above the panels.
_RATE = 'sum by ({by}) (rate({metric}{{job="$job"}}[$__rate_interval]))'
_QUANTILE = (
    'histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{job="$job"}}[$__rate_interval])))'
)


def _quantiles(metric: str) -> dict[str, str]:
    return {
        f"p{name}": _QUANTILE.format(q=q, metric=metric)
        for name, q in (("50", "0.5"), ("90", "0.9"), ("99", "0.99"))
    }


_PANELS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("Requests", "That have ended, by the status that clients saw.", "reqps",
     {"{{protocol}} {{code}}": _RATE.format(by="protocol, code", metric="lenet_requests_total")}),
    ("Images", "Of answered requests.", "cps",
     {"{{model}}:{{version}}": _RATE.format(by="model, version", metric="lenet_images_total")}),
    ("Failures", "Share of requests that were not answered.", "percentunit",
     {"refused": 'sum(rate(lenet_requests_total{job="$job",code=~"503|UNAVAILABLE"}'
                 '[$__rate_interval])) / sum(rate(lenet_requests_total{job="$job"}'
                 "[$__rate_interval]))",
      "our fault": 'sum(rate(lenet_requests_total{job="$job",code=~"500|INTERNAL"}'
                   '[$__rate_interval])) / sum(rate(lenet_requests_total{job="$job"}'
                   "[$__rate_interval]))"}),
    ("Time of a request", "From its last byte to its answer.", "s",
     _quantiles("lenet_request_seconds")),
    ("Wait for the computation", "Grows before requests are refused.", "s",
     _quantiles("lenet_queue_seconds")),
    ("Computation", "Input, inference and output.", "s", _quantiles("lenet_compute_seconds")),
    ("Requests that wait", "At this moment.", "short",
     {"{{model}}:{{version}}": 'sum by (model, version) (lenet_pending_requests{job="$job"})'}),
    ("Images of a batch", "That the engine computed at once, on average.", "short",
     {"{{model}}": 'sum by (model) (rate(lenet_batch_size_sum{job="$job"}[$__rate_interval])) / '
                   'sum by (model) (rate(lenet_batch_size_count{job="$job"}[$__rate_interval]))'}),
    ("Cores", "CPU time a second, of each process.", "short",
     {"{{instance}} {{worker}}": 'rate(process_cpu_seconds_total{job="$job"}[$__rate_interval])'}),
    ("Memory", "Resident, of each process.", "bytes",
     {"{{instance}} {{worker}}": 'process_resident_memory_bytes{job="$job"}'}),
    ("Workers", "That run, and that ended by themselves.", "short",
     {"run": 'sum(lenet_workers{job="$job"})',
      "ended {{reason}}": 'sum by (reason) (increase(lenet_worker_restarts_total{job="$job"}'
                          "[$__rate_interval]))"}),
    ("Reloads", "Models that took the place of others, or were refused.", "short",
     {"{{outcome}}": 'sum by (outcome) (increase(lenet_reloads_total{job="$job"}'
                     "[$__rate_interval]))"}),
)  # fmt: skip


def _panel(number: int, title: str, text: str, unit: str, queries: dict[str, str]) -> Any:
    across = 24 // _WIDTH
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "description": text,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {
            "x": _WIDTH * (number % across), "y": _HEIGHT * (number // across),
            "w": _WIDTH, "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(queries.items())
        ],
    }  # fmt: skip


def _dashboard(values: Mapping[str, object]) -> bytes:
    job = {"text": values["NAME"], "value": values["NAME"]}
    document = {
        "title": f"{values['NAME']} (lenet-deploy)",
        "uid": f"lenet-deploy-{values['NAME']}"[:40],
        "description": f"{values['MADE_BY']} Import it in Grafana: Dashboards, New, Import.",
        "tags": ["lenet-deploy"],
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource",
                 "query": "prometheus"},
                {"name": "job", "label": "Job", "type": "query", "current": job,
                 "datasource": {"type": "prometheus", "uid": "${source}"},
                 "query": "label_values(lenet_build_info, job)", "refresh": 2},
            ]
        },
        "panels": [_panel(number, *panel) for number, panel in enumerate(_PANELS)],
    }  # fmt: skip
    return (json.dumps(document, indent=2) + "\n").encode()


def _files(package: Package) -> Mapping[str, bytes]:
    values = {
        "NAME": service.dns_name(package),
        "MADE_BY": service.made_by(package),
        "PORT": service.port_of(package),
    }
    content = {f"{name}.yaml": filled(f"monitoring/{name}.yaml", values) for name in _FILES}
    return content | {"dashboard.json": _dashboard(values)}


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return (f"promtool check config {folder}/prometheus.yaml",)


TARGET = Target(
    "monitoring",
    "Prometheus rules and their test, Grafana dashboard",
    _files,
    (service.PORT,),
    _steps,
)
