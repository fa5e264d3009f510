"""KServe's SDK knows every field of its own in what `package --target kserve` writes.

    python kserve_models_trial.py FOLDER

What lies below them is Kubernetes', which tests/deploy/test_package_targets.py looks at.
"""

import sys
from pathlib import Path

import yaml
from kserve import models

SHAPES = {
    "runtime.yaml": ("V1alpha1ServingRuntime", {
        "spec": ("V1alpha1ServingRuntimeSpec", {
            "supportedModelFormats": ("V1alpha1SupportedModelFormat", {}),
        }),
    }),
    "service.yaml": ("V1beta1InferenceService", {
        "spec": ("V1beta1InferenceServiceSpec", {
            "predictor": ("V1beta1PredictorSpec", {
                "model": ("V1beta1ModelSpec", {
                    "modelFormat": ("V1beta1ModelFormat", {}),
                }),
            }),
        }),
    }),
}  # fmt: skip


def unknown(document, model, parts):
    """The fields of a document that its model, and those of its parts, do not have."""
    if isinstance(document, list):
        return [name for item in document for name in unknown(item, model, parts)]
    found = [name for name in document if name not in getattr(models, model).attribute_map.values()]
    for name, shape in parts.items():
        found += unknown(document[name], *shape)
    return found


for name, shape in SHAPES.items():
    document = yaml.safe_load(Path(sys.argv[1], name).read_text())
    assert not unknown(document, *shape), f"{name}: {unknown(document, *shape)}"
    document["spec"]["predictro"] = {}
    assert unknown(document, *shape) == ["predictro"], "the check takes anything"
print("KServe's SDK knows every field of both files.")
