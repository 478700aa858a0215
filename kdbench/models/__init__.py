"""Encoders and students: the zoo of names and what they stand for, loading and building, heads,
tokenizers, the BiLSTM, conversion of older weights.

Imports base, data.
"""
