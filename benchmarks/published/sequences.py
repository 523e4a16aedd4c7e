"""Encoders and decoders of text together."""

import numpy as np

import parity
from published.of_transformers import entry

BART = {
    "vocab_size": 50,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 24,
    "use_cache": False,
}
MARIAN = {**BART, "pad_token_id": 1, "decoder_start_token_id": 2, "eos_token_id": 0}
APART = {**MARIAN, "decoder_vocab_size": 60, "share_encoder_decoder_embeddings": False}
T5 = {
    "vocab_size": 50,
    "d_model": 16,
    "d_kv": 4,
    "num_heads": 4,
    "d_ff": 24,
    "num_layers": 1,
    "num_decoder_layers": 1,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "use_cache": False,
}
GATED = {**T5, "feed_forward_proj": "gated-gelu"}
LOCAL = {**T5, "local_radius": 3, "global_block_size": 2, "encoder_attention_type": "local"}
GLOBAL = {**LOCAL, "encoder_attention_type": "transient-global"}
WORDS = {
    "input_ids": parity.integers(2, 7, low=3, below=50),
    "decoder_input_ids": parity.integers(2, 5, low=3, below=50),
    "target": parity.normal(2, 5, 16),
}
MASK = np.array([[1] * 7, [1] * 4 + [0] * 3])
PADDED = {**WORDS, "attention_mask": MASK}
ENCODED = {"input_ids": WORDS["input_ids"], "attention_mask": MASK, "target": parity.normal(2, 7, 16)}
BOTH = {**PADDED, "decoder_attention_mask": MASK[:, :5]}
LOGITS = {**PADDED, "target": parity.normal(2, 5, 50)}
LONGER = {**WORDS, "input_ids": parity.integers(2, 16, low=3, below=50)}
LONGER_PADDED = {**LONGER, "attention_mask": np.array([[1] * 16, [1] * 11 + [0] * 5])}

ENTRIES = [
    entry("BartModel", "padding in the encoder, scaled words", {**BART, "scale_embedding": True}, PADDED),
    entry("BartModel", "padding in both", BART, BOTH),
    entry(
        "BartForConditionalGeneration",
        "tied output",
        BART,
        LOGITS,
        outputs=("logits",),
    ),
    entry("MBartModel", "padding", BART, PADDED),
    entry("BlenderbotModel", "padding", BART, PADDED),
    entry("BlenderbotSmallModel", "padding", BART, PADDED),
    entry("PegasusModel", "padding", BART, PADDED),
    entry("MarianModel", "padding", MARIAN, PADDED),
    entry("MarianModel", "tables apart", APART, PADDED, known=("flax_marian_tables",)),
    entry("T5Model", "plain", T5, WORDS, known=("flax_t5_clip",)),
    entry("T5Model", "two layers share their positions, shimmed", {**T5, "num_layers": 2}, WORDS, is_shimmed=True),
    entry("T5Model", "gated GELU, padding, shimmed", GATED, PADDED, is_shimmed=True),
    entry("T5ForConditionalGeneration", "tied output, shimmed", T5, LOGITS, outputs=("logits",), is_shimmed=True),
    entry("MT5Model", "gated GELU, padding, shimmed", GATED, PADDED, is_shimmed=True),
    entry("LongT5Model", "local attention", LOCAL, LONGER, known=("flax_t5_clip",)),
    entry("LongT5Model", "local attention, shimmed", LOCAL, LONGER, is_shimmed=True),
    entry("LongT5Model", "local attention, padding, shimmed", LOCAL, LONGER_PADDED, is_shimmed=True),
    entry("LongT5Model", "transient global attention, shimmed", GLOBAL, LONGER, is_shimmed=True),
]
