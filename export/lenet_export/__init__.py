"""The export layer: a torch module becomes a verified artifact on disk.

    import lenet_export

    artifact = lenet_export.export(net, "onnx", "artifacts/onnx-fp32")
"""

from lenet_export.pipeline import FORMATS, Format, export

__all__ = ["FORMATS", "Format", "export"]
