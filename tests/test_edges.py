"""Which package may import which, checked on the source, function bodies and `TYPE_CHECKING` blocks included."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
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
# The floors of `parity`, from the ground up: each room (a folder or a file), and the rooms that it may import besides
# itself. There is no circle, neither between files nor between rooms.
GROUND = ("clock", "errors", "files", "junit", "machine", "process", "progress", "signals", "source")
SHARED = ("backend", "convert", "data", "faults", "inputs", "schedule", "spec", "weights")  # with the siblings
EXPERIMENT = (*SHARED, "reference", "divergence", "sides")
BELOW = (*GROUND, "verdict", *EXPERIMENT)
RESULTS = ("sweep", "bench", "check", "pair", "pair_bench", "estimate")
HOUSE = (*BELOW, *RESULTS, "report", "lab")
ROOMS = {
    **dict.fromkeys(GROUND, GROUND),
    "verdict": GROUND,
    **dict.fromkeys(EXPERIMENT, BELOW),
    "sweep": (*GROUND, *EXPERIMENT),
    **dict.fromkeys(("bench", "check", "pair"), BELOW),
    "pair_bench": (*BELOW, "pair"),
    "estimate": (*BELOW, "bench", "pair", "pair_bench"),
    "report": (*BELOW, *RESULTS),
    "lab": (*GROUND, *EXPERIMENT, "sweep", "report"),  # a part of the gallery draws its own figures
    "commands": HOUSE,
    "assertion": (*BELOW, *RESULTS),
    **dict.fromkeys(("cli", "pytest_plugin", ""), (*HOUSE, "commands", "assertion")),  # "" is parity/__init__.py
    "__main__": ("cli",),
}
SIBLINGS_MAY_IMPORT = (*GROUND, *SHARED)
ARRAYS_ONLY = "verdict"  # it imports NumPy, and nothing else that has to be installed
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
    imported: str = ""  # the module of these packages that holds the target

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

    def add(self, node: ast.AST, target: str) -> None:
        self.edges.append(Edge(self.module, getattr(node, "lineno", 0), target, ".".join(self.functions)))

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


def room(name: str) -> str:
    """Return the room of `parity` that a dotted name belongs to: "parity.sweep.grid" is in "sweep", "parity" in ""."""
    return name.partition(".")[2].partition(".")[0]


def violations(packages: Mapping[str, Path]) -> list[str]:
    """Return everything in these packages that the design does not allow."""
    walkers = [walker for root in packages.values() for walker in walk(root)]
    modules = {walker.module for walker in walkers}
    edges = [resolved(edge, modules) for walker in walkers for edge in walker.edges]
    found = [f"{edge}" for edge in edges if not is_allowed(edge)]
    found += [
        f"{module} stands on no floor"
        for module in modules
        if within(module, ("parity",)) and room(module) not in ROOMS
    ]
    found += [f"{edge}, as does {first}" for first, edge in extra_torchvision(edges)]
    found += [problem for walker in walkers for problem in walker.unsafe]
    found += [problem for walker in walkers if within(walker.module, ("parity",)) for problem in walker.words]
    pairs = [(edge.module, edge.imported) for edge in edges if edge.imported]
    rooms = [(room(module), room(imported)) for module, imported in pairs if within(module, ("parity",))]
    return found + find_circles("files", pairs) + find_circles("rooms", rooms)


def resolved(edge: Edge, modules: Set[str]) -> Edge:
    """Return the edge with the module that it imports; "" for one outside these packages."""
    parts = edge.target.split(".")
    prefixes = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return replace(edge, imported=next((prefix for prefix in prefixes if prefix in modules), ""))


def is_allowed(edge: Edge) -> bool:
    package, root = edge.module.partition(".")[0], edge.target.partition(".")[0]
    if root in UNSAFE_MODULES or edge.target in UNSAFE_NAMES or root in FORBIDDEN[package]:
        return False
    if package == "parity" and root == "torchvision":
        return bool(edge.function) and within(edge.module, ("parity.data",))
    own = room(edge.module)
    if root != "parity":
        return package != "parity" or own != ARRAYS_ONLY or root in {"numpy", *sys.stdlib_module_names}
    wanted = room(edge.imported)
    if package != "parity":
        return wanted in SIBLINGS_MAY_IMPORT
    return wanted == own or wanted in ROOMS.get(own, ())


def torchvision_edges(edges: list[Edge]) -> list[Edge]:
    return [edge for edge in edges if edge.module.startswith("parity") and edge.target.startswith("torchvision")]


def extra_torchvision(edges: list[Edge]) -> Iterator[tuple[str, Edge]]:
    found = torchvision_edges(edges)
    for edge in found[1:]:
        if (edge.module, edge.function) != (found[0].module, found[0].function):
            yield found[0].module, edge


def find_circles(kind: str, edges: Iterable[tuple[str, str]]) -> list[str]:
    """Return each largest set of files, or rooms, that all import each other, directly or through others."""
    graph: dict[str, set[str]] = {}
    for importer, imported in edges:
        if imported != importer:
            graph.setdefault(importer, set()).add(imported)
    reached = {start: reach(graph, start) for start in graph}
    circles = {frozenset(b for b in reached[a] if a in reached.get(b, ())) for a in graph if a in reached[a]}
    return sorted(f"circle of {kind}: {', '.join(sorted(circle))}" for circle in circles)


def reach(graph: Mapping[str, Set[str]], start: str) -> set[str]:
    """Return everything that `start` imports, directly or through others."""
    found: set[str] = set()
    left = [start]
    while left:
        new = graph.get(left.pop(), set()) - found
        found |= new
        left += new
    return found


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
    "parity/weights.py": "from .spec import ModelSpec\nfrom parity.data import batches\n",
    "parity/reference/__init__.py": "from parity.weights import draw_weights\nimport parity.verdict\n",
    "parity/data/__init__.py": "",
    "parity/data/batches.py": "",
    "parity/data/download.py": "def fetch():\n    from torchvision.datasets import FashionMNIST\n",
    "parity/verdict/__init__.py": "import math\nimport numpy as np\nfrom parity.errors import InputError\n",
    "parity/sweep/__init__.py": "from parity.sweep.grid import Group\n",
    "parity/sweep/grid.py": "def f():\n    from parity.spec import ModelSpec\n",
    "parity/sweep/run.py": "from parity.sweep.grid import Group\n",
    "parity/bench/__init__.py": "from parity.verdict import compare\n",
    "parity/check/__init__.py": "from parity.verdict import compare\n",
    "parity/pair/__init__.py": "from parity.verdict import compare\n",
    "parity/report/__init__.py": "import parity.sweep\n",
    "parity/lab/__init__.py": "from parity.report import page\n",
    "parity/commands/__init__.py": "def write():\n    from parity.report import page\n",
    "parity/cli.py": "from parity.commands import sweep\n",
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
        # floors
        ("parity/errors.py", "from parity.spec import ModelSpec\n", "parity.errors:1 imports parity.spec.ModelSpec"),
        ("parity/spec.py", "from parity.sweep import sweep\n", "parity.spec:1 imports parity.sweep.sweep"),
        ("parity/spec.py", "def f():\n    from . import report\n", "parity.spec:2 imports parity.report"),
        ("parity/spec.py", "from parity import InputError\n", "parity.spec:1 imports parity.InputError"),
        ("parity/spec.py", f"{TYPE_CHECKING}import parity.sweep\n", "parity.spec:3 imports parity.sweep"),
        ("parity/data/other.py", "from ..cli import main\n", "imports parity.cli.main"),
        ("parity/reference/network.py", "from parity import sweep\n", "imports parity.sweep"),
        ("parity/sweep/run.py", f"{IN_A_FUNCTION}from parity.report import page\n", "imports parity.report.page"),
        ("parity/sweep/run.py", f"{IN_A_FUNCTION}from parity.check import episode\n", "imports parity.check.episode"),
        ("parity/sweep/run.py", "import parity.verdict\n", "imports parity.verdict"),
        ("parity/bench/run.py", "import parity.check\n", "imports parity.check"),
        ("parity/lab/run.py", "import parity.check\n", "imports parity.check"),
        ("parity/check/run.py", "import parity.sweep\n", "imports parity.sweep"),
        ("parity/check/run.py", "import parity.pair\n", "imports parity.pair"),
        ("parity/pair/run.py", "import parity.check\n", "imports parity.check"),
        ("parity/report/page.py", "import parity.lab\n", "imports parity.lab"),
        ("parity/commands/sweep.py", "import parity.cli\n", "imports parity.cli"),
        ("parity/verdict/noise.py", "from parity.spec import DType\n", "imports parity.spec.DType"),
        ("parity/verdict/noise.py", "def f():\n    import scipy.stats\n", "imports scipy.stats"),
        ("parity/attic.py", "", "parity.attic stands on no floor"),
        ("bnjax/norm.py", "import torch\n", "bnjax.norm:1 imports torch"),
        ("bnjax/norm.py", f"{IN_A_FUNCTION}from bntorch.norm import BatchNorm\n", "imports bntorch.norm.BatchNorm"),
        ("bnjax/norm.py", "import torchvision\n", "imports torchvision"),
        ("bntorch/norm.py", "def f():\n    import jax.numpy as jnp\n", "bntorch.norm:2 imports jax.numpy"),
        ("bntorch/norm.py", "from jaxlib import xla_client\n", "imports jaxlib.xla_client"),
        ("bntorch/norm.py", "import bnjax\n", "imports bnjax"),
        ("bntorch/norm.py", "from parity import load_weights\n", "imports parity.load_weights"),
        ("bntorch/norm.py", "import parity.reference\n", "imports parity.reference"),
        ("bnjax/norm.py", "from parity.sweep import grid\n", "imports parity.sweep.grid"),
        ("bnjax/norm.py", "import parity.verdict\n", "imports parity.verdict"),
        ("bnjax/norm.py", "def f():\n    import pickle\n", "imports pickle"),
        ("bnjax/norm.py", "from numpy import load\n", "imports numpy.load"),
        ("bntorch/norm.py", "import torch\nload = torch.load\n", "uses torch.load"),
        ("parity/spec.py", "import numpy as np\nnp.load('x')\n", "parity.spec:2 uses np.load"),
        ("parity/spec.py", "read('x', allow_pickle=True)\n", "allows pickle"),
        ("parity/cli.py", "def f(name='jax'):\n    pass\n", "names a framework in 'jax'"),
        ("parity/cli.py", "x = f'{1} torch'\n", "names a framework in ' torch'"),
        # circles
        ("parity/sweep/grid.py", "import parity.sweep.run\n", "circle of files: parity.sweep.grid, parity.sweep.run"),
        (
            "parity/sweep/grid.py",
            f"{IN_A_FUNCTION}from . import run\n",
            "circle of files: parity.sweep.grid, parity.sweep.run",
        ),
        (
            "parity/sweep/grid.py",
            f"{TYPE_CHECKING}from parity.sweep.run import search\n",
            "circle of files: parity.sweep.grid, parity.sweep.run",
        ),
        ("bnjax/train.py", "def f():\n    import bnjax\n", "circle of files: bnjax, bnjax.train"),
        (
            "parity/data/other.py",
            "def f():\n    import parity.reference\n",
            "circle of rooms: data, reference, weights",
        ),
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
