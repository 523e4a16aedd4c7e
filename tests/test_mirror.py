"""The siblings read as one: their shared files have the same names, in the same order, with the same parameters.

What only one framework needs is in a file that only that sibling has.
"""

import ast
import importlib
import inspect
from dataclasses import fields, is_dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import bnjax
import bntorch

# The files of one sibling alone, with the reason.
OWN_FILES = {
    "bnjax": {
        "crossings.py": "values are seen and replaced in a trace; PyTorch's modules have hooks",
        "compiler.py": "JAX's programs are compiled for a chip that is not here; PyTorch compiles for what is",
        "dataflow.py": "what a value is computed from is read off a trace; PyTorch has its graph",
        "islands.py": "narrow numbers are read off a trace; PyTorch notes them as it dispatches",
        "lifted.py": "narrow numbers are widened in a trace; PyTorch widens them as it dispatches",
        "equinox_model.py": "one of JAX's libraries of models; PyTorch has one kind",
        "functional.py": "a JAX model is a function of its state, whatever library it is of",
        "jitted_work.py": "a user's model is timed as compiled programs; a module as it is, or compiled",
        "interpret.py": "what JAX traces is evaluated anew; PyTorch lets its dispatcher be overridden",
        "kinds.py": "which library a JAX model is of",
        "linen_model.py": "one of JAX's libraries of models",
        "nnx_model.py": "another",
        "quick.py": "only what is compiled can be compiled in less time",
        "perturbed.py": "operations are moved in a trace; PyTorch's as they are dispatched",
        "program.py": "what is traced and compiled of a model; PyTorch runs the module itself",
        "eager.py": "JAX compiles by default, so the variant is the program that is not compiled",
        "fast_parts.py": "formulas for the gradient of XLA's program",
        "layout.py": "a population's programs are traced before it exists, and laid out over devices",
        "programs.py": "the pure functions that JAX compiles",
        "state.py": "Flax's state is an explicit value; Torch's is the module",
    },
    "bntorch": {
        "compiled.py": "PyTorch compiles on request",
        "cuda_graph.py": "XLA makes its own graphs",
        "dispatch.py": "operations are moved as they are dispatched; JAX's in a trace",
        "hooks.py": "modules have hooks; JAX's values are seen in a trace",
        "module_work.py": "a user's module is timed as it is, or compiled",
        "mapped.py": "PyTorch starts operations from Python, so its members hold their state",
        "module_state.py": "a module carries its mode and tensors; Flax takes them as arguments",
        "stacked.py": "the population in few operations; XLA makes these itself",
        "threads.py": "PyTorch's threads belong to the process; XLA's are an option of a program",
    },
}
# A folder of one sibling alone.
OWN_FOLDERS = {"conventions": "functions are seen as they are called; of a trace only operations are left"}
# Names that the frameworks force to differ, as JAX's is to Torch's.
RENAMED = {
    "backend.JaxBackend": "backend.TorchBackend",  # the class names itself in tracebacks and in entry points
    "model.MultiLayerPerceptron.__call__": "model.MultiLayerPerceptron.forward",  # nn.Module's hook
    "linear.Linear.__call__": "linear.Linear.forward",
    "norm.BatchNorm.__call__": "norm.BatchNorm.forward",
    "layers.ChannelNorm.__call__": "layers.ChannelNorm.forward",
    "lesson.PlainNet.__call__": "lesson.PlainNet.forward",
}
# Functions that one sibling alone has in a shared file.
ONLY_ONE = {
    "port.ModelPort.compile_for": "only JAX compiles for a chip that is not here",
    "weights.native_on_host": "JAX stacks members on the host; Torch's tensors are there anyway",
    "weights.to_numpy": "Tensor.numpy() shares memory, so Torch needs a function; np.array copies a JAX array",
}
# Parameters of modules that the frameworks force.
FORCED = {
    "param_dtype": "Flax makes parameters in their dtype; Torch's `.to(dtype)` converts the module",
    "train": "of a call: Torch's modules carry the mode",
    "num_features": "Torch needs the shape when the module is made; Flax sees it in the input",
    "in_features": "the same",
    "name": "a field of every Flax module",
    "parent": "the same",
}


def files(package: ModuleType) -> list[Path]:
    assert package.__file__ is not None
    return sorted(Path(package.__file__).parent.rglob("*.py"))


# The models of `specimens` have the same files, and are written as each framework has it.
SHARED = [
    path.stem
    for path in files(bnjax)
    if path.stem != "__init__" and path.name not in OWN_FILES["bnjax"] and path.parent.name != "specimens"
]


def public(nodes: list[ast.stmt], dunders: tuple[str, ...] = ()) -> list[ast.FunctionDef | ast.ClassDef]:
    definitions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in definitions if node.name[0] != "_" or node.name in dunders]


def signatures(module: ModuleType, name: str) -> dict[str, inspect.Signature]:
    """The signature of each public function, class and method that a module defines, in the order of the file.

    Properties count as attributes, which constructors set as well: they have no signature.
    """
    found = {}
    for node in public(ast.parse(inspect.getsource(module)).body):
        value = getattr(module, node.name)
        found[f"{name}.{node.name}"] = inspect.signature(value)
        for method in public(node.body if isinstance(node, ast.ClassDef) else [], ("__call__",)):
            if callable(attribute := getattr(value, method.name)):
                found[f"{name}.{node.name}.{method.name}"] = inspect.signature(attribute)
    return found


def rename(key: str) -> str:
    for jax_name, torch_name in RENAMED.items():
        if key == jax_name or key.startswith(f"{jax_name}."):
            return torch_name + key.removeprefix(jax_name)
    return key


def parameters(key: str, signature: inspect.Signature) -> list[tuple[str, str, object]]:
    """Name, kind and default of each parameter; annotations differ, as the frameworks' arrays do."""
    module, name = key.split(".")[:2]
    forced = FORCED if module in ("model", "linear", "norm", "layers", "lesson") and name[0].isupper() else {}
    return [
        (parameter.name, parameter.kind.description, portrait(parameter.default))
        for parameter in signature.parameters.values()
        if parameter.name not in forced
    ]


def portrait(default: object) -> object:
    """A default, in which functions of the two siblings are equal if their names are."""
    if is_dataclass(default) and not isinstance(default, type):
        return {field.name: portrait(getattr(default, field.name)) for field in fields(default)}
    return default.__name__ if inspect.isfunction(default) or isinstance(default, type) else default


def differences(jax_module: ModuleType, torch_module: ModuleType, name: str) -> list[str]:
    """Where two modules of the same name differ, in words."""
    ours = {rename(key): value for key, value in signatures(jax_module, name).items() if key not in ONLY_ONE}
    theirs = {key: value for key, value in signatures(torch_module, name).items() if key not in ONLY_ONE}
    # What a class inherits from `parity` it has, too.
    shared = [key for key in ours if key in theirs]
    order = shared == [key for key in theirs if key in ours]
    theirs |= inherited(ours.keys() - theirs.keys(), torch_module)
    ours |= inherited(theirs.keys() - ours.keys(), jax_module)
    found = [f"only in one: {key}" for key in sorted(ours.keys() ^ theirs.keys())]
    found += [] if order else [f"order of definitions in {name}"]
    for key in sorted(ours.keys() & theirs.keys()):
        pair = parameters(key, ours[key]), parameters(key, theirs[key])
        if pair[0] != pair[1]:
            found.append(f"parameters of {key}: {pair[0]} and {pair[1]}")
    return found


def inherited(keys: set[str], module: ModuleType) -> dict[str, inspect.Signature]:
    """The signatures of those methods that a class of the module has from a base class in `parity`."""
    found = {}
    for key in keys:
        _, owner, *method = key.split(".")
        value = getattr(module, owner, getattr(module, owner.replace("Torch", "Jax"), None))
        for base in value.__mro__ if isinstance(value, type) and method else ():
            if base.__module__.partition(".")[0] == "parity" and method[0] in vars(base):
                found[key] = inspect.signature(getattr(base, method[0]))
    return found


def test_every_file_is_shared_or_has_a_name_of_its_own() -> None:
    ours, theirs = (
        {path.relative_to(Path(str(package.__file__)).parent).as_posix() for path in files(package)}
        for package in (bnjax, bntorch)
    )
    assert ours - theirs == OWN_FILES["bnjax"].keys()
    assert {each for each in theirs - ours if each.partition("/")[0] not in OWN_FOLDERS} == OWN_FILES["bntorch"].keys()


@pytest.mark.parametrize("name", SHARED)
def test_the_siblings_define_the_same(name: str) -> None:
    pair = importlib.import_module(f"bnjax.{name}"), importlib.import_module(f"bntorch.{name}")
    assert differences(*pair, name) == []


def test_the_siblings_export_the_same() -> None:
    of_the_state = {"TrainState", "state_from_variables"}  # `bnjax.state` is a file of JAX's own
    ours = [name.replace("JaxBackend", "TorchBackend") for name in bnjax.__all__ if name not in of_the_state]
    assert sorted(ours) == sorted(bntorch.__all__)


def test_every_exception_is_in_use() -> None:
    def all_signatures(package: ModuleType) -> dict[str, inspect.Signature]:
        pairs = [signatures(importlib.import_module(f"{package.__name__}.{name}"), name) for name in SHARED]
        return {key: signature for pair in pairs for key, signature in pair.items()}

    ours, theirs = all_signatures(bnjax), all_signatures(bntorch)
    assert RENAMED.keys() <= ours.keys() - theirs.keys()
    assert set(RENAMED.values()) <= theirs.keys() - ours.keys()
    assert ONLY_ONE.keys() <= ours.keys() ^ theirs.keys()
    assert FORCED.keys() <= {name for s in (*ours.values(), *theirs.values()) for name in s.parameters}


def test_the_siblings_have_the_same_faults_in_the_same_parts() -> None:
    ours, theirs = (
        [
            (name, part, fault.__name__)
            for name, (part, fault) in importlib.import_module(f"{package}.faults").FAULTS.items()
        ]
        for package in ("bnjax", "bntorch")
    )
    assert ours == theirs
    assert all(name == function for name, _, function in ours)


SOURCE = """
def step(net, rate, *, batch=32):
    pass

def evaluate(net):
    pass

class Learner:
    def __init__(self, spec, dtype="float32"):
        pass

    def weights(self):
        pass
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("def evaluate(net)", "def assess(net)", "only in one: train.assess"),
        ("def weights(self)", "def state(self)", "only in one: train.Learner.state"),
        ("net, rate", "net, learning_rate", "parameters of train.step"),
        ("net, rate", "rate, net", "parameters of train.step"),
        ("*, batch", "batch", "parameters of train.step"),
        ("batch=32", "batch=64", "parameters of train.step"),
        ("batch=32", "batch", "parameters of train.step"),
        ('"float32"', '"float64"', "parameters of train.Learner"),
        ("weights(self)", "weights(self, member)", "parameters of train.Learner.weights"),
        ("def evaluate(net):\n    pass\n", "", "only in one: train.evaluate"),
        ("class", "def extra():\n    pass\n\nclass", "only in one: train.extra"),
    ],
)
def test_a_planted_difference_is_found(tmp_path: Path, old: str, new: str, expected: str) -> None:
    found = differences(load(tmp_path / "a.py", SOURCE), load(tmp_path / "b.py", SOURCE.replace(old, new)), "train")
    assert expected in "\n".join(found)


def test_equal_modules_have_no_difference(tmp_path: Path) -> None:
    assert differences(load(tmp_path / "a.py", SOURCE), load(tmp_path / "b.py", SOURCE), "train") == []


def test_a_planted_change_of_order_is_found(tmp_path: Path) -> None:
    ours = load(tmp_path / "a.py", "def f(): pass\ndef g(): pass\n")
    theirs = load(tmp_path / "b.py", "def g(): pass\ndef f(): pass\n")
    assert differences(ours, theirs, "train") == ["order of definitions in train"]


def load(path: Path, source: str) -> ModuleType:
    path.write_text(source)
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
