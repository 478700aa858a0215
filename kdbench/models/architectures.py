"""The model types that transformers lacks: the BiLSTM, and those that methods bring.

`import kdbench.models.architectures` makes the Auto classes know them. A process that only loads a
trained student never meets the method that made it, so everything that loads a folder imports this
first. The methods' own modules are named in their index; each registers its classes when it is
imported.
"""

import importlib

from kdbench.base.registry import attribute
from kdbench.models import bilstm  # noqa: F401  (registers itself)

for module in attribute("kdbench.methods.index:ARCHITECTURES"):
    importlib.import_module(module)
