"""ONNX Runtime on the CPU, on CUDA and on TensorRT."""
