"""Write the notebooks: `lab.ipynb`, the gallery's sections, made by the gallery's functions, cell by cell, and
`lab_student.ipynb`, the lab as exercises (`student_notebook.py`), which runs for a minute or two.

python scripts/make_notebook.py [FOLDER]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import nbformat.v4 as notebook
from student_notebook import make_student_notebook

from parity.files import replace_file
from parity.lab import (
    batch_norm,
    batch_size,
    convolution,
    deep_networks,
    network,
    phase_diagram,
    standardization,
    step_size,
)

EXAMPLES = Path(__file__).parent.parent / "examples"

BEGINNING = """\
# The batch norm lab, in JAX and PyTorch

Every experiment runs in both frameworks, on the same data from the same initial weights, and every number below a cell
is computed from what the cell has just measured. `bnparity lab` makes the same as one page.

It needs bnparity with both frameworks, Fashion-MNIST (`make data`), and some minutes. Change `config` to make the
experiments larger or smaller; `help(LabConfig)` says what there is.

This file is written by `scripts/make_notebook.py`; change it there."""

SETUP = """\
from functools import partial

import numpy as np
from IPython.display import HTML

from parity.backend import load_backend
from parity.lab import (
    LabConfig,
    batch_norm,
    batch_size,
    convolution,
    deep_networks,
    network,
    phase_diagram,
    render_section,
    standardization,
    step_size,
)
from parity.lab.power_iteration import largest_eigenvalue

config = LabConfig(frameworks=("jax", "torch"))
backends = {backend.shown_name: backend for backend in map(load_backend, config.frameworks)}


def measure(part):
    return {name: part.measure(backend, config) for name, backend in backends.items()}


def show(part, results, **options):
    return HTML(render_section(part.section(results, config, "examples/lab.ipynb", **options)))"""

RUN = "show({0}, measure({0}))"

# What a reader can call and change, part by part, and how the part itself is run.
CELLS: dict[ModuleType, tuple[str, str]] = {
    batch_norm: (
        """\
batch = batch_norm.make_source().batch(0)
for name, backend in backends.items():
    layer = backend.tools().norm_layer(10, eps=1e-5, decay=0.9)
    print(name, layer.train(batch).std(axis=0, ddof=1).round(4), layer.statistics()[0].round(2), sep="\\n")""",
        RUN,
    ),
    convolution: (
        """\
print(convolution.output_size(224, 5, padding=3, stride=3))
images, kernel, bias = np.ones((1, 8, 8, 3)), np.ones((5, 5, 3, 16)), np.zeros(16)
for name, backend in backends.items():
    found = backend.tools().convolve(images, kernel, bias, padding=2)
    print(name, found.own_output_shape, found.own_kernel_shape, found.output[0, :, :, 0].round(), sep="\\n")""",
        RUN,
    ),
    network: (
        """\
for name, backend in backends.items():
    print(name)
    backend.tools().lesson.summary()""",
        RUN,
    ),
    standardization: (
        """\
x, zero = np.random.default_rng(0).normal(5, [1, 10, 100], (500, 3)), np.zeros(3)
for name, backend in backends.items():
    for inputs in (x, (x - x.mean(axis=0)) / x.std(axis=0)):
        objective = backend.tools().regression_objective(inputs, np.zeros(500))
        print(name, largest_eigenvalue(partial(objective.hessian_vector_product, zero), 3).value)""",
        RUN,
    ),
    step_size: (
        "swept = measure(phase_diagram)  # the sweep's divergent learning rates; shown in full at the end",
        "show(step_size, measure(step_size), divergent=phase_diagram.divergent_words(swept, config))",
    ),
    batch_size: (
        """\
pair = np.array([[0.3], [0.5]])  # of a batch of two, batch norm leaves only which one is larger
for name, backend in backends.items():
    for factor in (1, 9):
        print(name, backend.tools().norm_layer(1).train(factor * pair).ravel())""",
        RUN,
    ),
    deep_networks: (
        """\
for remedy in deep_networks.REMEDIES:
    print(remedy.name, remedy.batch_norm, remedy.options)""",
        RUN,
    ),
    phase_diagram: (
        """\
for key, rate in phase_diagram.divergent(swept).items():
    print(*key, rate)""",
        "show(phase_diagram, swept)",
    ),
}


def make_notebook() -> str:
    """The notebook as JSON, without outputs, the same at every call."""
    cells = [notebook.new_markdown_cell(BEGINNING), notebook.new_code_cell(SETUP)]
    for number, (part, sources) in enumerate(CELLS.items(), 1):
        cells.append(notebook.new_markdown_cell(f"## {number}. {part.TITLE}\n\n{part.INTRODUCTION}"))
        name = part.__name__.rpartition(".")[2]
        cells += [notebook.new_code_cell(source.format(name) if source == RUN else source) for source in sources]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat's own ids are random
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = notebook.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    return notebook.writes(made) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLES
    replace_file(folder / "lab.ipynb", make_notebook().encode())
    with TemporaryDirectory() as empty:
        replace_file(folder / "lab_student.ipynb", make_student_notebook(Path(empty)).encode())
    print(folder)
