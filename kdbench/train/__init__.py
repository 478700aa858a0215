"""From examples to weights: the protocol's settings, objectives and losses, batches, masked words,
teacher signals, the training loop, and the lab: what a method works with.

Imports base, data, models, score.
"""
