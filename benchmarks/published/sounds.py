"""Models of sound."""

import numpy as np

import parity
from published.of_transformers import entry

WHISPER = {
    "vocab_size": 60,
    "num_mel_bins": 6,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_source_positions": 10,
    "max_target_positions": 12,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "use_cache": False,
}
SPOKEN = {
    "input_features": parity.normal(2, 6, 20),
    "decoder_input_ids": parity.integers(2, 5, low=3, below=50),
    "target": parity.normal(2, 5, 16),
}
LOGITS = {**SPOKEN, "target": parity.normal(2, 5, 60)}
WAV2VEC2 = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_stride": (3, 2),
    "conv_kernel": (5, 3),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "apply_spec_augment": False,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}
WAVES = {"input_values": parity.normal(2, 80), "target": parity.normal(2, 12, 16)}
PADDED = {**WAVES, "attention_mask": np.array([[1] * 80, [1] * 50 + [0] * 30])}

ENTRIES = [
    entry("WhisperModel", "plain", WHISPER, SPOKEN),
    entry("WhisperForConditionalGeneration", "tied output", WHISPER, LOGITS, outputs=("logits",)),
    entry("Wav2Vec2Model", "norm before", WAV2VEC2, WAVES),
    entry("Wav2Vec2Model", "norm before, padding", WAV2VEC2, PADDED),
]
