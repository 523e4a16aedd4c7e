"""Decoders of text."""

import numpy as np

import parity
from published.of_transformers import entry

GPT2 = {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 24, "use_cache": False}
SCALED = {**GPT2, "n_layer": 2, "scale_attn_by_inverse_layer_idx": True}
NEO = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "max_position_embeddings": 24,
    "window_size": 3,
    "use_cache": False,
}
OPT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "ffn_dim": 24,
    "max_position_embeddings": 24,
    "use_cache": False,
}
NORM_AFTER = {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 8}
XGLM = {
    "vocab_size": 50,
    "d_model": 16,
    "num_layers": 1,
    "attention_heads": 4,
    "ffn_dim": 24,
    "max_position_embeddings": 24,
    "use_cache": False,
}
LLAMA = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "use_cache": False,
}
GROUPED = {**LLAMA, "num_key_value_heads": 2, "attention_bias": True}
MISTRAL = {**LLAMA, "num_key_value_heads": 2, "sliding_window": 3}
GEMMA = {**LLAMA, "num_key_value_heads": 1, "head_dim": 8}
BLOOM = {"vocab_size": 50, "hidden_size": 24, "n_layer": 1, "n_head": 4, "use_cache": False}
WORDS = {"input_ids": parity.integers(2, 7, low=3, below=50), "target": parity.normal(2, 7, 16)}
LOGITS = {**WORDS, "target": parity.normal(2, 7, 50)}
MASK = np.array([[1] * 7, [1] * 4 + [0] * 3])
RIGHT = {**WORDS, "attention_mask": MASK}
LEFT = {**WORDS, "attention_mask": MASK[:, ::-1].copy()}
WIDE = {**WORDS, "target": parity.normal(2, 7, 24)}
WIDE_LEFT = {**WIDE, "attention_mask": MASK[:, ::-1].copy()}
PADDING = {"where": "attention_mask"}  # what is computed where the padding is counts nowhere

ENTRIES = [
    entry("GPT2Model", "plain", GPT2, WORDS),
    entry("GPT2Model", "padding", GPT2, RIGHT, **PADDING),
    entry("GPT2Model", "scaled by the layer's number", SCALED, WORDS, known=("flax_gpt2_scores",)),
    entry("GPT2Model", "scores not scaled", {**GPT2, "scale_attn_weights": False}, WORDS, known=("flax_gpt2_scores",)),
    entry("GPT2Model", "plain, converted", GPT2, WORDS, is_converted=True),
    entry("GPT2LMHeadModel", "tied output", GPT2, LOGITS, outputs=("logits",)),
    entry("GPTNeoModel", "a global and a local layer", NEO, WORDS),
    entry("GPTJModel", "rotary dimension 2 of 4", {**GPT2, "rotary_dim": 2}, WORDS),
    entry("GPTJModel", "rotary dimension 4, padding", {**GPT2, "rotary_dim": 4}, RIGHT, **PADDING),
    entry("OPTModel", "plain", OPT, WORDS),
    entry("OPTModel", "padding on the left", OPT, LEFT, **PADDING),
    entry("OPTModel", "norm after, projected words", NORM_AFTER, {**WORDS, "target": parity.normal(2, 7, 8)}),
    entry("OPTModel", "no biases", {**OPT, "enable_bias": False}, WORDS, known=("flax_opt_biases",)),
    entry("XGLMModel", "padding", XGLM, RIGHT, **PADDING),
    entry("LlamaModel", "plain", LLAMA, WORDS),
    entry("LlamaModel", "two heads to a key, biases, padding", GROUPED, RIGHT, **PADDING),
    entry(
        "LlamaModel", "another base of the angles", {**LLAMA, "rope_theta": 500.0}, WORDS, known=("flax_llama_angles",)
    ),
    entry("LlamaModel", "biases in the MLP", {**LLAMA, "mlp_bias": True}, WORDS, known=("flax_llama_shapes",)),
    entry("LlamaModel", "heads of size 8", {**LLAMA, "head_dim": 8}, WORDS, known=("flax_llama_shapes",)),
    entry("LlamaForCausalLM", "plain", LLAMA, LOGITS, outputs=("logits",)),
    entry("MistralModel", "window 3 of 7", MISTRAL, WORDS, known=("flax_mistral_window",)),
    entry("MistralModel", "no window", {**MISTRAL, "sliding_window": None}, WORDS, known=("flax_mistral_window",)),
    entry("MistralModel", "window longer than the input", {**MISTRAL, "sliding_window": 16}, WORDS),
    entry("GemmaModel", "one key for all heads", GEMMA, WORDS),
    entry("BloomModel", "4 heads", BLOOM, WIDE),
    entry("BloomModel", "6 heads", {**BLOOM, "n_head": 6}, WIDE, known=("flax_bloom_heads",)),
    entry("BloomModel", "6 heads, shimmed", {**BLOOM, "n_head": 6}, WIDE, is_shimmed=True),
    entry("BloomModel", "4 heads, padding on the left", BLOOM, WIDE_LEFT, **PADDING),
]
