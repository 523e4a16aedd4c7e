"""Learning rates as someone types them: the grid that the numbers say, or one line."""

import math
import sys
from itertools import pairwise

from hostile_cases import hostile, refusal, texts
from hypothesis import strategies as st

from parity.divergence import LearningRates

numerals = st.one_of(
    st.floats().map(repr),
    st.floats(1e-9, 1e9).map(repr),
    st.floats(1e-9, 1e9).map(lambda value: f"{value:.3g}"),
    st.sampled_from((
        "0", "-0", "1", "10", "1e400", "-1e400", "1e-400", "5e-324", "2.2e-308", "1.7976931348623157e308", "inf",
        "-inf", "nan", "infinity", "1_000", "1__0", "_1", "0x10", "1e", "e1", ".5", "5.", ".", "+1", "--1",
        "١", "１", "٣.٥", "½", "²", "1,5", "1 ", "\t1\n", "1\0", "1e1_0", "1" * 400,
        "0." + "0" * 400 + "1", "1j", "True", "None", "9" * 5000,
    )),
    texts,
)  # fmt: skip
counts = st.one_of(
    st.integers(2, 40).map(str), st.integers(-5, 2000).map(str), numerals,
    st.sampled_from(("1000", "1001", "9" * 4300, "9" * 4301)),
)  # fmt: skip
lines = st.one_of(
    st.tuples(numerals, numerals, counts).map(":".join),
    st.lists(numerals, max_size=5).map(":".join),
    texts,
    st.sampled_from((":" * 10**6, "1" * 10**6, "0.1:1:" + " " * 10**6 + "3", "\x1b" * 10**6, "é" * 10**6)),
)


def understood(text: str) -> tuple[float, float, int] | None:
    """The three numbers by the rule: positive and finite, rising, at least two and at most a thousand."""
    parts = text.split(":")
    if len(parts) != 3:
        return None
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError:
        return None
    return (low, high, count) if 0 < low < high < math.inf and 2 <= count <= 1000 else None


@hostile(sample=250, many=16000, text=lines)
def test_learning_rates(text: str) -> None:
    found: list[LearningRates] = []
    message = refusal(lambda: found.append(LearningRates.parse(text)))
    expected = understood(text)
    if not found:
        assert expected is None or "lie too close together" in message
        assert "learning rate" in message
        return
    assert expected is not None
    low, high, count = expected
    values = found[0].values()
    assert (len(values), values[0], values[-1]) == (count, low, high)
    assert all(below < above for below, above in pairwise(values))
    # A logarithm of at most 745 is rounded in its last place, and so is each of the few steps to and from it.
    rounding = 8 * 745 * sys.float_info.epsilon
    for place, value in enumerate(values):
        exact = math.exp(math.log(low) + (math.log(high) - math.log(low)) * place / (count - 1))
        assert math.isclose(value, exact, rel_tol=rounding, abs_tol=2 * 5e-324)
    assert LearningRates.parse(str(found[0])) == found[0]
