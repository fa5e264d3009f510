"""Our own CUDA kernels on the driver alone."""
