"""Encoders of text."""

import numpy as np

import parity
from published.of_transformers import entry

BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
}
WORDS = {"input_ids": parity.integers(2, 7, low=3, below=50), "target": parity.normal(2, 7, 16)}
MASK = np.array([[1] * 7, [1] * 4 + [0] * 3])
PADDED = {**WORDS, "attention_mask": MASK}
# Where the padding is, the words are the padding's too: some models count their positions by them.
PADDING_WORDS = {**PADDED, "input_ids": np.where(MASK, np.random.default_rng(0).integers(3, 50, (2, 7)), 1)}
ONE_HEAD = {**BERT, "num_attention_heads": 1}
TWO_LAYERS = {**BERT, "num_hidden_layers": 2}
ROBERTA = {**BERT, "pad_token_id": 1, "max_position_embeddings": 26}
DISTILBERT = {"vocab_size": 50, "dim": 16, "n_layers": 1, "n_heads": 4, "hidden_dim": 24, "max_position_embeddings": 24}
ALBERT = {**BERT, "embedding_size": 8}
TWICE = {**ALBERT, "num_hidden_layers": 2, "inner_group_num": 2}
ELECTRA = {**BERT, "embedding_size": 8}
BIG_BIRD = {**BERT, "attention_type": "original_full", "use_bias": True}
LOGITS = {**WORDS, "target": parity.normal(2, 7, 50)}
TWO_LENGTHS = [WORDS, {"input_ids": parity.integers(3, 5, low=3, below=50), "target": parity.normal(3, 5, 16)}]

ENTRIES = [
    entry("BertModel", "two lengths, two layers", TWO_LAYERS, TWO_LENGTHS),
    entry("BertModel", "padding", BERT, PADDED),
    entry("BertModel", "one head, tanh form of GELU", {**ONE_HEAD, "hidden_act": "gelu_new"}, PADDED),
    entry("BertModel", "padding, converted", BERT, PADDED, is_converted=True),
    entry(
        "BertModel",
        "positions relative to a key",
        {**BERT, "position_embedding_type": "relative_key"},
        WORDS,
        known=("flax_bert_positions",),
    ),
    entry("BertForMaskedLM", "tied output", BERT, LOGITS, outputs=("logits",)),
    entry("RobertaModel", "no padding", ROBERTA, WORDS),
    entry("RobertaModel", "padding", ROBERTA, PADDING_WORDS, known=("flax_padding_row",)),
    entry("XLMRobertaModel", "padding", ROBERTA, PADDING_WORDS, known=("flax_padding_row",)),
    entry("RobertaPreLayerNormModel", "padding", ROBERTA, PADDING_WORDS, known=("flax_padding_row",)),
    entry("DistilBertModel", "padding, sinusoids", {**DISTILBERT, "sinusoidal_pos_embds": True}, PADDED),
    entry("AlbertModel", "a group of two layers, twice", TWICE, WORDS),
    entry("ElectraModel", "types given", ELECTRA, {**PADDED, "token_type_ids": 1 - MASK}),
    entry("ElectraModel", "padding", ELECTRA, PADDED, known=("flax_electra_types",)),
    entry("BigBirdModel", "full attention, padding", BIG_BIRD, PADDED),
    entry("RoFormerModel", "padding", BERT, PADDED),
    entry("RoFormerModel", "narrower words", {**BERT, "embedding_size": 8}, WORDS, known=("flax_roformer_embedding",)),
]
