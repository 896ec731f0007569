"""The runtimes of this machine: LiteRT, ONNX Runtime, NumPy."""
