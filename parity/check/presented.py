"""The first question: do both train on the same inputs? What each backend presents is compared before any step."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parity.backend import Backend, Inputs
from parity.check.catalogue import CATALOGUE
from parity.check.records import WITNESS, Cause, Measurement, Question, Setting
from parity.check.words import leaf_words, tensor_words
from parity.data import Dataset
from parity.process import SideError
from parity.reference import NumpyBackend
from parity.spec import ModelSpec, TrainSpec
from parity.verdict.compare import SAFETY, compare
from parity.verdict.noise import MANTISSA_BITS, rms, ulp
from parity.verdict.trace import Array, Key, Kind, Mode, Trace
from parity.verdict.verdict import UNEXPLAINED
from parity.weights import weight_shapes

DATA = ("train_inputs", "train_labels", "test_inputs", "test_labels", "batches")
HONEST = NumpyBackend()


def present(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Trace | None:
    """What a backend presents as its own inputs; None if it presents none.

    Raises:
        SideError: that is no `Inputs` of the network.
    """
    inputs = backend.inputs(dataset, spec, training)
    if inputs is None:
        return None
    _check_inputs(inputs, spec)
    return record_inputs(inputs)


def _check_inputs(inputs: Any, spec: ModelSpec) -> None:
    for name in (*DATA, "weights"):
        if not hasattr(inputs, name):
            raise SideError(f"inputs returned {type(inputs).__name__} without {name!r}; it must be a parity.Inputs")
    if not isinstance(inputs.weights, Mapping):
        raise SideError(f"its initial weights must be a dict by neutral name, got {type(inputs.weights).__name__}")
    expected = weight_shapes(spec)
    problems = [f"missing {name}" for name in expected if name not in inputs.weights]
    problems += [f"unexpected {name}" for name in inputs.weights if name not in expected]
    arrays = {name: getattr(inputs, name) for name in DATA} | dict(inputs.weights)
    for name, array in arrays.items():
        if (dtype := np.asarray(array).dtype).kind not in "fiu":
            problems.append(f"{leaf_words(name) if name in DATA else name} has dtype {dtype}, which is no real number")
    if problems:
        raise SideError(f"its inputs do not fit the network: {'; '.join(sorted(problems))}")


def record_inputs(inputs: Inputs) -> Trace:
    """Inputs as a trace: the data, the index stream, the initial state."""
    presented = {f"input.{name}": getattr(inputs, name) for name in DATA} | dict(inputs.weights)
    return Trace({Key(0, Mode.TRAIN, Kind.PRESENTED, path): np.asarray(array) for path, array in presented.items()})


def compare_inputs(setting: Setting, pair: tuple[str, str], actual: Trace, expected: Trace) -> Iterator[Measurement]:
    """Every array that is presented. Whole numbers must be equal; the others may be off by roundings to float32.

    Raises:
        SideError: names or shapes differ.
    """
    problems = [f"missing {tensor_words(key)}" for key in expected.tensors if key not in actual.tensors]
    problems += [f"unexpected {tensor_words(key)}" for key in actual.tensors if key not in expected.tensors]
    for key in expected.tensors.keys() & actual.tensors.keys():
        shapes = actual.tensors[key].shape, expected.tensors[key].shape
        if shapes[0] != shapes[1]:
            problems.append(f"{tensor_words(key)} has shape {shapes[0]} instead of {shapes[1]}")
    if problems:
        raise SideError(f"presents inputs that do not fit: {'; '.join(sorted(problems))}")
    floors = {key: _floor(array) for key, array in expected.tensors.items()}
    for distance in compare(_as_float(actual), _as_float(expected), floors):
        yield Measurement(**vars(distance), question=Question.INPUTS, setting=setting, pair=pair, step=0)


def _as_float(trace: Trace) -> Trace:
    return Trace({key: np.asarray(array, np.float64) for key, array in trace.tensors.items()})


def _floor(array: Array) -> Array:
    if np.issubdtype(array.dtype, np.integer):
        return np.zeros(())
    return ulp(rms(np.asarray(array, np.float64)), MANTISSA_BITS["float32"])


def explain_inputs(
    setting: Setting,
    dataset: Dataset,
    training: TrainSpec,
    spec: ModelSpec,
    role: str,
    shown: Trace,
    reference: NumpyBackend = HONEST,
) -> tuple[Cause, ...]:
    """Return the fault with which the reference presents what the side presented."""
    honest = record_inputs(reference.inputs(dataset, spec, training))
    pair = role, WITNESS
    first = next(m for m in compare_inputs(setting, pair, shown, honest) if not m.times_noise <= SAFETY)
    key = list(honest.tensors)[first.order]
    observed, predicted = (np.ravel(r.tensors[key]).astype(np.float64) for r in (shown, honest))
    step = max(1, len(observed) // 1024)
    drawn = {"predicted": predicted[::step], "observed": observed[::step], "axes": first.tensor}
    for entry in CATALOGUE.values():
        if entry.shows_in != "inputs" or not entry.applies(spec):
            continue
        faulty = record_inputs(reference.with_fault(entry.name).inputs(dataset, spec, training))
        if all(m.times_noise <= SAFETY for m in compare_inputs(setting, pair, shown, faulty)):
            ratio = float(np.vdot(observed, predicted) / max(np.vdot(predicted, predicted), np.finfo(float).tiny))
            scale = f"; {first.tensor} are {ratio:.8g} times the reference's" if "pixel" in entry.name else ""
            return (Cause(name=entry.name, evidence=f"{entry.what}: {entry.signature}{scale}", side=role, **drawn),)
    evidence = f"{first.tensor} differ; no fault of the catalogue reproduces them"
    return (Cause(name=UNEXPLAINED, evidence=evidence, side=role, **drawn),)
