"""The shapes in the signatures of what students read hold, in both frameworks: checked at run time."""

import subprocess
import sys

import pytest

# In a process of its own: functions are checked where they are imported, and the other tests import them unchecked.
PROGRAM = """
import sys
from importlib import import_module
import numpy as np
from jaxtyping import TypeCheckError, install_import_hook

package = sys.argv[1]
names = [f"{package}.{module}" for module in ("norm", "model", "train")]
with install_import_hook(names, "beartype.beartype"):
    norm, model, train = map(import_module, names)

from parity.spec import ModelSpec

spec = ModelSpec(input_dim=5, output_dim=3, num_hidden_layers=2, hidden_width=4, dropout_rate=0.5)
net = train.create_train_state(model.MultiLayerPerceptron.from_spec(spec))
rng = np.random.default_rng(0)
x, y = rng.standard_normal((6, 5)).astype(np.float32), rng.integers(3, size=6)
masks = np.ones((2, 6, 4), bool)
wrong = {
    "flat inputs": (x[0], y, 0.1, masks),
    "labels of another number": (x, y[:1], 0.1, masks),
    "labels one-hot": (x, np.eye(3)[y], 0.1, masks),
    "masks of one layer": (x, y, 0.1, masks[0]),
}
for name, arguments in wrong.items():
    try:
        train.train_step(net, *arguments)
    except TypeCheckError:
        print("refused", name)
net, metrics = train.train_step(net, x, y, 0.1, masks)
net = train.minibatch_sgd_one_pass(net, x, y, 0.1, 3)
scalars = metrics["loss"], train.compute_objective(net, x, y), train.compute_accuracy(net, x, y)
print(all(value.shape == () for value in scalars))
"""


@pytest.mark.parametrize("package", ["bnjax", "bntorch"])
def test_a_training_keeps_to_the_shapes_of_its_signatures_and_others_are_refused(package: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cases = ["flat inputs", "labels of another number", "labels one-hot", "masks of one layer"]
    assert done.stdout.splitlines() == [*(f"refused {case}" for case in cases), "True"]
