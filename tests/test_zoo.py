"""Encoders that have a name, and every architecture of theirs as a tiny model: read, cut, masked, grown, saved."""

import hashlib
import random
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors import safe_open
from transformers import CONFIG_MAPPING
from transformers.masking_utils import (
    bidirectional_mask_function,
    sliding_window_bidirectional_mask_function,
)

from kdbench.base.errors import BadInput
from kdbench.base.registry import Entry
from kdbench.data.words import word_prefix
from kdbench.models.encoders import ENCODERS, NO, UNKNOWN, YES, encoder_of
from kdbench.models.heads import Head
from kdbench.models.layers import cut, layers_of
from kdbench.models.load import Model, build
from kdbench.models.sizes import architecture
from kdbench.models.sources import Source, resolve
from kdbench.models.tokenizer import STYLES, train_tokenizer
from kdbench.models.vocabulary import change_vocabulary, expand
from kdbench.models.zoo import MODELS, TINY, position_limit, tiny
from kdbench.runs.listing import everything, render, show
from kdbench.train import masks
from kdbench.train.batching import Corpus, takes_types
from kdbench.train.mlm import lm_logits
from kdbench.train.stage_cache import write_stage
from kdbench.train.weights import save_weights

TEXTS = ["aspirin inhibits the kinase COX-2 in patients with fever", "the gene binds a drug; 38.5 C for three days and more",
         "no effect was seen in the second group of patients, who had no fever at all"] * 5
HEAD = Head("single", ("no", "yes"))
NEW = tuple(kind for kind in TINY if kind not in ("bert", "roberta", "albert", "deberta", "distilbert"))
WORDPIECE = tuple(kind for kind in TINY if STYLES.get(kind) is None or STYLES[kind].pieces == "wordpiece")


def model_of(kind: str, head: Head = HEAD, seed: int = 0, **changes) -> Model:
    """A tiny model; `changes` are entries of its configuration."""
    source = resolve(f"tiny:{kind}")
    recipe = replace(source.recipe, config={**source.recipe.config, **changes})
    return build(replace(source, recipe=recipe), head, seed=seed, texts=lambda: TEXTS)


def batch_of(model: Model, texts=TEXTS[:3]) -> dict[str, torch.Tensor]:
    return dict(model.tokenizer(list(texts), padding=True, return_tensors="pt", return_token_type_ids=takes_types(model.module)))


# --- names and facts --------------------------------------------------------------------------------

ASKED = {  # what the users of the benchmark have
    "biomedbert", "biomedbert-abstract", "biolinkbert", "scibert", "sapbert", "bluebert", "bioclinical-modernbert", "modernbert",
    "ettin-17m", "ettin-32m", "ettin-68m", "ettin-150m", "mpnet", "minilm-l12", "electra-small", "electra-base", "mobilebert",
    "bioformer-8l", "bioformer-16l", "distilbiobert", "biodistilbert", "compactbiobert", "biomobilebert", "tinybiobert",
    "clinicaldistilbert", "multilingual-e5-small", "multilingual-minilm", "eurobert",
}


def test_the_encoders_that_people_have_are_there_with_their_facts():
    assert set(MODELS.names()) >= ASKED
    for name, encoder in ENCODERS.items():
        recipe = MODELS.get(name)
        assert recipe.hub == encoder.hub and recipe.lr == encoder.lr and not recipe.config
        assert bool(encoder.hub) != bool(recipe.origin), name
        assert re.fullmatch(r"([\w.-]+/)?[\w.-]+", encoder.hub) or not encoder.hub
        assert {encoder.abstracts, encoder.notes} <= {YES, NO, UNKNOWN} and encoder.licence and encoder.read, name
        assert 1e-5 <= encoder.lr <= 3e-4 and (encoder.millions == 0 or 10 < encoder.millions < 500)
    assert {encoder.kind for encoder in ENCODERS.values()} <= set(TINY)
    assert len({encoder.hub for encoder in ENCODERS.values()}) == len(ENCODERS)


def test_the_names_from_before_stand_for_what_they_did():
    before = {"bert": "bert-base-uncased", "mbert": "bert-base-multilingual-uncased", "cbert": "emilyalsentzer/Bio_ClinicalBERT",
              "roberta": "roberta-base", "roberta-large": "roberta-large", "bio_roberta": "allenai/biomed_roberta_base",
              "bio_mbert": "StivenLancheros/mBERT-base-Biomedical-NER", "biobert": "dmis-lab/biobert-base-cased-v1.1",
              "albert-xlarge-v2": "albert-xlarge-v2", "minilm": "sentence-transformers/all-MiniLM-L6-v2",
              "deberta-v3-xsmall": "microsoft/deberta-v3-xsmall", "kobert": "kykim/bert-kor-base"}
    rates = {"bert": 3e-5, "mbert": 3e-5, "cbert": 3e-5, "roberta": 2e-5, "roberta-large": 1e-5, "bio_roberta": 2e-5, "bio_mbert": 3e-5,
             "biobert": 2e-5, "albert-xlarge-v2": 1e-5, "minilm": 1e-4, "deberta-v3-xsmall": 5e-5, "kobert": 1e-5, "minilm-pubmed": 1e-4}
    assert {name: MODELS.get(name).hub for name in before} == before
    assert {name: MODELS.get(name).lr for name in rates} == rates
    assert "pretrain" in MODELS.get("minilm-pubmed").origin


def test_list_and_show_say_size_licence_and_what_was_read():
    listed = {row["name"]: row for row in everything()["models"]}
    assert listed["biomedbert"]["millions"] == 109 and listed["biomedbert"]["licence"] == "MIT" and listed["biomedbert"]["abstracts"] == YES
    assert listed["biobert"]["licence"] is None and "hub" not in listed["tiny:bert"]
    text = render({"models": everything()["models"]})
    assert "BioLinkBERT base (108 M, Apache-2.0)" in text and "licence not known" in text
    shown = show("pubmedbert")
    assert "BiomedBERT" in shown and "109 M, MIT" in shown and "biomedical abstracts: yes" in shown
    assert encoder_of("bionlp/bluebert_pubmed_mimic_uncased_L-12_H-768_A-12").notes == YES and encoder_of("") is None


# --- every architecture -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
def test_hidden_states_attention_and_the_masked_lm_head_can_be_read(kind):
    model = model_of(kind)
    module, inputs = model.module.eval(), batch_of(model)
    usual = module.config._attn_implementation
    with torch.inference_mode():
        outputs = module(**inputs, output_hidden_states=True)
        module.set_attn_implementation("eager")
        eager = module(**inputs, output_attentions=True)
        last = module.base_model(**inputs).last_hidden_state
    assert len(outputs.hidden_states) == 3 and len(eager.attentions) == 2
    assert torch.allclose(outputs.logits, eager.logits, atol=1e-5)
    assert torch.allclose(outputs.hidden_states[-1], last, atol=1e-5)
    real = inputs["attention_mask"].bool()
    assert torch.allclose(eager.attentions[0].sum(-1)[:, 0][real], torch.ones(int(real.sum())), atol=1e-5)
    masked = model_of(kind, Head("mlm")).module.eval()
    with torch.inference_mode():
        assert torch.allclose(lm_logits(masked, masked.base_model(**inputs).last_hidden_state), masked(**inputs).logits, atol=1e-5)
        module.set_attn_implementation(usual)
        alone = torch.cat([module(**batch_of(model, [text])).logits for text in TEXTS[:3]])
    assert torch.allclose(outputs.logits, alone, atol=1e-5)  # padding decides nothing
    config, tokenizer = module.config, model.tokenizer
    for role in ("bos", "eos", "cls", "sep", "mask", "pad"):
        found = getattr(config, f"{role}_token_id", None)
        assert found is None or found < len(tokenizer), role
    assert config.pad_token_id == tokenizer.pad_token_id and tokenizer.mask_token_id is not None
    assert config.model_type in CONFIG_MAPPING


def test_sizes_are_given_in_the_words_of_each_type():
    assert architecture({"type": "deberta-v3", "hidden_size": 64})["relative_attention"] is True
    assert architecture({"type": "deberta-v3", "hidden_size": 64})["model_type"] == "deberta-v2"
    assert architecture({"type": "distilbert", "hidden_size": 64}) == {"model_type": "distilbert", "dim": 64}


# --- tokenizers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
def test_a_tokenizer_gives_words_their_tokens_as_in_a_text_and_the_same_ids_each_time(kind):
    made = [train_tokenizer(kind, texts, 300) for texts in (TEXTS, list(TEXTS))]
    assert made[0].get_vocab() == made[1].get_vocab()
    tokenizer = made[0]
    prefix = word_prefix(tokenizer.backend_tokenizer)
    text = "aspirin binds the gene in three patients"
    words = [text.split()[0], *(prefix + word for word in text.split()[1:])]
    found = tokenizer(words, is_split_into_words=True)
    assert found["input_ids"] == tokenizer(text)["input_ids"]
    assert {word for word in found.word_ids() if word is not None} == set(range(7))
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in found["input_ids"]


def test_a_unigram_tokenizer_is_the_same_in_every_process():
    """Not so the one that its own trainer would make."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(2, 9))) for _ in range(300)]
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(300)]
    vocabulary = train_tokenizer("xlm-roberta", texts, 400).get_vocab()
    assert hashlib.sha1(" ".join(sorted(vocabulary, key=vocabulary.get)).encode()).hexdigest() == "11d7e6acceb72bcf61a9ecc2dc0f88875f04b1e6"


# --- positions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
def test_a_text_as_long_as_the_position_limit_is_read_and_a_longer_one_is_cut(kind):
    model = model_of(kind, max_position_embeddings=34)
    limit = position_limit(model.module.config.to_dict())
    corpus = Corpus(model, [SimpleNamespace(text="fever " * 100, pair=None, words=(), label=None)], 512, "single", 2)
    assert corpus.lengths == [limit] and limit == {True: 32, False: 34}[kind in ("roberta", "xlm-roberta", "mpnet")]
    with torch.inference_mode():
        assert model.module.eval()(**corpus.batch([0]).inputs).logits.isfinite().all()


@pytest.mark.parametrize("config, limit", [
    ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
    ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
    ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
    ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 0}, 513),
    ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 0}, 512),  # its index is 1, whatever is said
    ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 1}, 512),
    ({"model_type": "modernbert", "max_position_embeddings": 8192, "pad_token_id": 50283}, 8192),
])
def test_positions_that_start_behind_the_padding_index(config, limit):
    assert position_limit(config) == limit


# --- fewer layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
def test_a_model_of_fewer_layers_answers_as_it_does_when_it_is_loaded_again(kind, tmp_path, monkeypatch):
    """ModernBERT's layers differ by their place, so a cut one must be what its configuration says."""
    deep = Entry("tiny:deep", tiny(kind, layers=5, **TINY[kind]))
    monkeypatch.setitem(MODELS._entries, "tiny:deep", deep)
    whole = build(resolve("tiny:deep"), HEAD, seed=0, texts=lambda: TEXTS)
    for layers in (2,):
        try:
            made = cut(whole, layers)
        except BadInput as error:  # transformers 5.10: both are sliding ones
            assert kind == "modernbert" and transformers.__version__ < "5.11" and "keep others" in str(error)
            return
        inputs = batch_of(whole, [" ".join(TEXTS[:4])])  # longer than a window of attention
        write_stage(tmp_path / str(layers), made, torch.nn.Module(), {"key": str(layers)})
        again = build(Source("again", folder=tmp_path / str(layers)), HEAD, seed=1, texts=lambda: TEXTS)
        with torch.inference_mode():
            one, other = (module.eval()(**inputs, output_hidden_states=True).hidden_states for module in (made.module, again.module))
        assert len(one) == len(other) == layers + 1
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


def test_the_kept_layers_keep_how_far_they_see():
    model = model_of("modernbert", num_hidden_layers=6)
    types = model.module.config.layer_types
    made = cut(model, 4)
    kept = [round((i + 1) * 6 / 4) - 1 for i in range(4)]
    assert made.module.config.layer_types == [types[i] for i in kept]
    assert [layer.attention_type for layer in layers_of(made.module)[2]] == [types[i] for i in kept]
    assert torch.equal(layers_of(made.module)[2][-1].mlp.Wi.weight, layers_of(model.module)[2][-1].mlp.Wi.weight)


@pytest.mark.parametrize(("name", "kept"), [
    ("cut:3", [2, 4, 6]), ("cut:3-first", [1, 2, 3]), ("cut:2-last", [5, 6]), ("cut:1,4,6", [1, 4, 6]), ("cut:6", [1, 2, 3, 4, 5, 6]),
])
def test_the_layers_that_are_asked_for_stay(name, kept):
    model, source = model_of("bert", num_hidden_layers=6), resolve(f"{name}:tiny:bert")
    assert (source.name, source.base.name) == (f"{name}:tiny:bert", "tiny:bert")
    made = cut(model, source.cut, source.which)
    own, whole = layers_of(made.module)[2], layers_of(model.module)[2]
    assert [next(i for i, layer in enumerate(whole, 1) if torch.equal(layer.output.dense.weight, each.output.dense.weight)) for each in own] == kept
    others = [cut(model, *pair).key for pair in ((3, ""), (3, "first"), (3, "last"), (2, "last"), (3, "1,4,6"), (6, ""))]
    assert len(set(others)) == 6 and made.key in others
    assert ("which" in source.identity()) == (name not in ("cut:3", "cut:6")), "the identity of evenly spaced layers stays"


@pytest.mark.parametrize("name", ["cut:0", "cut:x", "cut:3-", "cut:3-middle", "cut:-first", "cut:4,1", "cut:1,1", "cut:0,2", "cut:1,", "cut:1,2-first"])
def test_layers_that_nobody_can_mean_are_one_line(name):
    with pytest.raises(BadInput, match="write cut:N"):
        resolve(name)


@pytest.mark.parametrize(("layers", "which"), [(7, ""), (7, "last"), (2, "1,7")])
def test_more_layers_than_there_are(layers, which):
    with pytest.raises(BadInput, match=f"cut:{which if ',' in which else layers}: .* has only 6 layers"):
        cut(model_of("bert", num_hidden_layers=6), layers, which)


def test_layers_that_are_not_found_are_refused_in_a_line():
    model = model_of("bert")
    model.module.bert.encoder.blocks = model.module.bert.encoder.layer
    del model.module.bert.encoder.layer
    with pytest.raises(BadInput, match="layers .* are not found"):
        cut(model, 1)


# --- weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
def test_an_encoder_that_was_trained_under_one_head_is_loaded_under_another(kind, tmp_path):
    """Of tied weights the file has the encoder's name, which a model without the masked-LM head has too."""
    model = model_of(kind, Head("mlm"))
    write_stage(tmp_path / "stage", model, torch.nn.Module(), {"key": "stage"})
    for head in (HEAD, Head("mlm")):
        loaded = build(Source("again", folder=tmp_path / "stage"), head, seed=1, texts=lambda: TEXTS)
        for name, value in model.module.base_model.state_dict().items():
            if "pooler." not in name:
                assert torch.equal(loaded.module.base_model.state_dict()[name], value), name
    assert loaded.ready


def test_a_file_has_each_tied_weight_once(tmp_path):
    module = model_of("mpnet", Head("mlm")).module
    save_weights(module, tmp_path / "weights")
    with safe_open(tmp_path / "weights", "pt") as stored:
        names, doubles = set(stored.keys()), stored.metadata()
    assert "mpnet.embeddings.word_embeddings.weight" in names and "lm_head.decoder.weight" not in names
    assert doubles["lm_head.decoder.weight"] == "mpnet.embeddings.word_embeddings.weight"


# --- vocabularies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["random", "mean"])
@pytest.mark.parametrize("kind", [kind for kind in TINY if kind not in ("roberta", "xlm-roberta")])
def test_a_larger_vocabulary_leaves_the_old_tokens_their_logits(kind, init):
    teacher, student = model_of("bert", Head("mlm")), model_of(kind, Head("mlm"), seed=1)
    own = kind in WORDPIECE
    old = student.tokenizer if own else teacher.tokenizer
    if not own:
        change_vocabulary(student.module, student.tokenizer, old, "random", torch.Generator().manual_seed(0))
    size = len(old)
    before = student.module.eval()(**batch_of(replace(student, tokenizer=old))).logits
    tokenizer = expand(old, ["naproxen", "feverfew"], student.module.config.vocab_size)
    change_vocabulary(student.module, old, tokenizer, init, torch.Generator().manual_seed(0))
    after = student.module.eval()(**batch_of(replace(student, tokenizer=tokenizer))).logits
    assert after.shape[-1] == size + 2 == student.module.config.vocab_size
    assert torch.allclose(after[..., :size], before, atol=1e-5)
    assert after[..., size:].isfinite().all()
    embedding = student.module.get_input_embeddings()
    assert student.module.config.pad_token_id == tokenizer.pad_token_id == embedding.padding_idx


def test_untied_output_rows_follow_their_entries():
    """EuroBERT has its output rows apart from its input rows."""
    student = model_of("eurobert", Head("mlm"), seed=1)
    other = train_tokenizer("eurobert", TEXTS[1:2] * 5, 300)
    rows = student.module.get_output_embeddings().weight.detach().clone()
    old = student.tokenizer.get_vocab()
    change_vocabulary(student.module, student.tokenizer, other, "random", torch.Generator().manual_seed(0))
    now = student.module.get_output_embeddings().weight
    shared = [(number, old[piece]) for piece, number in other.get_vocab().items() if piece in old]
    assert len(shared) > 200 and any(a != b for a, b in shared)
    assert all(torch.equal(now[here], rows[there]) for here, there in shared)


# --- masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [masks.sdpa_padding_mask, masks.eager_padding_mask])
@pytest.mark.parametrize("function", [bidirectional_mask_function, sliding_window_bidirectional_mask_function(3)])
def test_on_a_gpu_no_mask_is_looked_into(mask, function, monkeypatch):
    """Neither padding nor a window: to see whether it hides anything would wait for the GPU."""
    given = torch.ones(2, 6, dtype=torch.long)
    seen = []
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_: seen.append("looked") or False)
    arguments = dict(batch_size=2, q_length=6, kv_length=6, q_offset=0, kv_offset=0, mask_function=function, attention_mask=given.bool(),
                     allow_is_bidirectional_skip=True, allow_is_causal_skip=False, dtype=torch.float32, use_vmap=False, device="cpu", config=None)
    here = mask(**arguments)
    looked, seen[:] = list(seen), []
    elsewhere = Elsewhere(arguments["attention_mask"])
    assert masks.unskipped({**arguments, "attention_mask": elsewhere})["allow_is_bidirectional_skip"] is False
    assert masks.unskipped(arguments) is arguments and looked
    there = mask(**masks.unskipped({**arguments, "attention_mask": elsewhere}) | {"attention_mask": arguments["attention_mask"]})
    assert not seen and torch.equal(here, there)


class Elsewhere:
    """A tensor of another device, as far as a mask asks."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor, self.device = tensor, SimpleNamespace(type="cuda")
