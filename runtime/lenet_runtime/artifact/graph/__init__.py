"""What an ONNX graph must be for its artifact to be data: read, and followed, before it runs."""
