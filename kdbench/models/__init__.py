"""Encoders and students: the zoo of names, loading and building, the BiLSTM, vocabularies,
conversion of foreign weights.

Imports base, data.
"""
