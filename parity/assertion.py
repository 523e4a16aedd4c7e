"""The check and the comparison as an assertion, for the tests of someone's port."""

from dataclasses import replace
from typing import Any

from parity.backend.port import Port
from parity.check.config import CheckConfig
from parity.check.records import CheckReport
from parity.pair.records import CompareReport
from parity.spec import ModelSpec


def assert_parity(
    reference: Any,
    candidate: Any = None,
    spec: ModelSpec | None = None,
    *,
    config: CheckConfig | None = None,
    fault: str | None = None,
    **options: Any,
) -> CheckReport | CompareReport:
    """Assert that two implementations compute the same.

    Two backends are checked (`parity.check`); two models' ports, or the file or module of a pair, are compared
    (`parity.compare`).

    Args:
        reference: a backend's name, "package.module:factory", or a backend; a port; or, without a candidate, a pair.
        candidate: likewise; a name or a factory runs in a process of its own.
        spec: of backends, the network, its depth and its use of batch norm; without it those of `config`.
        config: of backends, what to compare, `CheckConfig()` if not given.
        fault: of backends, one of the catalogue to inject into the candidate, to see the assertion fail.
        options: fields of `CheckConfig` that override the others; of models, the options of `parity.compare`.

    Returns:
        The report, if they agree.

    Raises:
        AssertionError: they do not, or not everything could be asked; the message is the report.
        InputError: what was given breaks a rule.

    Example::

        def test_my_port(assert_parity):
            assert_parity("torch", "my_package.port:MyBackend", depths=(1, 3))


        def test_my_model(assert_parity):
            assert_parity("tests/pair.py")
    """
    __tracebackhide__ = True
    if candidate is None or isinstance(reference, Port):
        return _assert_same_model(reference, candidate, options)
    from parity.check.run import check
    from parity.check.screen import format_report

    config = config or CheckConfig()
    if spec is not None:
        config = replace(config, spec=spec, depths=(spec.num_hidden_layers,), batch_norm=(spec.use_batch_norm,))
    report = check(reference, candidate, config=replace(config, **options), fault=fault)
    if not report.agrees:
        raise AssertionError(format_report(report))
    return report


def _assert_same_model(reference: Any, candidate: Any, options: dict[str, Any]) -> CompareReport:
    __tracebackhide__ = True
    from parity.pair.run import compare
    from parity.pair.screen import format_report

    report = compare(reference, candidate, **options)
    if not report.agrees:
        raise AssertionError(format_report(report))
    return report
