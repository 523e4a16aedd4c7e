"""Options that several commands share."""

from typing import Annotated

import tyro

from parity.data import DATASETS

DatasetName = Annotated[str, tyro.conf.arg(metavar="|".join(DATASETS))]
DataDir = Annotated[str, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: the usual places)")]
