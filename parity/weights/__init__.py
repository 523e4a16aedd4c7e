"""The neutral weight dictionary, in which every framework's weights meet.

Names, for hidden layer `i` from 0 (the norm's only with batch norm)::

    hidden.i.kernel        (fan_in, hidden_width)   z = x @ kernel + bias
    hidden.i.bias          (hidden_width,)
    hidden.i.gamma         (hidden_width,)          batch norm's scale
    hidden.i.beta          (hidden_width,)          batch norm's shift
    hidden.i.running_mean  (hidden_width,)
    hidden.i.running_var   (hidden_width,)
    head.kernel            (hidden_width, output_dim)
    head.bias              (output_dim,)
"""

from parity.weights.check import cast_weights, check_weights
from parity.weights.draw import draw_weights
from parity.weights.files import load_weights, save_weights
from parity.weights.names import (
    AFFINE,
    LINEAR,
    STATISTICS,
    Array,
    Weights,
    activation_names,
    is_statistic,
    weight_shapes,
)
from parity.weights.order import registration_order_names
from parity.weights.table import check_names, select_arrays, strip_prefix

__all__ = [
    "AFFINE",
    "LINEAR",
    "STATISTICS",
    "Array",
    "Weights",
    "activation_names",
    "cast_weights",
    "check_names",
    "check_weights",
    "draw_weights",
    "is_statistic",
    "load_weights",
    "registration_order_names",
    "save_weights",
    "select_arrays",
    "strip_prefix",
    "weight_shapes",
]
