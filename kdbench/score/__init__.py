"""From predictions to figures: metrics with their counts by unit, and the statistics of
differences.

Imports base, data, models.
"""
