"""From records to what people read: rows, columns, differences, tables, plots, the page, studies,
published figures, and `verify`.

Imports base to runs.
"""
