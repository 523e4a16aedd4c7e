"""Options that several commands share."""

from typing import Annotated, Any

import tyro

from parity.backend import backend_names, sibling_names
from parity.data import DATASETS

DatasetName = Annotated[str, tyro.conf.arg(metavar="|".join(DATASETS))]
DataDir = Annotated[str, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: the usual places)")]
Device = Annotated[str, tyro.conf.arg(metavar="cpu|gpu|tpu", help_behavior_hint="(default: the framework's)")]


def _framework(names: tuple[str, ...]) -> Any:
    hint = f"(default: {' and '.join(sibling_names())}, as installed)"
    return tyro.conf.arg(metavar="|".join((*names, "both")), help_behavior_hint=hint)


Framework = Annotated[str, _framework(backend_names())]
Sibling = Annotated[str, _framework(sibling_names())]  # where the reference will not do
