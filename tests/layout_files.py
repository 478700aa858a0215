"""The same small corpora written in every layout that is read, for the tests of `kdbench.data.layouts`."""

import csv
import gzip
import io
import json
import random
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

NAMES = {"Drug": ("caf\u00e9-mab", "vitamin B12", "metformin", "cafe\u0301-mab"), "Gene": ("IL-1\u03b2", "TNF-\u03b1")}
OTHERS = ("patient", "no", "daily", "pain", "took", "for", "the", "change", "nan", "O")
LETTERS = {"bio": "BIIB", "iobes": "BIES", "bilou": "BILU", "bmewo": "BMEW", "bmes": "BMES", "io": "IIII"}


def sentences(count, seed):
    """Sentences as (words, [(first word, end, type)]); no two entities touch."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        words, spans = [draw.choice(OTHERS)], []
        for _ in range(draw.randint(1, 4)):
            kind = draw.choice(list(NAMES))
            name = draw.choice(NAMES[kind]).split()
            spans.append((len(words), len(words) + len(name), kind))
            words += [*name, *draw.choices(OTHERS, k=draw.randint(1, 3))]
        made.append(([*words, "."], spans))
    return made


TRAIN, TEST = sentences(24, "train"), sentences(10, "test")


def tags(sentence, letters="BIIB"):
    """Tags by the letters of a first, middle, last and only word; empty: the bare type."""
    words, spans = sentence
    found = ["O"] * len(words)
    for first, end, kind in spans:
        for i in range(first, end):
            letter = letters[3 if end - first == 1 else 0 if i == first else 2 if i == end - 1 else 1] if letters else ""
            found[i] = f"{letter}-{kind}" if letters else kind
    return found


def characters(sentence):
    """The text, and the entities as (start, end, type, text) in characters."""
    words, spans = sentence
    starts = [len(" ".join(words[:i])) + (i > 0) for i in range(len(words))]
    text = " ".join(words)
    found = []
    for first, end, kind in spans:
        start, last = starts[first], starts[end - 1] + len(words[end - 1])
        found.append((start, last, kind, text[start:last]))
    return text, found


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# -- tag files ---------------------------------------------------------------------------------------------------------


def vertical(letters, row="{word}\t{tag}", begin="", end="\n", before=""):
    def write(path, corpus):
        text = begin
        for number, sentence in enumerate(corpus):
            text += before.format(number=number)
            for i, (word, tag) in enumerate(zip(sentence[0], tags(sentence, letters), strict=True), 1):
                text += row.format(word=word, tag=tag, i=i) + "\n"
            text += end
        return put(path, text)
    return write


def suffix(path, corpus):
    text = ""
    for sentence in corpus:
        for word, tag in zip(sentence[0], tags(sentence, "BIIB"), strict=True):
            text += f"{word}\t{tag if tag == 'O' else f'{tag[2:]}-{tag[0]}'}\n"
        text += "\n"
    return put(path, text)


def iob1(path, corpus):
    """I- everywhere, and one sentence more with two that touch (taken out by the test)."""
    text = "".join(f"{word} {tag}\n" if tag else "\n" for sentence in corpus
                   for word, tag in [*zip(sentence[0], tags(sentence, "IIII"), strict=True), ("", "")])
    return put(path, text)


def packed(write):
    def write_packed(path, corpus):
        content = write(path, corpus).read_bytes()
        path.unlink()
        return put(path.with_name(path.name + ".gz"), gzip.compress(content, mtime=0))
    return write_packed


def dos(path, corpus):
    content = vertical("BIIB")(path, corpus).read_bytes()
    return put(path, b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))


def rows_of_words(letters="BIIB", names=("tokens", "ner_tags")):
    return [lambda corpus: [{"id": str(i), names[0]: words, names[1]: tags((words, spans), letters)}
                            for i, (words, spans) in enumerate(corpus)]][0]


def json_lines(make):
    return lambda path, corpus: put(path, lines(make(corpus)))


def json_list(make, indent=None):
    return lambda path, corpus: put(path, json.dumps(make(corpus), ensure_ascii=False, indent=indent))


# -- span files --------------------------------------------------------------------------------------------------------


def doccano(name):
    def make(corpus):
        rows = []
        for i, (text, spans) in enumerate(map(characters, corpus)):
            rows.append({"id": i, "text": text, name: [list(span[:3]) for span in spans], "Comments": []})
        return rows
    return make


def doccano_relations(corpus):
    rows = []
    for i, (text, spans) in enumerate(map(characters, corpus)):
        entities = [{"id": n, "start_offset": s, "end_offset": e, "label": kind} for n, (s, e, kind, _) in enumerate(spans)]
        rows.append({"id": i, "text": text, "entities": entities, "relations": [{"from_id": 0, "to_id": 0, "type": "x"}]})
    return rows


def spacy2(corpus):
    return [[text, {"entities": [list(span[:3]) for span in spans]}] for text, spans in map(characters, corpus)]


def ner_annotator(path, corpus):
    return put(path, json.dumps({"classes": ["Drug", "Gene"], "annotations": [None, *spacy2(corpus)]}))


def prodigy(with_tokens):
    def make(corpus):
        rows = []
        for sentence in corpus:
            text, spans = characters(sentence)
            row = {"text": text, "_input_hash": 1,
                   "spans": [{"start": s, "end": e, "label": kind, "token_start": 0} for s, e, kind, _ in spans]}
            if with_tokens:
                at = [len(" ".join(sentence[0][:i])) + (i > 0) for i in range(len(sentence[0]))]
                row["tokens"] = [{"text": word, "start": start, "end": start + len(word), "id": i, "ws": True}
                                 for i, (word, start) in enumerate(zip(sentence[0], at, strict=True))]
            rows += [{**row, "answer": "accept"}, {**row, "answer": "reject"}, {**row, "answer": "ignore"}]
        return rows
    return make


def label_studio(corpus):
    rows = []
    for i, (text, spans) in enumerate(map(characters, corpus)):
        result = [{"from_name": "label", "to_name": "text", "type": "labels",
                   "value": {"start": s, "end": e, "text": own, "labels": [kind]}} for s, e, kind, own in spans]
        other = [{"result": [], "ground_truth": False, "was_cancelled": False}]
        rows.append({"id": i, "data": {"text": text}, "predictions": [],
                     "annotations": other * (i == 1) + [{"result": result, "ground_truth": i == 1, "was_cancelled": False}]})
    return [*rows, {"id": 999, "data": {"text": "skipped"}, "annotations": [{"result": [], "was_cancelled": True}]}]


def label_studio_min(corpus):
    rows = []
    for i, (text, spans) in enumerate(map(characters, corpus)):
        found = [{"start": s, "end": e, "text": own, "labels": [kind]} for s, e, kind, own in spans]
        row = {"id": i, "text": text, "label": found, "annotator": 1, "annotation_id": i, "lead_time": 1.5}
        rows += [row] * (1 + (i == 2))
    return rows


def label_studio_csv(path, corpus):
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["text", "id", "label", "annotator"])
    for row in label_studio_min(corpus):
        writer.writerow([row["text"], row["id"], json.dumps(row["label"], ensure_ascii=False), 1])
    return put(path, stream.getvalue())


def brat(path, corpus):
    for i, (text, spans) in enumerate(map(characters, corpus)):
        put(path / f"doc{i}.txt", text + "\n")
        found = "".join(f"T{n}\t{kind} {s} {e}\t{own}\n" for n, (s, e, kind, own) in enumerate(spans, 1))
        put(path / f"doc{i}.ann", f"{found}T90\tDrug 0 1;4 5\tx y\nR1\trel Arg1:T1 Arg2:T1\n#1\tAnnotatorNotes T1\tsure\n")
    return path


def pubtator(path, corpus):
    text = ""
    for i, (own, spans) in enumerate(map(characters, corpus)):
        text += f"{9000 + i}|t|\n{9000 + i}|a|{own}\n"
        text += "".join(f"{9000 + i}\t{s + 1}\t{e + 1}\t{word}\t{kind}\tD1\n" for s, e, kind, word in spans)
        text += f"{9000 + i}\tCID\tD1\tD2\n\n"
    return put(path, text)


def bioc(corpus):
    documents = []
    for i, (text, spans) in enumerate(map(characters, corpus)):
        found = [{"id": str(n), "infons": {"type": kind}, "text": own, "locations": [{"offset": s + 7, "length": e - s}]}
                 for n, (s, e, kind, own) in enumerate(spans)]
        documents.append({"id": str(i), "infons": {}, "relations": [], "passages": [
            {"offset": 0, "infons": {"type": "title"}, "text": "", "annotations": []},
            {"offset": 7, "infons": {"type": "abstract"}, "text": text, "annotations": found, "sentences": [], "relations": []}]})
    return documents


def bioc_file(path, corpus):
    return put(path, json.dumps({"source": "x", "date": "", "documents": bioc(corpus)}, indent=1))


def docbin(path, corpus):
    import spacy
    from spacy.tokens import Doc, DocBin, Span

    nlp = spacy.blank("en")
    found = DocBin()
    for words, spans in corpus:
        doc = Doc(nlp.vocab, words=[*words, "\n"])
        doc.ents = [Span(doc, first, end, label=kind) for first, end, kind in spans]
        found.add(doc)
    found.to_disk(path)
    return path


def rows_in_csv(path, rows, encoding="utf-8"):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return put(path, stream.getvalue().encode(encoding))


def kaggle(path, corpus):
    rows = [("Sentence #", "Word", "POS", "Tag")]
    for number, sentence in enumerate(corpus, 1):
        for i, (word, tag) in enumerate(zip(sentence[0], tags(sentence), strict=True)):
            rows.append((f"Sentence: {number}" if not i else "", word, "NN", tag))
    return rows_in_csv(path, rows)


def bioc_xml(path, corpus):
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n<collection><source>x</source>\n'
    for i, (own, spans) in enumerate(map(characters, corpus)):
        text += f"<document><id>{i}</id><passage><offset>7</offset><text>{escape(own)}</text>"
        for n, (start, end, kind, word) in enumerate(spans):
            text += (f'<annotation id="{n}"><infon key="type">{kind}</infon><location offset="{start + 7}" length="{end - start}"/>'
                     f"<text>{escape(word)}</text></annotation>")
        text += "</passage></document>\n"
    return put(path, text + "</collection>\n")


def words_in_rows(path, corpus):
    rows = [("sentence_id", "words", "labels")]
    for number, sentence in enumerate(corpus):
        rows += [(number, *pair) for pair in zip(sentence[0], tags(sentence, "BILU"), strict=True)]
    return rows_in_csv(path, rows)


# -- tables, columnar files and folders --------------------------------------------------------------------------------


def dataset(corpus, classes=("O", "B-Drug", "I-Drug", "B-Gene", "I-Gene")):
    import datasets

    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")),
                                  "ner_tags": datasets.List(datasets.ClassLabel(names=list(classes)))})
    return datasets.Dataset.from_dict({"tokens": [words for words, _ in corpus], "ner_tags": [tags(one) for one in corpus]},
                                      features=features)


def saved(path, corpus):
    dataset(corpus).save_to_disk(str(path))
    return path


def parquet(path, corpus):
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(corpus).to_parquet(str(path))
    return path


def feather(path, corpus):
    from pyarrow import feather as library

    library.write_feather(dataset(corpus).data.table, str(path))
    return path


def arrow_stream(path, corpus):
    import pyarrow

    table = dataset(corpus).data.table
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return path


def hub_folder(path, corpus):
    half = len(corpus) // 2
    parquet(path / "data" / "train-00000-of-00002.parquet", corpus[:half])
    parquet(path / "data" / "train-00001-of-00002.parquet", corpus[half:])
    put(path / "README.md", "about training")
    return path


TAGGED = {
    "bio": vertical("BIIB"), "iobes": vertical("BIES"), "bilou": vertical("BILU"), "bmewo": vertical("BMEW"), "bmes": vertical("BMES"),
    "bare": vertical(""), "io": vertical("IIII"), "suffix": suffix,
    "blanks": vertical("BIIB", "{word} {tag}"), "bilou in blanks": vertical("BILU", "{word} {tag}"),
    "header": vertical("", begin="word\ttag\n"), "dos": dos, "gzip": packed(vertical("BILU")),
    "three columns": vertical("", "{word}\tNN\t{tag}"),
    "conll2003": vertical("BIIB", "{word} NN B-NP {tag}", begin="-DOCSTART- -X- -X- O\n\n"),
    "label studio conll": vertical("BIIB", "{word} -X- _ {tag}", begin="-DOCSTART- -X- O\n"),
    "universal": vertical("BIIB", "{i}\t{word}\t{tag}\t-\t-", before="# sent_id = {number}\n# text = a b\n"),
    "multiconer": vertical("BIIB", "{word} _ _ {tag}", before="# id {number}\tdomain=en\n", end="\n\n"),
    "json lines": json_lines(rows_of_words()), "json lines, bilou": json_lines(rows_of_words("BILU")),
    "json lines, bare": json_lines(rows_of_words("", ("words", "tags"))), "json list": json_list(rows_of_words()),
    "doccano": json_lines(doccano("label")), "doccano labels": json_lines(doccano("labels")),
    "doccano entities": json_lines(doccano("entities")), "doccano relations": json_lines(doccano_relations),
    "doccano list": json_list(doccano("label"), 1), "spacy 2": json_list(spacy2), "ner-annotator": ner_annotator,
    "doccano, gzip": packed(json_lines(doccano("label"))),
    "prodigy": json_lines(prodigy(False)), "prodigy with tokens": json_lines(prodigy(True)),
    "label studio": json_list(label_studio, 1), "label studio on one line": json_list(label_studio),
    "label studio lines": json_lines(label_studio),
    "label studio min": json_list(label_studio_min, 1), "label studio csv": label_studio_csv,
    "brat": brat, "pubtator": pubtator, "bioc": bioc_file, "bioc lines": json_lines(bioc), "docbin": docbin,
    "kaggle": kaggle, "words in rows": words_in_rows, "bioc xml": bioc_xml, "bioc xml, gzip": packed(bioc_xml),
    "saved dataset": saved, "parquet": parquet, "feather": feather, "arrow stream": arrow_stream, "hub folder": hub_folder,
}


# -- texts with labels -------------------------------------------------------------------------------------------------

TEXTS = ("severe chest pain, since \"morning\"", "wants a prescription; for tablets", "\ud638\ud761\uace4\ub780 dyspnea", "control visit | none")
LABELS = ("urgent", "routine", "urgent", "routine")
SEVERAL = (("pain", "urgent"), ("routine",), ("urgent",), ("routine",))


def texts(count):
    return [(f"{TEXTS[i % 4]} ({i})", LABELS[i % 4]) for i in range(count)]


def several(count):
    return [(f"{TEXTS[i % 4]} ({i})", SEVERAL[i % 4]) for i in range(count)]


def table(delimiter=",", quoting=csv.QUOTE_MINIMAL, header=True, encoding="utf-8", label=str):
    def write(path, rows):
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n")
        if header:
            writer.writerow(["text", "label"])
        for text, own in rows:
            writer.writerow([text, label(own)])
        return put(path, stream.getvalue().encode(encoding))
    return write


def literal_tsv(path, rows):
    return put(path, "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))


def objects(label=lambda own: own, name="label", **more):
    return lambda rows: [{"id": i, "text": text, name: label(own), **more} for i, (text, own) in enumerate(rows)]


def choices(rows):
    made = []
    for i, (text, own) in enumerate(rows):
        own = [own] if isinstance(own, str) else list(own)
        made.append({"id": i, "data": {"note": text, "url": "x"}, "annotations": [
            {"result": [{"type": "choices", "from_name": "c", "to_name": "note", "value": {"choices": own}}]}]})
    return made


def choices_min(rows):
    made = []
    for i, (text, own) in enumerate(rows):
        own = own if isinstance(own, str) or len(own) > 1 else own[0]
        made.append({"id": i, "text": text, "sentiment": own if isinstance(own, str) else {"choices": list(own)}, "annotator": 1})
    return made


def frame(how, label=str):
    def write(path, rows):
        import pandas

        path.parent.mkdir(parents=True, exist_ok=True)
        data = pandas.DataFrame({"text": [text for text, _ in rows], "label": [label(own) for _, own in rows]})
        getattr(data, how)(path)
        return path
    return write


def saved_texts(path, rows):
    import datasets

    found = sorted(Counter(label for _, label in rows), reverse=True)
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=[*found, "never"])})
    made = datasets.Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]}, features=features)
    made.save_to_disk(str(path))
    return path


def categories(path, rows):
    import spacy
    from spacy.tokens import DocBin

    nlp = spacy.blank("en")
    found = DocBin(store_user_data=True)
    for text, own in rows:
        doc = nlp.make_doc(text)
        doc.cats = {name: float(name == own) for name in ("urgent", "routine")}
        found.add(doc)
    found.to_disk(path)
    return path


def folder_of_csv(path, rows):
    table()(path / "train.csv", rows)
    return path


SINGLE = {
    "csv": table(), "csv without header": table(header=False), "semicolons": table(";"), "csv, all quoted": table(quoting=csv.QUOTE_ALL),
    "csv, gzip": packed(table()), "tsv, quotes are text": literal_tsv,
    "tsv, all quoted": table("\t", csv.QUOTE_ALL), "tsv, quoted where needed": table("\t"),
    "tsv, quoted without header": table("\t", csv.QUOTE_ALL, header=False),
    "json lines": json_lines(objects()), "json list": json_list(objects()), "json list in lines": json_list(objects(), 2),
    "doccano": json_lines(objects(lambda own: [own], Comments=[])), "json lines, gzip": packed(json_lines(objects())),
    "label studio": json_list(choices), "label studio min": json_list(choices_min, 1),
    "parquet": frame("to_parquet"), "feather": frame("to_feather"), "docbin": categories, "folder of csv": folder_of_csv,
    "saved dataset": saved_texts,
}
MULTI = {
    "python lists": table(label=lambda own: str(list(own))), "json lists": table(label=lambda own: json.dumps(list(own))),
    "semicolons": table(label=";".join), "bars": table(label=" | ".join), "bars in tsv": table("\t", label="|".join),
    "json lines": json_lines(objects(list)), "json labels": json_lines(objects(list, "labels")),
    "label studio": json_list(choices), "label studio min": json_list(choices_min), "parquet": frame("to_parquet", list),
}
VECTOR_NAMES = ("pain", "routine", "urgent")


def vector(kind):
    return lambda own: [kind(name in own) for name in VECTOR_NAMES]


VECTORS = {
    "floats": json_lines(objects(vector(float), "labels")), "booleans": json_lines(objects(vector(bool), "labels")),
    "whole numbers": json_lines(objects(vector(int), "labels")), "floats in csv": table(label=lambda own: str(vector(float)(own))),
    "floats in parquet": frame("to_parquet", vector(float)),
}


def named(folder, name):
    """A path of no telling ending for the layout `name`."""
    return Path(folder) / f"{''.join(filter(str.isalnum, name))}.data"
