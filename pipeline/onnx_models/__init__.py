"""ONNX files run by onnxruntime, an optional library. Knows files and tensors; nothing of facts or decisions."""
