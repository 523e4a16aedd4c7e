"""Which tensor is which: between every two libraries, under any names, and how it is rearranged."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kinds import INPUTS, PORTS, WITH_MODULES

from parity.backend.port import Anatomy, Call, Mode, ModuleCall, Rounding, Tensor
from parity.pair.owners import COUNTERS, Piece
from parity.pair.transform import transforms
from parity.pair.weight_map import WeightMap, weight_maps
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


def modules(found: WeightMap) -> dict[str, str]:
    """The candidate's module for each of the reference's."""
    return {str(pair.reference): str(pair.candidate) for pair in found.modules}


def tensors(found: WeightMap) -> list[tuple[str, str]]:
    """The pairs of tensors."""
    return [("+".join(map(str, p.reference)), "+".join(map(str, p.candidate))) for p in found.tensors]


# between libraries


@pytest.mark.parametrize(("reference", "candidate"), list(permutations(WITH_MODULES, 2)))
def test_with_the_weights_of_another_library_a_model_computes_the_same(reference: str, candidate: str) -> None:
    ours, theirs = PORTS[reference](), PORTS[candidate]()
    found = weight_maps(*(port.anatomy(INPUTS, Mode.EVALUATION) for port in (ours, theirs)))
    assert len(found) == 1  # by names, calls and shapes alike
    assert found[0].unmapped == ((), ())
    rng = np.random.default_rng(3)
    ours.load({n: np.abs(rng.normal(size=a.shape)) for n, a in ours.state().items() if a.dtype == np.float64})
    state = ours.state()
    theirs.load(found[0].load(state, theirs.state()))
    ours_played, theirs_played = (port.play(INPUTS, Mode.EVALUATION) for port in (ours, theirs))
    output = [list(played.values.values())[-1] for played in (ours_played, theirs_played)]
    draws = [ours.play(INPUTS, Mode.EVALUATION, rounding=Rounding(bits=52, seed=seed)) for seed in range(8)]
    floor = max(float(rms(list(draw.values.values())[-1] - output[0])) for draw in draws)
    assert float(rms(output[1] - output[0])) <= SAFETY * (floor + np.spacing(float(rms(output[0]))))
    assert all(leaf not in path for pair in tensors(found[0]) for path in pair for leaf in COUNTERS)


# names, calls, shapes


def test_names_tell_what_the_order_does_not() -> None:
    ours = anatomy(["q", "k", "v"], q__weight=(4, 4), k__weight=(4, 4), v__weight=(4, 4))
    theirs = anatomy(["value", "key", "query"], value__kernel=(4, 4), key__kernel=(4, 4), query__kernel=(4, 4))
    named, called = weight_maps(ours, theirs)
    assert (named.name, modules(named)) == ("names", {"q": "query", "k": "key", "v": "value"})
    assert (called.name, modules(called)) == ("order of calls", {"q": "value", "k": "key", "v": "query"})


def test_the_order_of_calls_tells_what_names_do_not() -> None:
    ours = anatomy(["stem", "body", "end"], end__weight=(3, 3), stem__weight=(3, 3), body__weight=(3, 3))
    theirs = anatomy(["Dense_0", "Dense_1", "Dense_2"], **{f"Dense_{i}__kernel": (3, 3) for i in range(3)})
    called, shaped = weight_maps(ours, theirs)  # where names tell nothing, they follow the calls
    assert modules(called) == {"stem": "Dense_0", "body": "Dense_1", "end": "Dense_2"}
    assert (shaped.name, modules(shaped)) == ("shapes", {"end": "Dense_0", "stem": "Dense_1", "body": "Dense_2"})


def test_numbers_in_names_count() -> None:
    numbers = [0, 2, 1, 10]
    ours = anatomy([], **{f"layers__{i}__attn__weight": (2, 2) for i in range(11)})
    theirs = anatomy([], **{f"layers_{i}__attention__kernel": (2, 2) for i in [*numbers, *range(3, 10)]})
    named = weight_maps(ours, theirs)[0]
    assert modules(named) == {f"layers.{i}.attn": f"layers_{i}.attention" for i in range(11)}


def test_what_has_no_partner_is_named() -> None:
    ours = anatomy(["a", "b"], a__weight=(2, 3), a__bias=(2,), b__weight=(5, 5))
    theirs = anatomy(["x", "y"], x__kernel=(3, 2), x__bias=(2,), y__kernel=(7, 7))
    (only,) = weight_maps(ours, theirs)
    assert tensors(only) == [
        ("a.weight", "x.kernel"),
        ("a.bias", "x.bias"),
    ]
    assert only.unmapped == ((Piece("b.weight"),), (Piece("y.kernel"),))


def test_a_bias_that_one_side_lacks_is_named() -> None:
    ours = anatomy(["a", "b"], a__weight=(2, 3), a__bias=(2,), b__weight=(5, 5), b__bias=(5,))
    theirs = anatomy(["x", "y"], x__kernel=(3, 2), y__kernel=(5, 5), y__bias=(5,))
    only = weight_maps(ours, theirs)[0]
    assert modules(only) == {"a": "x", "b": "y"}
    assert only.unmapped == ((Piece("a.bias"),), ())


def test_what_is_packed_on_one_side_is_taken_apart() -> None:
    ours = anatomy(["attn"], attn__in_proj_weight=(12, 4), attn__in_proj_bias=(12,))
    theirs = anatomy(
        ["attn.query", "attn.key", "attn.value"],
        **{
            f"attn__{n}__{leaf}": shape
            for n in ("query", "key", "value")
            for leaf, shape in (("kernel", (4, 2, 2)), ("bias", (2, 2)))
        },
    )
    named = weight_maps(ours, theirs)[0]
    assert named.unmapped == ((), ())
    state: Any = {"attn.in_proj_weight": np.arange(48.0).reshape(12, 4), "attn.in_proj_bias": np.arange(12.0)}
    own = {path: np.zeros(form.shape) for path, form in theirs.parameters.items()}
    loaded = named.load(state, own)
    for number, name in enumerate(("query", "key", "value")):
        part = slice(4 * number, 4 * number + 4)
        expected = state["attn.in_proj_weight"][part].T.reshape(4, 2, 2)
        np.testing.assert_array_equal(loaded[f"attn.{name}.kernel"], expected)
        np.testing.assert_array_equal(loaded[f"attn.{name}.bias"], state["attn.in_proj_bias"][part].reshape(2, 2))


def test_layers_that_are_stacked_on_one_side_are_taken_apart() -> None:
    ours = anatomy([f"layers.{i}" for i in range(3)], **{f"layers__{i}__weight": (4, 5) for i in range(3)})
    theirs = Anatomy(
        calls=tuple(ModuleCall(call=Call("stack", step), type="", parent=None) for step in range(3)),
        boundaries={},
        parameters={"stack.kernel": Tensor((3, 5, 4), "float64")},
        statistics={},
        modules={"stack": ""},
    )
    for one, other in ((ours, theirs), (theirs, ours)):
        found = weight_maps(one, other)[0]
        assert found.unmapped == ((), ())
        names = {f"layers.{i}": f"stack[{i}]" for i in range(3)}
        assert modules(found) == (names if one is ours else {b: a for a, b in names.items()})
    state = {f"layers.{i}.weight": np.full((4, 5), i + 0.5) + np.arange(5.0) for i in range(3)}
    loaded = weight_maps(ours, theirs)[0].load(state, {"stack.kernel": np.zeros((3, 5, 4))})
    np.testing.assert_array_equal(loaded["stack.kernel"], np.stack([array.T for array in state.values()]))


def test_the_two_biases_of_an_lstm_are_added_up() -> None:
    ours = anatomy(
        ["lstm"], lstm__weight_ih_l0=(8, 3), lstm__weight_hh_l0=(8, 2), lstm__bias_ih_l0=(8,), lstm__bias_hh_l0=(8,)
    )
    gates = {f"cell__i{gate}__kernel": (3, 2) for gate in "ifgo"} | {f"cell__h{g}__kernel": (2, 2) for g in "ifgo"}
    theirs = anatomy(
        [f"cell.{source}{gate}" for source in "ih" for gate in "ifgo"],
        **gates,
        **{f"cell__h{gate}__bias": (2,) for gate in "ifgo"},
    )
    found = weight_maps(ours, theirs)[0]
    assert found.unmapped == ((), ())
    rng = np.random.default_rng(0)
    state = {path: rng.normal(size=form.shape) for path, form in ours.parameters.items()}
    loaded = found.load(state, {path: np.zeros(form.shape) for path, form in theirs.parameters.items()})
    for number, gate in enumerate("ifgo"):
        part = slice(2 * number, 2 * number + 2)
        np.testing.assert_array_equal(loaded[f"cell.i{gate}.kernel"], state["lstm.weight_ih_l0"][part].T)
        np.testing.assert_array_equal(loaded[f"cell.h{gate}.kernel"], state["lstm.weight_hh_l0"][part].T)
        bias = state["lstm.bias_ih_l0"][part] + state["lstm.bias_hh_l0"][part]
        np.testing.assert_array_equal(loaded[f"cell.h{gate}.bias"], bias)


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


def test_of_a_square_kernel_the_usual_way_comes_first_in_both_directions() -> None:
    kernel = np.arange(16.0).reshape(4, 4)
    for shape, target, is_kernel in (
        ((4, 4, 1, 1), (1, 1, 4, 4), False),
        ((1, 1, 4, 4), (4, 4, 1, 1), True),
        ((4, 4, 1), (4, 4), False),  # a convolution of 1, as people port it to a dense layer
        ((4, 4), (1, 1, 4, 4), True),
    ):
        found = transforms(shape, target, False, is_kernel)[0](kernel.reshape(shape))
        assert np.array_equal(found, kernel.T.reshape(target)), (shape, target)
    assert [way.name for way in transforms((8, 6, 1), (6, 8), False)] == ["transposed"]


def test_heads_are_joined_as_they_lie() -> None:
    """`DenseGeneral` has kernels (in, heads, features) and (heads, features, out), PyTorch (out, in)."""
    assert transforms((12, 3, 4), (12, 12), False, is_kernel=True)[0].axes == (1, 2, 0)
    assert transforms((3, 4, 12), (12, 12), False, is_kernel=True)[0].axes == (2, 0, 1)
    assert transforms((3, 4), (12,), False)[0].axes == (0, 1)
