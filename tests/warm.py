"""Imported by the fork server of `fresh`: what loading any model computes once in a process."""

import contextlib
import io
import tempfile

import torch
import tqdm
from transformers import BertConfig, BertForSequenceClassification

tqdm.tqdm.monitor_interval = 0  # the thread that watches bars would be there when the server forks
with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(), contextlib.redirect_stderr(io.StringIO()):
    config = BertConfig(vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    BertForSequenceClassification(config).save_pretrained(folder)
    BertForSequenceClassification.from_pretrained(folder, local_files_only=True)
