"""A trained student outside of its training: labels and texts, prediction, export to ONNX and int8,
latency and size, the model card.

Imports base to train.
"""
