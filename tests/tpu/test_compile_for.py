"""The real compiler of a TPU, one program of each kind: in an environment of its own, which has the extra `tpu`."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from parity.backend.compiler import CannotBeCompiled, Chips
from parity.bench import Case
from parity.errors import InputError
from parity.estimate import EstimateConfig, EstimateReport, EstimateRow, estimate
from parity.estimate.chip import CHIPS, roofline_of
from parity.spec import ModelSpec

pytestmark = pytest.mark.tpu
BATCH, WIDTH, DEPTH, MEMBERS = 32, 64, 2, 4
PAIR = str(Path(__file__).with_name("jax_pair.py"))


def products(spec: ModelSpec) -> int:
    """The operations of the matrix products of a model-step: forward, and of the weights' and the inputs' gradients,
    but for the inputs of the network.
    """
    sizes = [spec.input_dim, *[spec.hidden_width] * spec.num_hidden_layers, spec.output_dim]
    each = [2 * BATCH * fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    return 3 * sum(each) - each[0]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The command, as a user runs it, and where it wrote."""
    folder = tmp_path_factory.mktemp("estimate")
    words = (
        sys.executable,
        "-m",
        "parity",
        "bench",
        "--compile-for",
        "v5e",
        "--framework",
        "jax",
        "--depths",
        str(DEPTH),
    )
    files = ("--populations", str(MEMBERS), "--json", "e.json", "--html", "e.html")
    done = subprocess.run([*words, *files], check=False, cwd=folder, capture_output=True, text=True, timeout=500)
    return folder, done


@pytest.fixture(scope="module")
def report(command: tuple[Path, subprocess.CompletedProcess[str]]) -> EstimateReport:
    """What it wrote."""
    found = json.loads((command[0] / "e.json").read_text(), parse_constant=pytest.fail)
    rows = tuple(EstimateRow(**row) for row in found["rows"])
    config = EstimateConfig(compile_for=found["config"]["compile_for"])
    return EstimateReport(config=config, title="", rows=rows, environment={}, command="", seconds=found["seconds"])


def test_the_command(command: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = command
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ESTIMATES of a compiler; nothing was run. TPU v5e, 1 chip of 16 GiB: all ")
    assert "WARNING" not in done.stderr  # the library looks for no machine
    written = json.loads((folder / "e.json").read_text(), parse_constant=pytest.fail)
    assert written["estimates"] is True
    assert written["all_fit"] is True
    assert "no measurements" in (folder / "e.html").read_text()


def rows_of(report: EstimateReport, program: str) -> list[EstimateRow]:
    return [row for row in report.rows if row.program == program]


def test_every_program_is_compiled_and_fits(report: EstimateReport) -> None:
    assert report.is_well
    assert {row.program.partition(" (")[0] for row in report.rows} == {
        "update", "pass", "evaluation",
        *(f"check: {name}{wide}" for name in ("step", "evaluation", "activations") for wide in ("", ", float64")),
    }  # fmt: skip
    assert all(row.compile_s > 0 for row in report.rows if row.compile_s is not None)


def test_operations_are_those_of_the_products_and_little_more(report: EstimateReport) -> None:
    least = products(ModelSpec(num_hidden_layers=DEPTH, hidden_width=WIDTH))
    for row in (*rows_of(report, "update"), *rows_of(report, "check: step")):
        assert row.operations is not None
        assert least <= row.operations <= 1.1 * least, row


def test_a_lane_of_members_and_all_that_fill_a_chip(report: EstimateReport) -> None:
    few, many = rows_of(report, "update")
    assert (few.models, many.models) == (MEMBERS, 16 * MEMBERS)
    assert few.estimate_us is not None
    assert many.estimate_us is not None
    assert 0 < many.estimate_us < few.estimate_us  # what each operation costs by itself is shared


def test_the_state_that_is_read_and_written_is_in_the_roofline(report: EstimateReport) -> None:
    numbers = 784 * WIDTH + (DEPTH - 1) * WIDTH * WIDTH + WIDTH * 10  # of the kernels
    for row in rows_of(report, "update"):
        assert row.roofline_us is not None
        assert row.roofline_by == "memory"
        assert row.roofline_us >= 1e6 * 2 * 4 * numbers / CHIPS["v5e"].bandwidth


def test_a_pass_has_no_estimate_since_its_length_is_not_known(report: EstimateReport) -> None:
    for row in rows_of(report, "pass"):
        assert row.estimate_us is None
        assert row.fits
        assert row.memory_bytes is not None
        assert row.memory_bytes > 6000 * 784 * 4  # the training set


@pytest.mark.parametrize("kind", CHIPS)
def test_the_tables_of_the_makers_are_what_the_compiler_goes_by(kind: str) -> None:
    """A large product of bfloat16 is bound by them: the compiler's estimate lies a little above."""
    import jax
    import jax.numpy as jnp

    from bnjax.compiler import Placed, compiled, devices_to_compile_for

    devices = devices_to_compile_for(Chips(kind=kind, count=4))
    assert len({tuple(device.coords) for device in devices}) == 4  # a device is a chip, not half of one
    square = Placed(devices[:1]).form(jnp.zeros((4096, 4096), jnp.bfloat16))
    said = compiled(lambda: jax.jit(jnp.matmul).lower(square, square))
    roofline = roofline_of(CHIPS[kind], said)
    assert roofline.by == "operations"
    assert said.estimate_s is not None
    assert roofline.seconds <= said.estimate_s <= 2 * roofline.seconds


def test_a_loop_is_counted_once_so_that_it_has_no_figures() -> None:
    import jax
    import jax.numpy as jnp

    from bnjax.compiler import Placed, compiled, devices_to_compile_for

    square = Placed(devices_to_compile_for(Chips(kind="v5e"))).form(jnp.zeros((256, 256)))

    def run(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, _: (jnp.tanh(y @ x), None), x, None, length=100)[0]

    assert compiled(lambda: jax.jit(run).lower(square)).has_loop


def test_an_operation_that_a_tpu_lacks_is_told() -> None:
    import jax
    import jax.numpy as jnp

    from bnjax.compiler import Placed, compiled, devices_to_compile_for

    square = Placed(devices_to_compile_for(Chips(kind="v5e"))).form(jnp.zeros((4, 4)))
    with pytest.raises(CannotBeCompiled, match="eig"):
        compiled(lambda: jax.jit(jnp.linalg.eigvals).lower(square))


def test_what_does_not_fit_is_said() -> None:
    case = Case(depth=1, width=1024, populations=(4096,))
    found = estimate(EstimateConfig(compile_for="v5e", frameworks=("jax",), cases=(case,)))
    one_lane, many = rows_of(found, "update")  # in place: one lane's 13 GB fit, and those of 16 lanes do not
    assert one_lane.fits
    for row in (many, *rows_of(found, "pass")):
        assert row.fits is False
        assert "memory" in row.note
        assert row.estimate_us is None
    assert all(row.fits for row in rows_of(found, "check: step"))
    assert not found.is_well


def test_four_chips_share_the_batch_of_a_pair() -> None:
    found = estimate(EstimateConfig(compile_for="v6e:4", pair=PAIR, batch_sizes=(64,)))
    assert [row.program for row in found.rows] == [
        f"{side}: {task}" for side in ("reference", "candidate") for task in ("forward", "training step")
    ]
    forward = 64 * 2 * (64 * 27 * 64 + 64 * 64 * 3)  # a convolution, but for the border of the image, and a product
    for row in found.rows:
        assert row.operations is not None
        whole = forward if row.program.endswith("forward") else 2 * forward + 64 * 2 * 64 * 64 * 3
        assert 0.8 * whole / 4 <= row.operations <= 1.2 * whole / 4, row
    with pytest.raises(InputError, match="4 chips cannot share a batch of 6 samples evenly"):
        estimate(EstimateConfig(compile_for="v6e:4", pair=PAIR, batch_sizes=(6,)))


def test_four_chips_share_the_lanes_of_a_sweep() -> None:
    case = Case(depth=1, width=8, populations=(2,))
    found = estimate(EstimateConfig(compile_for="v6e:4", frameworks=("jax",), cases=(case,)))
    assert found.is_well
    assert [row.models for row in rows_of(found, "update")] == [2, 2 * 16]  # on each chip
