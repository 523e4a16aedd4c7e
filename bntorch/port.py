"""Any PyTorch model, as it is compared with a model of another framework."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bntorch.conventions import Changed, Options, optimizers
from bntorch.dispatch import OVERFLOW, Calls, Lift, Narrow, Perturb, as_result
from bntorch.hooks import Capture, like
from bntorch.module_work import WAYS, ModuleWork, batch_of, own_copy
from bntorch.settings import matmul_precision
from parity.backend.batch import Batch, called, loss_of, map_arrays, unused
from parity.backend.convention import Change, Option, is_lifted_by, of_islands
from parity.backend.port import Anatomy, Forced, Island, Mode, Played, Rounding, Task, Work, check_state
from parity.backend.port import Tensor as Form
from parity.errors import InputError
from parity.spec import Precision
from parity.weights import Array

DROPOUTS = nn.modules.dropout._DropoutNd


def port(
    model: nn.Module,
    variables: Mapping[str, Any] | None = None,
    *,
    loss: Callable[..., Any] | None = None,
    optimizer: Callable[..., Any] | None = None,
    call: Callable[[Any, Mapping[str, Any], bool], Any] | None = None,
) -> "ModelPort":
    """Wrap a model for `parity.compare`.

    Args:
        model: a module.
        variables: a `state_dict` for it; None for what it holds.
        loss: of the model's output and the inputs that the model does not take; a scalar. Without it nothing backward
            is compared.
        optimizer: makes one from the model's parameters; or `(optimizer, schedule)`, with a schedule of its rate from
            `torch.optim.lr_scheduler`, which is stepped after each of its steps.
        call: `(model, batch, train)` gives the model's output for a batch of inputs by name. By default inputs are
            matched to the parameters of the model's `forward` by name, and the rest in order.
    """
    return ModelPort(model, variables, loss, optimizer, call)


class ModelPort:
    """See `port`, and `parity.backend.port.Port`. What is run is the module itself, on copies of its tensors."""

    framework = "torch"
    title = "PyTorch"

    def __init__(self, model: nn.Module, variables: Any, loss: Any, optimizer: Any, call: Any) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"{type(model).__name__} is no model; give a torch.nn.Module")
        self._model, self._call = getattr(model, "_orig_mod", model), call  # what `torch.compile` has wrapped
        model = self._model
        for name, given, remedy in (
            ("loss", loss, "a function of the model's output, such as torch.nn.functional.cross_entropy"),
            ("optimizer", optimizer, "a function of the parameters, such as lambda p: torch.optim.SGD(p, 0.1)"),
        ):
            if given is not None and (not callable(given) or (name == "loss" and isinstance(given, type))):
                raise InputError(f"{name}={given!r} cannot be used; give {remedy}")
        self.versions = {"torch": str(torch.__version__)}
        self._runs = 0
        self._unused: tuple[str, ...] = ()
        self.loss, self.optimizer = loss, optimizer
        self.has_loss, self.has_optimizer = loss is not None, optimizer is not None
        self._is_lifted, self._runs_in_float64 = False, True
        self._parameters = {name: _widened(p) for name, p in model.named_parameters()}
        self._statistics = {name: _widened(b) for name, b in model.named_buffers()}
        if variables is not None:
            self.load({name: _array(_tensor(value)) for name, value in variables.items()})

    def prepare(self, inputs: Mapping[str, Any]) -> None:
        """See `Port`. A module has its tensors from the beginning; whether it runs in float64 is tried."""
        try:
            self.anatomy(inputs, Mode.TRAIN)
        except RuntimeError as error:
            if self._is_lifted or not ("dtype" in str(error) or OVERFLOW in str(error)):
                raise
            self._is_lifted = True  # a model may make float32 of its own, which meets float64
            self.anatomy(inputs, Mode.TRAIN)
            self._runs_in_float64 = False

    def lift(self) -> None:
        """See `Port`."""
        self._is_lifted = True

    def anatomy(self, inputs: Mapping[str, Any], mode: Mode) -> Anatomy:
        """See `Port`."""
        seen, narrow = Capture(), Narrow()
        self._run(inputs, mode, *_fresh(self._parameters, self._statistics), seen, narrow, self._lift())
        return Anatomy(
            calls=tuple(seen.calls),
            boundaries={boundary: _form(value) for boundary, value in seen.values.items()},
            parameters={name: _form(p) for name, p in self._parameters.items()},
            statistics={name: _form(b) for name, b in self._statistics.items()},
            modules={path: type(module).__name__ for path, module in self._model.named_modules()},
            islands=tuple(narrow.islands),
            runs_in_float64=self._runs_in_float64,
            sources=seen.sources,
            unused=self._unused,
            frozen=tuple(name for name, p in self._model.named_parameters() if not p.requires_grad),
        )

    def options(self, inputs: Mapping[str, Any], mode: Mode) -> Sequence[Option]:
        """See `Port`."""
        noted = Options()
        own = _fresh(self._parameters, self._statistics)
        self._run(inputs, mode, *own, Capture(), nullcontext(), self._lift(), is_backward=False, conventions=noted)
        return (*noted.found.values(), *of_islands(self.anatomy(inputs, mode).islands))

    def state(self) -> Mapping[str, Array]:
        """See `Port`."""
        return _arrays({**self._parameters, **self._statistics})

    def load(self, state: Mapping[str, Array]) -> None:
        """See `Port`."""
        check_state(state, {name: _form(t) for name, t in {**self._parameters, **self._statistics}.items()})
        for own in (self._parameters, self._statistics):
            own.update({name: like(state[name], tensor) for name, tensor in own.items() if name in state})

    def play(
        self,
        inputs: Mapping[str, Any],
        mode: Mode,
        forced: Forced | None = None,
        rounding: Rounding | None = None,
        dtype: str = "float64",
        is_backward: bool = True,
        change: Change | None = None,
    ) -> Played:
        """See `Port`."""
        parameters, statistics = self._parameters, self._statistics
        perturb: Any = nullcontext()
        if dtype != "float64":
            inputs, parameters, statistics = (
                map_arrays(partial(_narrowed, dtype=getattr(torch, dtype)), each)
                for each in (inputs, parameters, statistics)
            )
        if rounding is not None:
            perturb = Perturb(rounding.bits, rounding.seed)
            with perturb:
                inputs, parameters, statistics = (
                    map_arrays(lambda each: as_result(_tensor(each)), given)
                    for given in (inputs, parameters, statistics)
                )
        parameters, statistics = _fresh(parameters, statistics)
        seen = Capture(forced)
        is_lifted = is_lifted_by(change)
        lift = self._lift(is_lifted) if dtype == "float64" else nullcontext()
        conventions = nullcontext() if change is None or is_lifted else Changed(change)
        loss = self._run(inputs, mode, parameters, statistics, seen, perturb, lift, is_backward, conventions)
        shown = Played(
            values=_arrays(seen.values), loss=None if loss is None else float(loss), statistics=_arrays(statistics)
        )
        if loss is None or not is_backward:
            return shown
        gradients = {name: _array(_gradient(p)) for name, p in parameters.items()}
        return replace(shown, cotangents=_arrays(seen.every_cotangent()), gradients=gradients)

    def optimizer_islands(self) -> Sequence[Island]:
        """See `Port`. PyTorch's optimizers compute in the dtype of the parameters; a rate may be a tensor."""
        stepper = self._stepper([nn.Parameter(p.clone()) for p in self._parameters.values()])
        groups = getattr(stepper.optimizer, "param_groups", ())
        numbers = ((key, each) for group in groups for key, each in group.items() if isinstance(each, Tensor))
        narrow = (
            (key, each.dtype) for key, each in numbers if each.is_floating_point() and each.dtype != torch.float64
        )
        found = {Island("", key, str(dtype).removeprefix("torch.")): None for key, dtype in narrow}
        return tuple(found)

    def optimizer_options(self) -> Sequence[Option]:
        """See `Port`."""
        return optimizers.options(self._stepper([nn.Parameter(p.clone()) for p in self._parameters.values()]))

    def optimize(
        self,
        gradients: Sequence[Mapping[str, Array]],
        rounding: Rounding | None = None,
        change: Change | None = None,
    ) -> list[dict[str, Array]]:
        """See `Port`."""
        parameters = {name: nn.Parameter(p.clone()) for name, p in self._parameters.items()}
        perturb: Any = nullcontext()
        if rounding is not None:
            gradients = [rounding.move(each, step) for step, each in enumerate(gradients)]
            perturb = Perturb(rounding.bits, rounding.seed)
        made = self._stepper(list(parameters.values()))
        take_step = optimizers.changed(made, None if is_lifted_by(change) else change)
        found = []
        for step in gradients:
            for name, p in parameters.items():
                p.grad = like(step[name], p) if name in step else None
            with perturb:
                take_step(list(parameters.values()))
            found.append(_arrays(parameters))
        return found

    ways = WAYS

    def own_process(self) -> None:
        """See `Workable`. What is compiled goes into a folder that is empty each time."""

    def work(self, inputs: Mapping[str, Any], task: Task, way: str, dtype: str, precision: Precision) -> Work:
        """See `Workable`."""
        model = own_copy(self._model, {**self._parameters, **self._statistics}, dtype)
        _set_mode(model, Mode.EVALUATION if task is Task.FORWARD else Mode.TRAIN)
        device = next((p.device for p in model.parameters()), None)
        batch = batch_of(inputs, dtype, device)
        return ModuleWork(model, self._call, self.loss, self._step_of, batch, task, way, precision)

    def forget(self) -> None:
        """See `Workable`. TorchDynamo compiles a function for a few models, and runs it eagerly for later ones."""
        torch.compiler.reset()

    def _step_of(self, parameters: Sequence[Tensor]) -> Callable[[], None]:
        """Return what takes the optimizer's steps; a schedule that is at its end stays there."""
        stepper = self._stepper(list(parameters))
        has_more = True

        def step() -> None:
            nonlocal has_more
            stepper.optimizer.step()
            if has_more:
                try:
                    stepper.step_schedule()
                except InputError:
                    has_more = False

        return step

    def _stepper(self, parameters: list[Any]) -> optimizers.Stepper:
        return optimizers.Stepper.of(self.optimizer(parameters))

    def _lift(self, also: bool = False) -> Any:
        return Lift() if self._is_lifted or also else nullcontext()

    def _run(
        self,
        inputs: Mapping[str, Any],
        mode: Mode,
        parameters: dict[str, Tensor],
        statistics: dict[str, Tensor],
        seen: Capture,
        perturb: Any,
        lift: Any,
        is_backward: bool = True,
        conventions: Any = nullcontext(),  # noqa: B008
    ) -> Tensor | None:
        """Run a batch, forward and backward, on tensors of a caller's own."""
        device = next((tensor.device for tensor in chain(parameters.values(), statistics.values())), None)
        batch = map_arrays(partial(_input, device=device), inputs)
        settings = torch.random.fork_rng(), torch.enable_grad(), matmul_precision("highest"), Calls()
        self._runs += 1
        with ExitStack() as stack:
            for each in (*settings, conventions, _as_it_was(self._model), seen.of(self._model), perturb, lift):
                stack.enter_context(each)
            torch.manual_seed(self._runs)  # a model that draws its own numbers shows it
            _set_mode(self._model, mode)
            own = {**parameters, **statistics}
            state = {f"model.{name}": own[first] for name, first in _first_names(self._model).items() if first in own}
            played = partial(self._loss_of, batch=batch, mode=mode, is_backward=is_backward)
            # Backward as well, since a model that is checkpointed runs once more then.
            return functional_call(_Whole(self._model), state, (played,), tie_weights=False)  # type: ignore[no-any-return]

    def _loss_of(self, model: nn.Module, batch: Mapping[str, Any], mode: Mode, is_backward: bool) -> Tensor | None:
        """What the loss of a batch is, derived if it is wanted; None without a loss."""
        if self._call is not None:
            taken = Batch(batch)
            outputs, left = self._call(model, taken, mode is Mode.TRAIN), taken.left()
        else:
            outputs, left = called(model, model.forward, batch, mode)
        if self.loss is None:
            self._unused = unused(batch, left)
            return None
        loss = loss_of(self.loss, outputs, left)
        if is_backward:
            loss.backward()
        return loss.detach()  # type: ignore[no-any-return]


class _Whole(nn.Module):
    """A model within which something is done: with tensors of a caller's own, as long as that lasts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, do: Callable[[nn.Module], Any]) -> Any:
        """Do it."""
        return do(self.model)


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    rates = [(each, each.dropout) for each in model.modules() if isinstance(each, nn.RNNBase | nn.MultiheadAttention)]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for module, rate in rates:
            module.dropout = rate


def _set_mode(model: nn.Module, mode: Mode) -> None:
    """Set the mode; a dropout drops nothing in any mode."""
    model.train(mode is Mode.TRAIN)
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            module.training = False
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif isinstance(module, nn.RNNBase):  # cuDNN goes back through one in training alone
            module.training, module.dropout = True, 0.0


def _first_names(model: nn.Module) -> dict[str, str]:
    """The name under which each tensor is known, by every other. A module that is in two places is told once.

    `functional_call` ties tensors itself, but what is in such a module it does not put back.
    """
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        for leaf, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None:
                name = f"{path}.{leaf}" if path else leaf
                found[name] = first.setdefault(id(tensor), name)
    return found


def _widened(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().clone()
    return tensor.double() if tensor.is_floating_point() else tensor


def _narrowed(value: Any, dtype: torch.dtype) -> Tensor:
    tensor = _tensor(value)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _input(value: Any, device: torch.device | None) -> Tensor:
    """An input of a model, where its tensors are; its gradient is wanted too."""
    tensor = _tensor(value).to(device, copy=True)
    return tensor.requires_grad_(tensor.is_floating_point())


def _form(tensor: Tensor) -> Form:
    return Form(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _fresh(
    parameters: Mapping[str, Tensor], statistics: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies for one run, which has gradients and statistics of its own."""
    own = {name: p.detach().clone().requires_grad_(p.is_floating_point()) for name, p in parameters.items()}
    return own, {name: b.clone() for name, b in statistics.items()}


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _array(tensor: Tensor) -> Array:
    """The numbers of a tensor; those of a dtype that NumPy lacks as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy().copy()


def _arrays(tensors: Mapping[Any, Tensor]) -> dict[Any, Array]:
    return {key: _array(tensor) for key, tensor in tensors.items()}
