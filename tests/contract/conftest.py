"""Prints the two tables of the contract, the seed's attributes and the later operations, each with its test.

./tutela test tests/contract -q
"""

from __future__ import annotations

import pytest

from tests.contract import test_attributes, test_operations


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each, with how its test ended; nothing when the contract was not run."""
    ended: dict[str, str] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            # Without an outcome are set-ups and tear-downs that went well.
            if outcome and isinstance(report, pytest.TestReport) and report.nodeid.startswith("tests/contract/"):
                ended[report.nodeid.removeprefix("tests/contract/")] = outcome
    if not ended:
        return
    for title, names, test_of in (
        ("attributes of the seed", test_attributes.SEED, test_attributes.shown_by),
        ("operations of the reference", test_operations.NAMES, test_operations.shown_by),
    ):
        terminalreporter.section(f"{len(names)} {title}")
        for name in names:
            test = test_of(name)
            terminalreporter.line(f"{name:28} {ended.get(test, 'not run'):8} tests/contract/{test}")
