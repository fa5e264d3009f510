"""Reading a module: its graph, its layers and weights, eager's answers, quantization."""
