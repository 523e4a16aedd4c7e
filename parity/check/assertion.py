"""The check as an assertion, for the tests of someone's port."""

from dataclasses import replace
from typing import Any

from parity.check.config import CheckConfig
from parity.check.records import CheckReport
from parity.spec import ModelSpec


def assert_parity(
    reference: Any,
    candidate: Any,
    spec: ModelSpec | None = None,
    *,
    config: CheckConfig | None = None,
    fault: str | None = None,
    **options: Any,
) -> CheckReport:
    """Assert that two implementations compute the same.

    Args:
        reference: a backend's name, "package.module:factory", or a backend.
        candidate: likewise; a name or a factory runs in a process of its own.
        spec: the network, its depth and its use of batch norm; without it those of `config`.
        config: what to compare, `CheckConfig()` if not given.
        fault: one of the catalogue to inject into the candidate, to see the assertion fail.
        options: fields of `CheckConfig` that override the others.

    Returns:
        The report, if they agree.

    Raises:
        AssertionError: they do not, or not everything could be asked; the message is the report.
        InputError: what was given breaks a rule.

    Example::

        def test_my_port(assert_parity):
            assert_parity("torch", "my_package.port:MyBackend", depths=(1, 3))
    """
    __tracebackhide__ = True
    from parity.check.run import check
    from parity.check.screen import format_report

    config = config or CheckConfig()
    if spec is not None:
        config = replace(config, spec=spec, depths=(spec.num_hidden_layers,), batch_norm=(spec.use_batch_norm,))
    report = check(reference, candidate, config=replace(config, **options), fault=fault)
    if not report.agrees:
        raise AssertionError(format_report(report))
    return report
