"""Properties for hostile input: tried on a small fixed sample in the suite, on many random cases in `make fuzz`."""

import os
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.errors import LONGEST_LINE, InputError

_HEALTH_CHECKS: Any = list(HealthCheck)  # cases share a folder, which each empties first
FOLDER = os.environ.get("BNPARITY_FUZZ", "")
"""Where `benchmarks/fuzz.py` wants the counts; it is what asks for many cases."""
COUNTS: Counter[str] = Counter()
"""Cases that ran to their end, by kind and property: one that Hypothesis rejects or that fails is none."""


def hostile(
    *, sample: int, many: int, seconds: float = 20.0, memory: int = 1 << 28, **strategies: Any
) -> Callable[[Any], Any]:
    """A property, tried on so many cases, each within so many seconds and bytes beyond what is in use."""

    def decorate(body: Callable[..., None]) -> Any:
        kind = body.__module__.removeprefix("test_hostile_")

        @wraps(body)
        def case(*arguments: Any, **values: Any) -> None:
            with bounded(seconds, memory):
                body(*arguments, **values)
            COUNTS[f"{kind}: {body.__name__}"] += 1

        effort = settings(
            max_examples=many if FOLDER else sample,
            derandomize=not FOLDER,
            deadline=None,
            database=None,
            suppress_health_check=_HEALTH_CHECKS,
        )
        return effort(given(**strategies)(case))

    return decorate


@contextmanager
def bounded(seconds: float, memory: int) -> Iterator[None]:
    """A hang is a TimeoutError, and memory beyond the bound a MemoryError: both fail the property."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, give_up)
    others = signal.setitimer(signal.ITIMER_REAL, seconds)  # pytest-timeout's
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *others)


def refusal(function: Callable[..., object], *arguments: Any) -> str:
    """What is said of bad input; "" if it was taken. Nothing but an `InputError` in one short line will do."""
    try:
        function(*arguments)
    except InputError as error:
        message = str(error)
        assert_legible(message)
        return message
    return ""


def assert_legible(message: str) -> None:
    """One line that says something, and nothing that a terminal obeys."""
    assert message
    assert message.isprintable(), ascii(message)
    assert len(message) <= LONGEST_LINE


ATTACKS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "' onmouseover='alert(1)",
    "</title><script>", "<!--", "-->", "]]>", "&lt;b&gt;", "&#x3c;script&#62;", "{{ 7*7 }}", "{% raw %}",
    "javascript:alert(1)", "![i](http://a.example/i.png)", "[l](javascript:alert(1))", "<http://a.example>",
    "[r]: http://a.example", "`", "**", "$x^2$", "$\\frac{", "\\$", "_^{}", "%s%n", "{0}", "{x!r}", "[/red]",
    "[bold]", "=cmd()|' /C calc'!A0", "@SUM(1)", "+1", "-1", "'; DROP TABLE trials; --", "$(id)", "`id`",
    "../../etc/passwd", "~", "-", "--", "--help", "a,b", 'say ""', '"', "'", "\\", "\r", "\n", "\r\n", "\t", "\x00",
    "\x1b[31m", "\x1b]0;t\x07", "\x08", "\x7f", "\x85", "\x9b31m", "\u2028", "\u200b", "\u202e", "\ufeff", "\ufffe",
    "\udcff", "\ud800", "😀", "日本語", "é", "\u0301" * 40, "ı", "ß", "x" * 300, " ", "  a  b ", "", "null", "true",
    "nan", "[table]", "# comment", "a = 1", '"""', "'''", "\\u0000", "\\x41",
)  # fmt: skip
ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates too
texts = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(ANY_CHARACTER, max_size=30),
    st.lists(st.sampled_from(ATTACKS), max_size=5).map("".join),
    st.tuples(st.sampled_from(ATTACKS), st.text(ANY_CHARACTER, max_size=8), st.sampled_from(ATTACKS)).map("".join),
)
"""Text of every kind that somewhere means more than its characters."""
file_names = (
    texts.map(lambda text: text.replace("/", "_").replace("\0", "_").encode("utf-8", "surrogatepass")[:200])
    .filter(lambda name: name not in (b"", b".", b".."))
    .map(os.fsdecode)
)
"""Every name that a file can have, those that are no text among them."""
paths = st.one_of(
    texts,
    file_names,
    st.lists(file_names, min_size=1, max_size=4).map("/".join),
    st.sampled_from(("a\0b", "\ud800", "x" * 5000, "x" * 250)),
)
"""Whatever someone may give as a path."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """The content after a few blows: bytes flipped, cut out, put in, said twice, cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(1, 8))
        match draw(st.sampled_from(("flip", "cut", "insert", "repeat", "truncate", "append"))):
            case "flip" if place < len(data):
                data[place] ^= draw(st.integers(1, 255))
            case "cut":
                del data[place : place + length]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "repeat":
                data[place:place] = data[place : place + length]
            case "truncate":
                del data[place:]
            case _:
                data += draw(st.one_of(st.binary(min_size=1, max_size=8), st.just(bytes(64))))
    return bytes(data)
