"""TorchScript archives and AOTInductor packages on PyTorch."""
