"""The code of a card for texts that are read in windows; it takes the place of parts of
`kdbench.serve.onnx_example`.
"""

from __future__ import annotations

from kdbench.serve.labels import Labels

# before the models
CHECK = '''
if tokenizers.__version__ in ("0.23.1", "0.23.2"):  # which lose all but a text's first window
    raise SystemExit("pip install 'tokenizers>=0.23.3'")

'''

# how a text has several encodings
WINDOWS = '''

def windows_of(tokenizer, text, pair=None):  # a first text of two is whole in each window
    strategy = "longest_first" if pair is None else "only_second"
    tokenizer.enable_truncation(**{**tokenizer.truncation, "strategy": strategy})
    encoded = tokenizer.encode(text, pair)
    return [encoded, *encoded.overflowing]
'''

TEXT = '''

def logits_of_text(text, pair=None):
    rows = [logits_of(window) for window in windows_of(tokenizer, text, pair)]
    return {pooled}
'''

MEMBER_TEXT = '''

def logits_of_text(tokenizer, session, text, pair=None):
    rows = [logits_of(session, window) for window in windows_of(tokenizer, text, pair)]
    return {pooled}
'''

POOLED = {
    "mean": "np.mean(rows, axis=0)",
    "max": "np.max(rows, axis=0)",
    "max, single": "np.max([np.log(softmax(row)) for row in rows], axis=0)",
}

TAGS = '''

def tags_of(words):  # a word has the tag of its first piece, in the window with most around it
    encoded = tokenizer.encode(words, is_pretokenized=True)
    begin, first, best = 0, {{}}, {{}}
    for window in [encoded, *encoded.overflowing]:
        labels = logits_of(window).argmax(-1)
        places = {{}}
        for place, word in enumerate(window.word_ids):
            if word is not None:
                places.setdefault(word, []).append(place)
        inner = [place for own in places.values() for place in own]
        for word, own in places.items():
            rank = (len(own), min(own[0] - inner[0], inner[-1] - own[-1]))
            start = begin + own[0] - inner[0]
            if first.setdefault(word, start) == start and rank > best.get(word, ((0, 0), ""))[0]:
                best[word] = rank, about["labels"][labels[own[0]]]
        begin += len(inner) - about["stride"]
    return [best[word][1] if word in best else "O" for word in range(len(words))]


def answer(text):
    spans = [match.span() for match in re.finditer({pattern}, text)]  # {about}
    words = {words}
    found, open_type = [], None  # the type of an entity that the next word may continue
    for tag, (start, end) in zip(tags_of(words), spans):
        prefix, _, name = tag.partition("-")
        if prefix in ("I", "E") and name == open_type:
            found[-1]["end"] = end
        elif prefix != "O":
            found.append({{"type": name, "start": start, "end": end}})
        open_type = name if prefix in ("B", "I") else None
    return [{{"text": text[entity["start"]:entity["end"]], **entity}} for entity in found]
'''


def logits_of_text(labels: Labels) -> str:
    """The code of a text's logits; empty where it is cut, and of a tagger."""
    if labels.stride is None or labels.task_type == "tags":
        return ""
    pooled = POOLED[labels.pooling]
    if labels.pooling == "max" and labels.task_type == "single":
        pooled = POOLED["max, single"]
    return WINDOWS + (MEMBER_TEXT if labels.members else TEXT).format(pooled=pooled)
