"""Models exported to ONNX: exported once with torch, then run without it."""
