"""Does a searcher, a backend or a ledger of your own keep its contract? Suites to subclass in a test.

They need pytest and hypothesis, which orch itself does not install. See docs/extending.md.
"""

import pytest

SUITES = ("searchers", "backends", "ledger_studies", "ledger_attempts", "ledger_desk", "ledger_moves")
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in (*SUITES, "ledger_rows")))
