"""A trained student outside of its training: loading, prediction, export to ONNX and int8, latency
and size, the model card.

Imports base to train.
"""
