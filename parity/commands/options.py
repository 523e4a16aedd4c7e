"""Options that several commands share."""

from typing import Annotated

import tyro

from parity.backend import backend_names, sibling_names
from parity.data import DATASETS

DatasetName = Annotated[str, tyro.conf.arg(metavar="|".join(DATASETS))]
DataDir = Annotated[str, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: the usual places)")]
Device = Annotated[str, tyro.conf.arg(metavar="cpu|gpu|tpu", help_behavior_hint="(default: the framework's)")]
Framework = Annotated[
    str,
    tyro.conf.arg(
        metavar="|".join((*backend_names(), "both")),
        help_behavior_hint=f"(default: {' and '.join(sibling_names())}, as installed)",
    ),
]
