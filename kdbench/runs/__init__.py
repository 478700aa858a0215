"""From a request to a record: suites, cells, the runner and its engines, the results folder,
provenance, plugins, `pretrain`.

Imports base to serve.
"""
