"""Which tensor is which: between every two libraries, under any names, and how it is rearranged."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kinds import INPUTS, PORTS, WITH_MODULES

from parity.backend.port import Anatomy, Call, Mode, ModuleCall, Rounding, Tensor
from parity.pair.transform import transforms
from parity.pair.weight_map import COUNTERS, proposals
from parity.verdict.compare import SAFETY
from parity.verdict.noise import rms


def anatomy(calls: list[str], **tensors: tuple[int, ...]) -> Anatomy:
    """Of a model whose modules are called in this order, with parameters by path ("__" for a dot)."""
    forms = {name.replace("__", "."): Tensor(shape, "float64") for name, shape in tensors.items()}
    return Anatomy(
        calls=tuple(ModuleCall(call=Call(module, 0), type="", parent=None) for module in calls),
        boundaries={},
        parameters=forms,
        statistics={},
        modules=dict.fromkeys(calls, ""),
    )


# between libraries


@pytest.mark.parametrize(("reference", "candidate"), list(permutations(WITH_MODULES, 2)))
def test_with_the_weights_of_another_library_a_model_computes_the_same(reference: str, candidate: str) -> None:
    ours, theirs = PORTS[reference](), PORTS[candidate]()
    found = proposals(*(port.anatomy(INPUTS, Mode.EVALUATION) for port in (ours, theirs)))
    assert len(found) == 1  # by names, calls and shapes alike
    assert found[0].unmapped == ((), ())
    rng = np.random.default_rng(3)
    ours.load({n: np.abs(rng.normal(size=a.shape)) for n, a in ours.state().items() if a.dtype == np.float64})
    state = ours.state()
    theirs.load({pair.candidate: pair.ways[0](state[pair.reference]) for pair in found[0].tensors})
    ours_played, theirs_played = (port.play(INPUTS, Mode.EVALUATION) for port in (ours, theirs))
    output = [list(played.values.values())[-1] for played in (ours_played, theirs_played)]
    draws = [ours.play(INPUTS, Mode.EVALUATION, rounding=Rounding(bits=52, seed=seed)) for seed in range(8)]
    floor = max(float(rms(list(draw.values.values())[-1] - output[0])) for draw in draws)
    assert float(rms(output[1] - output[0])) <= SAFETY * (floor + np.spacing(float(rms(output[0]))))
    assert all(leaf not in pair.reference for pair in found[0].tensors for leaf in COUNTERS)


# names, calls, shapes


def test_names_tell_what_the_order_does_not() -> None:
    ours = anatomy(["q", "k", "v"], q__weight=(4, 4), k__weight=(4, 4), v__weight=(4, 4))
    theirs = anatomy(["value", "key", "query"], value__kernel=(4, 4), key__kernel=(4, 4), query__kernel=(4, 4))
    named, called = proposals(ours, theirs)
    assert (named.name, named.modules) == ("names", {"q": "query", "k": "key", "v": "value"})
    assert (called.name, called.modules) == ("order of calls", {"q": "value", "k": "key", "v": "query"})


def test_the_order_of_calls_tells_what_names_do_not() -> None:
    ours = anatomy(["stem", "body", "end"], end__weight=(3, 3), stem__weight=(3, 3), body__weight=(3, 3))
    theirs = anatomy(["Dense_0", "Dense_1", "Dense_2"], **{f"Dense_{i}__kernel": (3, 3) for i in range(3)})
    called, shaped = proposals(ours, theirs)  # where names tell nothing, they follow the calls
    assert called.modules == {"stem": "Dense_0", "body": "Dense_1", "end": "Dense_2"}
    assert (shaped.name, shaped.modules) == ("shapes", {"end": "Dense_0", "stem": "Dense_1", "body": "Dense_2"})


def test_numbers_in_names_count() -> None:
    numbers = [0, 2, 1, 10]
    ours = anatomy([], **{f"layers__{i}__attn__weight": (2, 2) for i in range(11)})
    theirs = anatomy([], **{f"layers_{i}__attention__kernel": (2, 2) for i in [*numbers, *range(3, 10)]})
    named = proposals(ours, theirs)[0]
    assert named.modules == {f"layers.{i}.attn": f"layers_{i}.attention" for i in range(11)}


def test_what_has_no_partner_is_named() -> None:
    ours = anatomy(["a", "b"], a__weight=(2, 3), a__bias=(2,), b__weight=(5, 5))
    theirs = anatomy(["x", "y"], x__kernel=(3, 2), x__bias=(2,), y__kernel=(7, 7))
    (only,) = proposals(ours, theirs)
    assert [(pair.reference, pair.candidate) for pair in only.tensors] == [
        ("a.weight", "x.kernel"),
        ("a.bias", "x.bias"),
    ]
    assert only.unmapped == (("b.weight",), ("y.kernel",))


# rearrangements


@pytest.mark.parametrize(
    ("source", "target", "same", "axes", "flipped"),
    [
        ((3, 5), (5, 3), False, (1, 0), ()),
        ((4, 4), (4, 4), False, (1, 0), ()),
        ((4, 4), (4, 4), True, (0, 1), ()),
        ((8, 3, 5, 7), (5, 7, 3, 8), False, (2, 3, 1, 0), ()),
        ((5, 7, 3, 8), (8, 3, 5, 7), False, (3, 2, 0, 1), ()),
        ((3, 8, 5, 7), (5, 7, 3, 8), False, (2, 3, 0, 1), (0, 1)),
        ((8, 3, 5), (5, 3, 8), False, (2, 1, 0), ()),
        ((6,), (6,), False, (0,), ()),
    ],
)
def test_the_likeliest_way_comes_first(
    source: Any, target: Any, same: bool, axes: tuple[int, ...], flipped: tuple[int, ...]
) -> None:
    way = transforms(source, target, same)[0]
    assert (way.axes, way.flipped) == (axes, flipped)
    array = np.arange(np.prod(source), dtype=float).reshape(source)
    np.testing.assert_array_equal(way(array), np.flip(array.transpose(axes), flipped))


def test_heads_are_split_and_joined() -> None:
    array = np.arange(12.0 * 5).reshape(12, 5)
    split = transforms((12, 5), (5, 3, 4), False)
    assert [way.name for way in split] == ["transposed, split into heads"]
    np.testing.assert_array_equal(split[0](array), array.T.reshape(5, 3, 4))
    joined = [way(split[0](array)) for way in transforms((5, 3, 4), (12, 5), False)]
    assert any(np.array_equal(each, array) for each in joined)
    np.testing.assert_array_equal(transforms((12,), (3, 4), True)[0](array[:, 0]), array[:, 0].reshape(3, 4))


def test_shapes_that_do_not_fit_have_no_way() -> None:
    assert transforms((3, 4), (3, 5), False) == ()
    assert transforms((2, 6), (3, 4), False) == ()


@given(st.permutations([2, 3, 5, 7]), st.permutations([2, 3, 5, 7]), st.booleans())
def test_no_way_changes_a_number(source: list[int], target: list[int], same: bool) -> None:
    array = np.arange(float(np.prod(source))).reshape(source)
    for way in transforms(tuple(source), tuple(target), same):
        assert way(array).shape == tuple(target)
        np.testing.assert_array_equal(np.sort(way(array), axis=None), array.ravel())
