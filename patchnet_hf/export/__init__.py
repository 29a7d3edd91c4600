"""Export: ONNX configuration, self-contained graphs, and the registration with optimum."""
