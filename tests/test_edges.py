"""Which package may import which, checked on the source, function bodies and `TYPE_CHECKING` blocks included."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

JAX = {"jax", "jaxlib", "flax", "optax"}
TORCH = {"torch"}
FORBIDDEN = {
    "parity": JAX | TORCH | {"bnjax", "bntorch"},  # and torchvision, but for one function of parity.data
    "bnjax": TORCH | {"torchvision", "bntorch"},
    "bntorch": JAX | {"bnjax"},
}
# What the siblings may import from `parity`, and what its reference may rest on.
SHARED_FLOOR = (
    "parity.errors",
    "parity.spec",
    "parity.backend",
    "parity.machine",
    "parity.schedule",
    "parity.weights",
    "parity.data",
    "parity.inputs",
    "parity.faults",
)
GROUND_FLOOR = (*SHARED_FLOOR, "parity.reference", "parity.files")
# Formats that run code when they are read.
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_NAMES = {"np.load", "numpy.load", "torch.load"}
FRAMEWORK_WORD = re.compile(r"\b(jax|torch|bnjax|bntorch)\b")


@dataclass(frozen=True)
class Edge:
    """One import: `target` is the dotted name of what is imported, the names after `from ... import` included."""

    module: str
    line: int
    target: str
    function: str  # the functions around it, outermost first; empty at module level
    at_import: bool  # whether importing the module runs it

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@dataclass
class Walker(ast.NodeVisitor):
    """Collects the imports of one module, and what it must not say."""

    module: str
    package: str
    edges: list[Edge] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    functions: tuple[str, ...] = ()
    type_checking: bool = False

    def add(self, node: ast.AST, target: str) -> None:
        line = getattr(node, "lineno", 0)
        at_import = not self.functions and not self.type_checking
        self.edges.append(Edge(self.module, line, target, ".".join(self.functions), at_import))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.absolute("." * node.level + (node.module or ""))
        for alias in node.names:
            self.add(node, f"{base}.{alias.name}")

    def absolute(self, name: str) -> str:
        stripped = name.lstrip(".")
        if stripped == name:
            return name
        parents = self.package.split(".")
        parents = parents[: len(parents) - (len(name) - len(stripped) - 1)]
        return ".".join([*parents, stripped] if stripped else parents)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        literal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if called in ("import_module", "__import__") and isinstance(literal, str):
            self.add(node, self.absolute(literal))
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                self.unsafe.append(f"{self.module}:{node.lineno} allows pickle")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if ast.unparse(node) in UNSAFE_NAMES:
            self.unsafe.append(f"{self.module}:{node.lineno} uses {ast.unparse(node)}")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and FRAMEWORK_WORD.search(node.value):
            self.words.append(f"{self.module}:{node.lineno} names a framework in {node.value!r}")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):  # a docstring
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        before = self.type_checking
        self.type_checking |= "TYPE_CHECKING" in ast.unparse(node.test)
        self.generic_visit(node)
        self.type_checking = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before = self.functions
        self.functions += (node.name,)
        self.generic_visit(node)
        self.functions = before

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  (the name is NodeVisitor's)


def walk(root: Path) -> Iterator[Walker]:
    """Every module of the package that lies at `root`."""
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        walker = Walker(module, module if is_package else module.rpartition(".")[0])
        walker.visit(ast.parse(path.read_text(encoding="utf-8")))
        yield walker


def within(target: str, modules: tuple[str, ...]) -> bool:
    return any(target == module or target.startswith(f"{module}.") for module in modules)


def violations(packages: Mapping[str, Path]) -> list[str]:
    """Everything in these packages that the design does not allow."""
    walkers = [walker for root in packages.values() for walker in walk(root)]
    edges = [edge for walker in walkers for edge in walker.edges]
    found = [f"{edge}" for edge in edges if not is_allowed(edge)]
    found += [f"{edge}, as does {first}" for first, edge in extra_torchvision(edges)]
    found += [problem for walker in walkers for problem in walker.unsafe]
    found += [problem for walker in walkers if within(walker.module, ("parity",)) for problem in walker.words]
    return found + find_cycle([walker.module for walker in walkers], edges)


def is_allowed(edge: Edge) -> bool:
    package, root = edge.module.partition(".")[0], edge.target.partition(".")[0]
    if root in UNSAFE_MODULES or edge.target in UNSAFE_NAMES or root in FORBIDDEN[package]:
        return False
    if package == "parity" and root == "torchvision":
        return bool(edge.function) and within(edge.module, ("parity.data",))
    if root == "parity" and package != "parity":
        return within(edge.target, SHARED_FLOOR)
    if root == "parity" and within(edge.module, GROUND_FLOOR):
        return within(edge.target, GROUND_FLOOR)
    return True


def torchvision_edges(edges: list[Edge]) -> list[Edge]:
    return [edge for edge in edges if edge.module.startswith("parity") and edge.target.startswith("torchvision")]


def extra_torchvision(edges: list[Edge]) -> Iterator[tuple[str, Edge]]:
    found = torchvision_edges(edges)
    for edge in found[1:]:
        if (edge.module, edge.function) != (found[0].module, found[0].function):
            yield found[0].module, edge


def find_cycle(modules: list[str], edges: list[Edge]) -> list[str]:
    """The first cycle among imports that run at import time; `import parity` itself runs nearly everything."""
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for edge in edges:
        parts = edge.target.split(".")
        prefixes = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
        imported = next((prefix for prefix in prefixes if prefix in graph), None)
        if imported and edge.at_import and "parity" not in (imported, edge.module):
            graph[edge.module].add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"cycle {' <- '.join(error.args[1])}"]
    return []


def installed_packages() -> dict[str, Path]:
    """Where the three packages lie; nothing is imported."""
    specs = {name: find_spec(name) for name in FORBIDDEN}
    return {name: Path(spec.origin).parent for name, spec in specs.items() if spec and spec.origin}


def test_every_import_is_one_that_the_design_allows() -> None:
    packages = installed_packages()
    assert set(packages) == {"parity", "bnjax", "bntorch"}
    assert violations(packages) == []


def test_torchvision_is_imported_by_one_function() -> None:
    edges = [edge for walker in walk(installed_packages()["parity"]) for edge in walker.edges]
    assert len({(edge.module, edge.function) for edge in torchvision_edges(edges)}) == 1


ALLOWED = {
    "parity/__init__.py": '"""The package; jax and torch stand in a docstring."""\nfrom parity.sweep import sweep\n',
    "parity/errors.py": "",
    "parity/spec.py": "import numpy as np\nfrom parity.errors import InputError\n",
    "parity/backend.py": "from . import spec\n",
    "parity/weights.py": "from .spec import ModelSpec\n",
    "parity/reference/__init__.py": "from parity.weights import draw_weights\n",
    "parity/data/__init__.py": "",
    "parity/data/download.py": "def fetch():\n    from torchvision.datasets import FashionMNIST\n",
    "parity/sweep/__init__.py": "def write():\n    from parity.report import page\n",
    "parity/report/__init__.py": "import parity.sweep\n",
    "parity/cli.py": "from parity.sweep import sweep\n",
    "bnjax/__init__.py": "from bnjax.train import step\n",
    "bnjax/train.py": "import jax\nimport optax\nfrom parity.data import batches\n",
    "bntorch/__init__.py": "",
    "bntorch/train.py": "import torch\nfrom parity.spec import ModelSpec\n",
}
IN_A_FUNCTION = "class A:\n    def f(self):\n        "
TYPE_CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("parity/sweep/run.py", "import jax\n", "parity.sweep.run:1 imports jax"),
        ("parity/sweep/run.py", "import numpy, flax.linen\n", "imports flax.linen"),
        ("parity/sweep/run.py", "from torch import nn\n", "imports torch.nn"),
        ("parity/sweep/run.py", f"{IN_A_FUNCTION}import optax\n", "parity.sweep.run:3 imports optax"),
        ("parity/sweep/run.py", f"{TYPE_CHECKING}import bnjax.train\n", "imports bnjax.train"),
        ("parity/sweep/run.py", "import importlib\nimportlib.import_module('bntorch')\n", "imports bntorch"),
        ("parity/sweep/run.py", "__import__('torch.nn')\n", "imports torch.nn"),
        ("parity/sweep/run.py", "def f():\n    import torchvision\n", "imports torchvision"),
        ("parity/data/other.py", "import torchvision\n", "imports torchvision"),
        ("parity/data/other.py", "def f():\n    import torchvision\n", "as does parity.data.download"),
        ("parity/spec.py", "from parity.sweep import sweep\n", "parity.spec:1 imports parity.sweep.sweep"),
        ("parity/spec.py", "def f():\n    from . import report\n", "parity.spec:2 imports parity.report"),
        ("parity/data/other.py", "from ..cli import main\n", "imports parity.cli.main"),
        ("parity/reference/network.py", "from parity import sweep\n", "imports parity.sweep"),
        ("bnjax/norm.py", "import torch\n", "bnjax.norm:1 imports torch"),
        ("bnjax/norm.py", f"{IN_A_FUNCTION}from bntorch.norm import BatchNorm\n", "imports bntorch.norm.BatchNorm"),
        ("bnjax/norm.py", "import torchvision\n", "imports torchvision"),
        ("bntorch/norm.py", "def f():\n    import jax.numpy as jnp\n", "bntorch.norm:2 imports jax.numpy"),
        ("bntorch/norm.py", "from jaxlib import xla_client\n", "imports jaxlib.xla_client"),
        ("bntorch/norm.py", "import bnjax\n", "imports bnjax"),
        ("bntorch/norm.py", "from parity import load_weights\n", "imports parity.load_weights"),
        ("bntorch/norm.py", "import parity.reference\n", "imports parity.reference"),
        ("bnjax/norm.py", "from parity.sweep import grid\n", "imports parity.sweep.grid"),
        ("bnjax/norm.py", "def f():\n    import pickle\n", "imports pickle"),
        ("bnjax/norm.py", "from numpy import load\n", "imports numpy.load"),
        ("bntorch/norm.py", "import torch\nload = torch.load\n", "uses torch.load"),
        ("parity/spec.py", "import numpy as np\nnp.load('x')\n", "parity.spec:2 uses np.load"),
        ("parity/spec.py", "read('x', allow_pickle=True)\n", "allows pickle"),
        ("parity/cli.py", "def f(name='jax'):\n    pass\n", "names a framework in 'jax'"),
        ("parity/cli.py", "x = f'{1} torch'\n", "names a framework in ' torch'"),
        ("parity/errors.py", "from parity.spec import ModelSpec\n", "cycle parity.spec <- parity.errors"),
    ],
)
def test_the_walker_finds_a_planted_violation(tmp_path: Path, file: str, source: str, expected: str) -> None:
    assert expected in "\n".join(violations(write_tree(tmp_path, ALLOWED | {file: source})))


def test_the_walker_finds_nothing_where_nothing_is_planted(tmp_path: Path) -> None:
    assert violations(write_tree(tmp_path, ALLOWED)) == []


def write_tree(folder: Path, files: Mapping[str, str]) -> dict[str, Path]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return {name: folder / name for name in FORBIDDEN}
