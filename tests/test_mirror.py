"""The siblings read as one: the same modules, names, order and signatures, but for a short list of exceptions."""

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

# Names that one sibling has alone, with the reason.
ONLY_JAX = {
    "train.TrainState": "Flax's state is an explicit value; Torch's is the module itself",
    "train.state_from_variables": "makes that value; in Torch it is load_state_dict",
    "learner.evaluation_logits": "a function to compile; in Torch the learner calls its part",
    "learner.evaluation_activations": "a function to compile",
    "members.run_updates": "a function to compile; in Torch the members make their updates themselves",
    "members.Run": "what that function returns",
    "members.run_lanes": "the same, shared out to devices; in Torch a lane has a thread",
    "members.evaluation_sums": "a function to compile",
    "modes.loop_step": "a function to compile",
    "population.Population.program_text": "the program, for a profile to tell its operations by",
    "weights.native_on_host": "JAX stacks members on the host; Torch's tensors lie there anyway",
    "population.Population.lowered": "to compile ahead of time; in Torch a population compiles nothing",
    "backend.JaxBackend.lower_ahead": "the same",
    "population.Layout": "what there is to know of a population's programs before there is one",
    "device.share_devices": "a population's devices; in Torch its lanes share one",
    "variants.not_compiled": "JAX compiles as a rule, PyTorch on request",
    "variants.not_donated": "donated memory is JAX's",
}
ONLY_TORCH = {
    "parts.mode": "Torch's modules carry a mode, which evaluation must put back; Flax takes it as an argument",
    "parts.call_with_state": "swaps a module's tensors for others; in Flax the state is an argument",
    "members.MappedMembers": "many operations are started from Python, so they hold their state; in JAX one program is",
    "members.StackedMembers": "the same, in few operations: XLA makes as much of the mapped program",
    "members.can_stack": "which of the two it is",
    "members.all_finite": "a private function in JAX, of states",
    "members.CapturedUpdates": "updates as a CUDA graph; XLA makes its own",
    "members.batch_norm_by_rows": "a formula for GPUs; XLA makes its own program of the one that there is",
    "device.cuda_graph": "a CUDA graph; XLA makes its own",
    "modes.CompiledBackend": "JAX compiles as a rule, PyTorch on request",
    "modes.CompiledMembers": "the same",
    "modes.CompiledPopulation": "the same",
    "modes.compiled_loop": "the same",
    "modes.compiled_population": "the same",
    "variants.compiled_apply": "the same",
    "variants.find_compiler": "XLA brings its own",
    "device.one_thread_each": "Torch's threads belong to the process; XLA's are an option of a program",
    "variants.compiled": "JAX compiles as a rule, PyTorch on request",
    "weights.to_numpy": "Tensor.numpy() shares memory, so a copying function is needed; np.array copies a JAX array",
}
# Names that differ because they hold the framework's own, as JAX's is to Torch's.
RENAMED = {
    "backend.JaxBackend": "backend.TorchBackend",  # the class names itself in tracebacks and in entry points
    "model.MultiLayerPerceptron.__call__": "model.MultiLayerPerceptron.forward",  # nn.Module's hook
    "linear.Linear.__call__": "linear.Linear.forward",
    "norm.BatchNorm.__call__": "norm.BatchNorm.forward",
    "layers.ChannelNorm.__call__": "layers.ChannelNorm.forward",
}
# Parameters that one sibling's modules have alone: each sibling's own way to give a dtype, a name, a shape or a mode.
OWN_PARAMETERS = {
    "param_dtype": "Flax makes parameters in their dtype; Torch's `.to(dtype)` converts the module",
    "name": "Flax names submodules when they are made",
    "parent": "Flax's own",
    "train": "of a module's call: Torch's modules carry the mode",
    "num_features": "Torch needs the shape when the module is made, Flax sees it in the input",
    "in_features": "the same",
}

# Parameters of a forward pass that one sibling has alone.
PASS_PARAMETERS = {"activations": "takes what Torch's layers give; Flax's layers sow it"}


def files(package: ModuleType) -> list[Path]:
    assert package.__file__ is not None
    return sorted(Path(package.__file__).parent.rglob("*.py"))


MODULES = [path.stem for path in files(bnjax) if path.stem != "__init__"]


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


def only(key: str, names: dict[str, str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def rename(key: str) -> str:
    for jax_name, torch_name in RENAMED.items():
        if key == jax_name or key.startswith(f"{jax_name}."):
            return torch_name + key.removeprefix(jax_name)
    return key


def parameters(key: str, signature: inspect.Signature) -> list[tuple[str, str, object]]:
    """Name, kind and default of each parameter; annotations differ, as the frameworks' arrays do."""
    module, name = key.split(".")[:2]
    own = PASS_PARAMETERS | (
        OWN_PARAMETERS if module in ("model", "linear", "norm", "layers") and name[0].isupper() else {}
    )
    return [
        (parameter.name, parameter.kind.description, portrait(parameter.default))
        for parameter in signature.parameters.values()
        if parameter.name not in own
    ]


def portrait(default: object) -> object:
    """A default, in which functions of the two siblings are equal if their names are."""
    if is_dataclass(default) and not isinstance(default, type):
        return {field.name: portrait(getattr(default, field.name)) for field in fields(default)}
    return default.__name__ if inspect.isfunction(default) else default


def differences(jax_module: ModuleType, torch_module: ModuleType, name: str) -> list[str]:
    """Where two modules of the same name differ, in words."""
    ours = {rename(k): v for k, v in signatures(jax_module, name).items() if not only(k, ONLY_JAX)}
    theirs = {k: v for k, v in signatures(torch_module, name).items() if not only(k, ONLY_TORCH)}
    found = [f"only in one: {key}" for key in sorted(ours.keys() ^ theirs.keys())]
    shared = [key for key in ours if key in theirs]
    if shared != [key for key in theirs if key in ours]:
        found.append(f"order of definitions in {name}")
    for key in shared:
        pair = parameters(key, ours[key]), parameters(key, theirs[key])
        if pair[0] != pair[1]:
            found.append(f"parameters of {key}: {pair[0]} and {pair[1]}")
    return found


def test_the_siblings_have_the_same_files() -> None:
    assert [path.name for path in files(bnjax)] == [path.name for path in files(bntorch)]


@pytest.mark.parametrize("name", MODULES)
def test_the_siblings_define_the_same(name: str) -> None:
    pair = importlib.import_module(f"bnjax.{name}"), importlib.import_module(f"bntorch.{name}")
    assert differences(*pair, name) == []


def test_the_siblings_export_the_same() -> None:
    def last(names: dict[str, str]) -> set[str]:
        return {name.rpartition(".")[2] for name in names}

    renamed = {jax_name.rpartition(".")[2]: name.rpartition(".")[2] for jax_name, name in RENAMED.items()}
    ours = [renamed.get(name, name) for name in bnjax.__all__ if name not in last(ONLY_JAX)]
    assert sorted(ours) == sorted(name for name in bntorch.__all__ if name not in last(ONLY_TORCH))


def test_every_exception_is_in_use() -> None:
    def all_signatures(package: ModuleType) -> dict[str, inspect.Signature]:
        pairs = [signatures(importlib.import_module(f"{package.__name__}.{name}"), name) for name in MODULES]
        return {key: signature for pair in pairs for key, signature in pair.items()}

    ours, theirs = all_signatures(bnjax), all_signatures(bntorch)
    assert {*ONLY_JAX, *RENAMED} <= ours.keys() - theirs.keys()
    assert {*ONLY_TORCH, *RENAMED.values()} <= theirs.keys() - ours.keys()
    assert OWN_PARAMETERS.keys() | PASS_PARAMETERS.keys() <= {
        name for s in (*ours.values(), *theirs.values()) for name in s.parameters
    }


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
