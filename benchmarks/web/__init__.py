"""Ours against onnxruntime-web's wasm backend: in Node and in Chromium, one thread, in turns."""
