"""A user's model at work, as it is timed: it does what the port plays, in every library, and stays as it is."""

import copy
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from model_kinds import INPUTS, PORTS, LinenNet, TorchNet, jax_loss, torch_port
from torch import nn

import bnjax
import bntorch
from bntorch.module_work import own_copy
from parity.backend.port import Mode, Task, Workable
from parity.clock import Memory
from parity.pair_bench import worker
from parity.pair_bench.worker import Key

OPTIMIZERS: dict[str, Any] = {"torch": lambda parameters: torch.optim.SGD(parameters, 0.1)}


def ready(kind: str, **options: Any) -> Any:
    port = PORTS[kind](optimizer=OPTIMIZERS.get(kind, optax.sgd(0.1)), **options)
    port.prepare(INPUTS)
    assert isinstance(port, Workable)
    return port


@pytest.mark.parametrize("kind", PORTS)
def test_a_step_is_what_the_port_plays_and_the_optimizer_does(kind: str) -> None:
    """The first gives the loss of the model as it is, and later ones that of the model that is trained by then."""
    port = ready(kind)
    before = {name: array.copy() for name, array in port.state().items()}
    work = port.work(INPUTS, Task.STEP, port.ways[0], "float64", "highest")
    losses = []
    for _ in range(3):
        played = port.play(INPUTS, Mode.TRAIN)
        work.run(1)
        losses.append(work.size())
        assert losses[-1] == pytest.approx(played.loss, rel=1e-9)
        port.load({**played.statistics, **port.optimize([played.gradients])[0]})
    assert losses[0] > losses[1] > losses[2]
    port.load(before)
    assert port.play(INPUTS, Mode.TRAIN).loss == pytest.approx(losses[0], rel=1e-12)


@pytest.mark.parametrize("kind", PORTS)
@pytest.mark.parametrize("task", Task)
def test_what_a_way_gives_is_judged(kind: str, task: Task) -> None:
    port = ready(kind)
    key = Key(task, port.ways[0], "float32", 6)
    assert worker.judge(port, key, INPUTS, "highest") == ""

    class Off:
        def __init__(self, work: Any) -> None:
            self._work, self.run = work, work.run

        def size(self) -> float:
            return float(self._work.size() * (1 + 1e-4))

    honest = port.work
    port.work = lambda *given: Off(honest(*given))
    assert worker.judge(port, key, INPUTS, "highest").startswith("the loss is off by 0.0001 of its size")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch, when its compiler is imported
def test_a_compiled_module_does_what_it_does_as_it_is() -> None:
    port = ready("torch")
    for task in Task:
        key = Key(task, "compiled", "float32", 6)
        seconds = worker.prepare(port, key, INPUTS, "highest")
        assert seconds > 0
        assert worker.judge(port, key, INPUTS, "highest") == ""
    worker.release(port)


def test_the_module_stays_as_it_is() -> None:
    model = TorchNet().train()
    seen: list[Any] = []
    model.first.register_forward_hook(lambda *given: seen.append(given))
    before = copy.deepcopy(model.state_dict())
    port = bntorch.port(model, loss=nn.functional.cross_entropy, optimizer=OPTIMIZERS["torch"])
    for task in Task:
        port.work(INPUTS, task, "eager", "float32", "highest").run(2)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.dtype is torch.float32 for p in model.parameters())


def test_the_settings_of_jax_stay_as_they_are() -> None:
    port = ready("linen")
    for dtype in ("float64", "float32"):
        port.work(INPUTS, Task.STEP, "jitted", dtype, "highest").run(1)
        assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("kind", ["torch", "linen"])
def test_without_an_optimizer_nothing_is_trained(kind: str) -> None:
    port = PORTS[kind]()
    port.prepare(INPUTS)
    expected = port.play(INPUTS, Mode.TRAIN).loss
    work = port.work(INPUTS, Task.BACKWARD, port.ways[0], "float64", "highest")
    for _ in range(2):  # nothing is trained
        work.run(1)
        assert work.size() == pytest.approx(expected, rel=1e-9)


def test_dropout_drops_nothing() -> None:
    work = torch_port().work(INPUTS, Task.BACKWARD, "eager", "float64", "highest")
    work.run(1)
    first = work.size()
    work.run(1)
    assert work.size() == first


def test_a_turn_tells_time_and_memory() -> None:
    port = ready("torch")
    key = Key(Task.STEP, "eager", "float32", 6)
    worker.prepare(port, key, INPUTS, "highest")
    turn = worker.take_turn(port, key, blocks=3, block_seconds=0.001)
    assert len(turn.seconds) == 3
    assert min(turn.seconds) > 0
    worker.release(port)


def test_memory_is_what_is_held_at_most_from_then_on() -> None:
    held = np.ones(2**24)  # before it, so that it does not count
    memory = Memory()
    array = np.ones(2**23)
    del array
    peak = memory.peak()
    assert held.size
    if peak is not None:
        assert 0.9 * 2**26 <= peak < 2**27


# what users have


@pytest.mark.parametrize("kind", ["torch", "linen"])
@pytest.mark.parametrize("has_loss", [True, False])
def test_a_users_own_call_is_judged_by_what_it_gives(kind: str, has_loss: bool) -> None:
    """The modules show something else than the call makes of it."""

    def call(model: Any, batch: Any, train: bool) -> Any:
        given = (batch["x"],) if kind == "torch" else (batch["x"], train)
        return {"logits": 3 * model(*given)}

    def loss(outputs: Any, labels: Any) -> Any:
        of_logits: Any = nn.functional.cross_entropy if kind == "torch" else jax_loss
        return of_logits(outputs["logits"], labels)

    model: Any = TorchNet() if kind == "torch" else LinenNet()
    make: Any = bntorch.port if kind == "torch" else bnjax.port
    port = make(model, call=call, loss=loss if has_loss else None)
    port.prepare(INPUTS)
    for task in (Task.FORWARD, Task.BACKWARD)[: 1 + has_loss]:
        assert worker.judge(port, Key(task, port.ways[0], "float32", 6), INPUTS, "highest") == ""


def judged(model: nn.Module, task: Task = Task.BACKWARD, **options: Any) -> str:
    port = bntorch.port(model, loss=nn.functional.cross_entropy, **options)
    port.prepare(INPUTS)
    return worker.judge(port, Key(task, "eager", "float32", 6), INPUTS, "highest")


def test_dropout_that_is_called_as_a_function_is_told() -> None:
    class Dropping(TorchNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().forward(x), 0.5, self.training)

    assert judged(Dropping()) == "it draws random numbers, as dropout that is called as a function does"


def test_dropout_within_attention_drops_nothing() -> None:
    class Attending(TorchNet):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.layer(self.first(x)[None])[0])

    assert judged(Attending()) == ""


def test_a_model_that_makes_float32_of_its_own_is_judged() -> None:
    class Making(TorchNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x @ torch.eye(5))

    assert judged(Making()) == ""


def test_weight_norm_of_old_is_copied() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        normed = nn.utils.weight_norm(nn.Linear(5, 3))
    model = nn.Sequential(normed)
    model(torch.ones(2, 5))
    before = model[0].weight
    own_copy(model, {}, "float64")
    assert model[0].weight is before
    assert judged(model) == ""


def test_a_model_that_derives_something_as_it_goes_forward_is_run() -> None:
    class Deriving(TorchNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            energy = super().forward(x)
            (force,) = torch.autograd.grad(energy.sum(), self.first.weight, create_graph=True)
            return energy + force.sum()

    assert judged(Deriving(), Task.FORWARD) == ""


def test_a_schedule_that_is_at_its_end_stays_there() -> None:
    def optimizer(parameters: Any) -> Any:
        made = torch.optim.SGD(parameters, 0.1)
        return made, torch.optim.lr_scheduler.OneCycleLR(made, 0.1, total_steps=3)

    port = torch_port(optimizer=optimizer)
    port.work(INPUTS, Task.STEP, "eager", "float32", "highest").run(10)


def test_a_state_may_hold_the_parameters_themselves() -> None:
    port = PORTS["linen"](optimizer=optax.contrib.dog(1.0))
    port.prepare(INPUTS)
    port.work(INPUTS, Task.STEP, "jitted", "float32", "highest").run(2)


def test_a_model_that_gives_no_numbers_cannot_be_judged() -> None:
    class Nothing(TorchNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * torch.nan

    assert judged(Nothing()).startswith("it cannot be judged, since the model itself gives no finite number")


def test_the_gradients_count_as_memory_that_a_step_needs() -> None:
    model = nn.Sequential(nn.Linear(1024, 1024, bias=False), nn.Linear(1024, 3))
    port = bntorch.port(model, loss=nn.functional.cross_entropy, optimizer=OPTIMIZERS["torch"])
    inputs = {"x": np.ones((2, 1024)), "labels": np.zeros(2, int)}
    key = Key(Task.STEP, "eager", "float32", 2)
    worker.prepare(port, key, inputs, "highest")
    turn = worker.take_turn(port, key, blocks=2, block_seconds=0.001)
    worker.release(port)
    if turn.peak_bytes is not None:
        assert turn.peak_bytes > 0.9 * 2**22
