"""Does a searcher, a backend or a ledger of your own keep its contract? Suites to subclass in a test.

They need pytest and hypothesis, which orch itself does not install. See docs/extending.md.
"""

import pytest

pytest.register_assert_rewrite("orchestrator.testing.searchers")
