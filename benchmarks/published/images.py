"""Models of images."""

import numpy as np

import parity
from published.of_transformers import entry

VIT = {
    "image_size": 12,
    "patch_size": 4,
    "num_channels": 3,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
NO_BIASES = {**VIT, "qkv_bias": False}
DINOV2 = {**VIT, "mlp_ratio": 2}
TEXT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "pad_token_id": 0,
}
CLIP = {"text_config": TEXT, "vision_config": VIT, "projection_dim": 8}
IMAGES = {"pixel_values": parity.normal(2, 3, 12, 12), "target": parity.normal(2, 10, 16)}
POOLED = {**IMAGES, "target": parity.normal(2, 16)}
LARGER = {"pixel_values": parity.normal(2, 3, 20, 20), "target": parity.normal(2, 26, 16)}
WORDS = {"input_ids": parity.integers(2, 7, low=3, below=50), "target": parity.normal(2, 7, 16)}
PADDED = {**WORDS, "attention_mask": np.array([[1] * 7, [1] * 4 + [0] * 3])}
WITH_END = {"input_ids": np.array([[5, 9, 2, 7, 2, 0, 0], [3, 49, 21, 2, 8, 8, 0]]), "target": parity.normal(2, 16)}
END_7 = {"input_ids": np.array([[5, 9, 7, 8, 30, 0, 0], [3, 49, 21, 7, 8, 8, 0]]), "target": parity.normal(2, 16)}
BOTH = {**WITH_END, "pixel_values": parity.normal(2, 3, 12, 12), "target": parity.normal(2, 2)}
RESNET = {"num_channels": 3, "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
BOTTLENECK = {**RESNET, "layer_type": "bottleneck"}
FIRST = {**BOTTLENECK, "downsample_in_bottleneck": True}
BASIC = {**RESNET, "layer_type": "basic"}
REGNET = {**RESNET, "groups_width": 4}
PHOTOS = {"pixel_values": parity.normal(2, 3, 32, 32), "target": parity.normal(2, 16, 4, 4)}
ODD = {"pixel_values": parity.normal(2, 3, 27, 35), "target": parity.normal(2, 16, 4, 5)}
BIASED = {"accept": ["biased_running_variance@*"]}

ENTRIES = [
    entry("ViTModel", "plain", VIT, IMAGES),
    entry("BeitModel", "relative positions", {**VIT, "use_relative_position_bias": True}, IMAGES),
    entry("BeitModel", "shared relative positions", {**VIT, "use_shared_relative_position_bias": True}, IMAGES),
    entry("Dinov2Model", "images of the configured size", DINOV2, IMAGES),
    entry("Dinov2Model", "larger images", DINOV2, LARGER, known=("flax_dinov2_bicubic",)),
    entry("Dinov2Model", "gated layers", {**DINOV2, "use_swiglu_ffn": True}, IMAGES),
    entry("CLIPTextModel", "padding", TEXT, PADDED),
    entry("CLIPTextModel", "its end", TEXT, WITH_END, outputs=("pooler_output",)),
    entry("CLIPTextModel", "its end is word 7", {**TEXT, "eos_token_id": 7}, END_7, outputs=("pooler_output",)),
    entry("CLIPVisionModel", "pooled", VIT, POOLED, outputs=("pooler_output",)),
    entry("CLIPModel", "both", CLIP, BOTH, outputs=("logits_per_text",)),
    entry("ResNetModel", "bottleneck blocks", BOTTLENECK, PHOTOS, known=("flax_resnet_variance",)),
    entry(
        "ResNetModel",
        "basic blocks with SiLU",
        {**BASIC, "hidden_act": "silu"},
        PHOTOS,
        **BIASED,
    ),
    entry("ResNetModel", "stride in the first convolution", FIRST, PHOTOS, known=("flax_resnet_stride",), **BIASED),
    entry(
        "ResNetModel",
        "basic blocks, converted",
        BASIC,
        PHOTOS,
        is_converted=True,
        known=("flax_resnet_names",),
        **BIASED,
    ),
    entry("RegNetModel", "y layers", {**REGNET, "layer_type": "y"}, PHOTOS, known=("flax_regnet_mode",)),
    entry("RegNetModel", "x layers", {**REGNET, "layer_type": "x"}, PHOTOS, known=("flax_regnet_x",)),
]
