"""`export`: from a module to a published artifact, through proof; the order is the promise."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lenet_export import formats, publish, single
from lenet_export.network import independence, shapes, weights
from lenet_export.network.reference import Reference
from lenet_export.proof import check_batch_sizes, mnist_batch, proof_batches, proof_sizes, prove
from lenet_export.request import Build, Request, check_static_batch
from lenet_runtime import __version__, devices
from lenet_runtime.artifact import (
    GOLDEN_NAME,
    IMAGES,
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Artifact,
    FileEntry,
    Manifest,
    TensorSpec,
    golden,
    trust,
)
from lenet_runtime.artifact.files import sha256
from lenet_runtime.backends import choose
from lenet_runtime.errors import InputError
from lenet_runtime.formats import Format, find
from lenet_runtime.images.digits import SIDE as MNIST_SIDE
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.loading import load
from lenet_runtime.parity import BATCH_SIZES, TOLERANCES, ParityReport, check_parity
from lenet_runtime.session import Session

GOLDEN_ROWS = 8
# The largest logit of a network; 2**30 above float32's least normal number, whose relative
# precision its activations and their products then still have.
LEAST_LOGIT = 2.0**-96


def export(
    module: nn.Module,
    format: str,
    output: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    static_batch: int | None = None,
    device: str | None = None,
    verify: bool = True,
    force: bool = False,
    input_shape: tuple[int, int, int] | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    progress: Callable[[str], None] = lambda step: None,
    **options: Any,
) -> Artifact:
    """Compile a module, prove that the result answers as the module does, and publish it.

    The module itself is left as it is, in its mode and on its device; the export is of a copy in
    eval mode. Nothing appears at `output` unless everything succeeded.

    Args:
        module: float32 images ``(N, C, H, W)`` in, C 1 or 3; logits ``(N, K)`` out, K from 2 to
            1,000, or their softmax or log_softmax, which then is what the artifact answers.
        format: a key of `FORMATS`.
        output: the artifact's folder.
        precision: of the arithmetic, one of the format's.
        static_batch: the only batch size it will take; None for any.
        device: to prove it on, and to compile for where the format compiles for one: ``cpu``,
            ``cuda`` or ``cuda:N``. None for the format's first, the CPU where it has one.
        verify: prove it. Without, for a machine that lacks the GPU, the artifact says that nobody
            has, and is not loaded until ``lenet-deploy verify --record`` has on a machine with
            one. Only for what runs on GPUs alone: such formats, and ``tf32``.
        force: replace an artifact that is at `output`.
        input_shape: ``(C, H, W)``; None to find it out: C is what the first convolution takes,
            and H and W are 32, or 28 where the module does not take 32.
        preprocessing: how pixels become the input; None for MNIST's mean and std, with the padding
            that makes 28 pixels into H.
        labels: the K classes; None for ``0`` to K - 1.
        batch_sizes: to verify at, and at all that reach whatever else the engine does with a
            batch, see `proof.proof_sizes`; a static batch is verified at its own.
        progress: called with a line before each step that takes a while.
        **options: of the format, see `lenet_runtime.formats.FORMATS`: ``opset`` of ``onnx``,
            ``target``, ``isa``, ``prefix`` and ``calibration`` of ``native``.

    Raises:
        InputError: an argument is wrong, weights are not finite, or the module fails, its output
            is not float32 ``(N, K)``, an image's logits depend on the images beside it, or all
            are below `LEAST_LOGIT`.
        ArtifactError: `output` is in the way or cannot be written.
        BackendUnavailable: what builds or verifies this format is not installed.
        ParityError: the result differs from the module; nothing was published.
    """
    declared = find(format)
    declared.require_options(options, precision)
    on = _device(declared, precision, device, verify=verify)
    check_static_batch(static_batch)
    check_batch_sizes(batch_sizes)
    target = Path(output)
    if target.name in ("", ".."):
        raise InputError(f"output: expected the name of a new folder, found {str(target)!r}")
    if single.is_file(target):
        raise InputError(
            f"output: expected the artifact's folder, found the name of a file, {str(target)!r}; "
            f"pass {str(target.with_suffix(''))!r}, which then holds {' and '.join(declared.files)}"
        )
    publish.check_target(target, force)
    publish.check_parent(target)
    reference = Reference(module)
    weights.require_finite(reference.module)
    image_shape = shapes.find(reference, input_shape, static_batch)
    request = Request(
        module=reference.module,
        format=format,
        precision=precision,
        device=on,
        static_batch=static_batch,
        preprocessing=preprocessing or _mnist_preprocessing(image_shape),
        labels=_labels(labels, shapes.classes(reference, image_shape, static_batch or 2)),
        batch_sizes=tuple(batch_sizes),
        options=options,
        image_shape=image_shape,
    )
    raw = load_digits().images
    digits = mnist_batch(raw, request.preprocessing, image_shape)
    _check_scale(reference, digits, static_batch)
    independence.require(reference, digits, static_batch)
    some = np.resize(digits, (static_batch or len(digits), *image_shape))
    request = dataclasses.replace(request, output=shapes.output_name(reference, some))
    # Before the build: what cannot be proven is not made.
    backend = choose(format, "auto", str(request.device)) if verify else None
    progress(f"building {format}")
    build = formats.build(request)
    with publish.staging(target) as folder:
        files = build.files | {GOLDEN_NAME: _golden(reference, digits, static_batch)}
        manifest = _manifest(request, build, files)
        publish.write_files(folder, files | {MANIFEST_NAME: manifest.to_bytes()})
        if backend is not None:
            draft, device = Artifact.open(folder), str(request.device)
            # As a user's process will.
            with _session(draft, backend, device, build) as session:
                sizes = proof_sizes(session, request.batch_sizes)
                progress(f"verifying with {backend} at batch sizes {', '.join(map(str, sizes))}")
                batches = proof_batches(session, digits, sizes)
                report = prove(session, reference, batches, raw)
            report.require(f"{format} on {backend}")
            if request.device.kind == "cpu" and build.emulator is None:
                # Recorded is what one thread answers, which no machine's number of cores changes.
                with _session(draft, backend, device, build, threads=1) as session:
                    report = check_parity(
                        session.run, reference.eager, reference.exact, batches, precision,
                        output=request.output,
                    )  # fmt: skip
                report.require(f"{format} on {backend}, in one thread,")
            proven = dataclasses.replace(manifest, parity=report)
            publish.write_files(folder, {MANIFEST_NAME: proven.to_bytes()})
        artifact = publish.publish(folder, target, force)
    if not manifest.runs_code and (reason := trust.reason(artifact)):
        progress(f"other processes load it with trust=True alone: {reason}")
    trust.remember(artifact)
    return artifact


def _session(
    artifact: Artifact, backend: str, device: str, build: Build, threads: int | None = None
) -> Session:
    """The artifact as a user's process will load it, or as the build's emulator runs it here."""
    if build.emulator is None:
        return load(artifact, backend, device, threads, trust=True, unproven=True)
    session = Session(build.emulator(artifact), artifact, backend, device=device)
    golden.self_test(session.run, artifact, backend, (1,))
    return session


def _device(
    declared: Format, precision: str, device: str | None, *, verify: bool
) -> devices.Device:
    """The device that the artifact is made for and proven on."""
    kinds = declared.kinds(precision)
    chosen = devices.parse(device or kinds[0])
    if chosen.kind not in kinds:
        raise InputError(
            f"device: {declared.name!r} artifacts in {precision} run on {' and '.join(kinds)}, "
            f"found {device!r}"
        )
    if not verify and "cpu" in kinds:
        raise InputError(
            f"verify: {declared.name!r} artifacts in {precision} can be proven on any machine; "
            "only what runs on GPUs alone is published without proof"
        )
    return chosen


def _mnist_preprocessing(image_shape: tuple[int, int, int]) -> Preprocessing:
    """MNIST's numbers, with the padding that makes its 28x28 digits into images of this shape."""
    _, height, width = image_shape
    missing = height - MNIST_SIDE
    fits = height == width and missing >= 0 and missing % 2 == 0
    return Preprocessing(padding=missing // 2 if fits else 0)


def _labels(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if labels is None:
        return tuple(map(str, range(classes)))
    if isinstance(labels, str) or len(labels) != classes:
        found = repr(labels) if isinstance(labels, str) else f"{len(labels)} of them"
        raise InputError(
            f"labels: expected {classes} strings, one for each class of the module, found {found}"
        )
    return tuple(labels)


def _check_scale(
    reference: Reference, digits: NDArray[np.float32], static_batch: int | None
) -> None:
    """Refuse logits so small that float32 rounds them to few bits or to nothing."""
    logits = reference.eager(np.resize(digits, (static_batch or len(digits), *digits.shape[1:])))
    largest = float(np.abs(logits).max())
    if largest < LEAST_LOGIT:
        raise InputError(
            f"module: expected logits of {LEAST_LOGIT:.1g} at least, found none above "
            f"{largest:.3g} on real digits, where float32 cannot tell them apart; "
            "scale the last layer's weights and bias up"
        )


def _golden(reference: Reference, digits: NDArray[np.float32], static_batch: int | None) -> bytes:
    """A few real digits and their logits; of a static artifact, one whole batch."""
    shape = (static_batch or GOLDEN_ROWS, *digits.shape[1:])
    images = np.ascontiguousarray(np.resize(digits[:: len(digits) // GOLDEN_ROWS], shape))
    return golden.write(images, reference.eager(images))


def _manifest(request: Request, build: Build, files: dict[str, bytes]) -> Manifest:
    """What the artifact is, before anybody has proven it."""
    batch = request.static_batch
    return Manifest(
        schema_version=SCHEMA_VERSION,
        format=request.format,
        precision=request.precision,
        kernels=build.kernels,
        inputs=(TensorSpec(IMAGES, "float32", (batch, *request.image_shape)),),
        outputs=(TensorSpec(request.output, "float32", (batch, len(request.labels))),),
        preprocessing=request.preprocessing,
        labels=request.labels,
        files={name: FileEntry(sha256(data), len(data)) for name, data in sorted(files.items())},
        requirements=build.requirements,
        tools={"lenet-deploy": __version__} | build.tools,
        weights_sha256=request.weights_sha256,
        parity=ParityReport(request.precision, TOLERANCES[request.precision], ()),
    )
