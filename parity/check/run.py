"""The check itself: two sides, the questions, and the verdict."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from parity.backend import MakesLearners, sibling_names
from parity.check.accepted import check_difference
from parity.check.asking import Asking
from parity.check.config import CheckConfig
from parity.check.findings import Findings
from parity.check.lockstep import CANDIDATE, REFERENCE, WITNESS, RoleError
from parity.check.records import CheckReport, Question
from parity.check.roles import RoleSide, side_spec
from parity.data import load_dataset
from parity.errors import InputError
from parity.progress import Progress, SilentProgress
from parity.reference import NumpyBackend
from parity.sides import SideSpec, open_side


def check(
    reference: str | MakesLearners | None = None,
    candidate: str | MakesLearners | None = None,
    *,
    config: CheckConfig | None = None,
    fault: str | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> CheckReport:
    """Check whether two implementations compute the same; if not, say where first, how far, and why.

    Args:
        reference: the name of a backend, "package.module:factory", or an object with `learner` (`parity.Backend`);
            None for the last of `parity.backend.sibling_names`. Names run in processes of their own, objects in this
            one.
        candidate: the same; None for the first of them.
        config: what to compare.
        fault: of the catalogue, to be put into the candidate.
        data_dir: where the files of the data set lie; None to look in the usual places.
        progress: shows how far the check is.
        command: what made it, for the report.

    Raises:
        InputError: bad input, a side that cannot start, or a NumPy reference whose process ended.

    Example::

        report = parity.check(candidate="mypackage.port:make_backend")
        print(report.verdict, report.cause)
    """
    config, siblings = config or CheckConfig(), sibling_names()
    targets: dict[str, str | MakesLearners] = {CANDIDATE: siblings[0] if candidate is None else candidate}
    targets[REFERENCE] = siblings[-1] if reference is None else reference
    started = time.perf_counter()
    dataset = load_dataset(config.dataset, data_dir)
    if fault is not None:
        check_difference("fault", fault, config.specs())
    # It asks in a thread, so that Ctrl-C ends the sides at once, and with them the thread.
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        sides = {
            role: RoleSide(role, stack.enter_context(open_side(side_spec(role, target, config, fault))))
            for role, target in targets.items()
        }
        witness = SideSpec(target=NumpyBackend.name, faults=config.accept, time_limit=None)
        third = stack.enter_context(open_side(witness))
        stack.enter_context(progress := progress or SilentProgress())
        findings = Findings(config, {role: side.name for role, side in sides.items()})
        try:
            pool.submit(Asking(config, sides, RoleSide(WITNESS, third), dataset, progress, findings).ask).result()
        except RoleError as failure:
            if failure.role == WITNESS:
                raise InputError(f"{failure}; both sides are judged by it, so run the check again") from failure
            findings.fail(Question.CRASH, str(failure), failure.role)
        progress.update(1.0, "done")
    report = findings.report(dataset.name, command or "parity.check(...)")
    return replace(report, seconds=time.perf_counter() - started)
