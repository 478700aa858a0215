"""What every other wing stands on: errors, hashes, folders, progress, registries, options, the
machine's lock, figures as text, and which code made a figure. No torch, no task, no model.

Imports nothing of the project.
"""
