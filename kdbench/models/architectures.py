"""The model types that transformers lacks: the BiLSTM, and an encoder under DSG-KD's classifier.

`import kdbench.models.architectures` makes the Auto classes know them. A process that only loads a
trained student never meets the method that made it, so everything that loads a folder imports this
first.
"""

from kdbench.models import bilstm, gelu_head

TYPES = (bilstm.BiLSTMConfig.model_type, gelu_head.GeluHeadConfig.model_type)
