"""What `--preset` stands for."""

from parity.check.config import QUESTIONS, CheckConfig

PRESETS = {
    "ci": CheckConfig(depths=(1, 3, 8, 25), batch_norm=(True, False), questions=("semantic", "precision")),
    "full": CheckConfig(
        depths=(1, 3, 8, 25, 50),
        batch_norm=(True, False),
        questions=QUESTIONS,
        dtypes=("float32", "bfloat16"),
        num_seeds=3,
    ),
}
