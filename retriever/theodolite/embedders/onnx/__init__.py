"""Models of the sentence-transformers library on onnxruntime: export once, then run without torch."""
