"""A certificate of `lenet-deploy verify`: one self-contained HTML page to attach to a release."""

import datetime
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_bench.html import parts, words
from lenet_bench.html.parts import as_table, row, row_of
from lenet_runtime import __version__
from lenet_runtime.artifact import Artifact
from lenet_runtime.artifact.files import write_atomically

if TYPE_CHECKING:
    from lenet_export.verification import DataSetReport, Verification
    from lenet_runtime.parity import Comparison

_HEADS = ("batch", "max", "mean", "eager", "times eager", "of tolerance", "agrees with eager")
_MOST_FLIPS = 100


def write_page(
    report: "Verification", artifact: Artifact, path: Path, *, backend: str, device: str
) -> None:
    """Write the page to `path`: whole, or not at all.

    Args:
        report: What `lenet_export.verify` found, good or bad.
        artifact: The artifact that was verified.
        path: Of the page; replaced where it exists.
        backend: The key of `lenet_runtime.BACKENDS` whose engine ran it.
        device: What it ran on.

    Raises:
        ArtifactError: `path` cannot be written.
    """
    verb = "answers" if report.ok else "does not answer"
    title = f"{artifact.path.resolve().name} {verb} as eager PyTorch does"
    body = [
        f"<h1>{escape(title)}</h1>",
        _verdict(report),
        parts.facts(_facts(artifact, backend, device)),
    ]
    body += [*_parity(report), *_data_set(report.data_set), *_invariance(report), *_files(artifact)]
    write_atomically(path, parts.document(title, body).encode("utf-8"))


def _verdict(report: "Verification") -> str:
    if not report.ok:
        return parts.alert(f"Parity fails. {'; '.join(report.failures)}.")
    compared = len(report.parity.comparisons) + len(report.invariance) + 1
    return parts.alert(
        f"Parity holds: all {compared} comparisons stayed within the tolerance of "
        f"{report.parity.precision}.",
        kind="good",
    )


def _facts(artifact: Artifact, backend: str, device: str) -> Iterable[tuple[str, str]]:
    manifest = artifact.manifest
    now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds")
    shape = ", ".join(map(str, manifest.image_shape))
    yield "Verified", escape(words.moment(now))
    yield "Format", escape(f"{manifest.format}, {manifest.precision}")
    yield "Ran on", escape(f"{backend}, {device}")
    yield "Network", escape(f"images ({shape}), {manifest.classes} classes")
    tools = ", ".join(f"{words.name(name)} {version}" for name, version in manifest.tools.items())
    yield "Made by", escape(tools)
    yield "Version", escape(f"lenet-deploy {__version__}")
    yield "Artifact", _whole(artifact.digest)
    yield "Weights", _whole(manifest.weights_sha256)


def _whole(sha256: str) -> str:
    """All digits: a certificate is compared with, and may be printed."""
    return f'<code class="command">{escape(sha256)}</code>'


def _parity(report: "Verification") -> Iterable[str]:
    limit = report.parity.tolerance
    allowed = f"{limit.atol:.2g} plus {limit.rtol:.2g} of its row's largest output"
    yield "<h2>Difference from eager PyTorch</h2>"
    rows = [_row(c.inputs, c) for c in report.parity.comparisons]
    yield as_table(("images", *_HEADS), rows)
    yield (
        '<p class="note">Of the outputs of a batch: the largest and the mean difference; eager '
        "float32's own distance from float64, and the largest difference in units of it; the "
        f"largest share of what the tolerance allows, {allowed}; rows with the same answer.</p>"
    )


def _data_set(data_set: "DataSetReport") -> Iterable[str]:
    yield f"<h2>{escape(data_set.name)}</h2>"
    yield (
        f"<p>{data_set.comparison.batch_size:,} digits: {data_set.accuracy:.2%} right, eager "
        f"{data_set.eager_accuracy:.2%}; {len(data_set.flips):,} answers differ.</p>"
    )
    yield as_table(("images", *_HEADS), [_row(data_set.name, data_set.comparison)])
    flips = data_set.flips[:_MOST_FLIPS]
    if flips:
        cells = (
            (f"{f.index:,}", [str(f.label), str(f.eager), str(f.found), f"{f.margin:.3g}"])
            for f in flips
        )
        heads = ("index", "label", "eager", "artifact", "eager's margin")
        yield as_table(heads, [row(index, rest) for index, rest in cells])


def _invariance(report: "Verification") -> Iterable[str]:
    if not report.invariance:
        return
    yield "<h2>The same images in another batch</h2>"
    rows = [
        row(
            change.change,
            [
                "yes" if change.bitwise else "no",
                _shown(change.comparison.max_abs_diff, ".1e"),
                _shown(change.comparison.worst_share, ".1%"),
            ],
            kind="" if change.comparison.ok else "slower",
        )
        for change in report.invariance
    ]
    yield as_table(("batch", "equal to the bit", "max", "of tolerance"), rows)


def _files(artifact: Artifact) -> Iterable[str]:
    yield "<h2>Files</h2>"
    rows = [
        row_of(escape(name), [f"{entry.size:,}", _whole(entry.sha256)])
        for name, entry in artifact.manifest.files.items()
    ]
    yield as_table(("file", "bytes", "SHA-256"), rows)
    yield '<p class="note">The artifact\'s own digest is the SHA-256 of its manifest.json.</p>'


def _row(name: str, comparison: "Comparison") -> str:
    cells = [
        f"{comparison.batch_size:,}",
        _shown(comparison.max_abs_diff, ".1e"),
        _shown(comparison.mean_abs_diff, ".1e"),
        _shown(comparison.eager_error, ".1e"),
        _shown(comparison.eager_multiple, ".1f"),
        _shown(comparison.worst_share, ".1%"),
        _shown(comparison.top1_agreement, ".2%"),
    ]
    return row(name, cells, kind="" if comparison.ok else "slower")


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
