"""Has every fault a test, and does docs/faults.md say which?"""

from __future__ import annotations

from tests.faults.table import PAGE, ROWS, Shown, collected, marks, page


def test_every_fault_has_a_test() -> None:
    rows = {shown.row for shown in collected()}
    assert sorted(set(range(1, len(ROWS) + 1)) - rows) == []
    assert sorted(rows - set(range(1, len(ROWS) + 1))) == []


def test_the_page_says_what_the_marks_of_the_tests_say() -> None:
    assert PAGE.read_text() == page(collected()), "run `python -m tests.faults.table`"


def test_marks_are_found_on_tests_and_on_whole_files() -> None:
    source = (
        "pytestmark = [pytest.mark.fault(9, real=True)]\n"
        "@pytest.mark.slow\n"
        "@pytest.mark.fault(1, 2)\n"
        "def test_a(): ...\n"
        "def helper(): ...\n"
        "class TestB: ...\n"
        "class TestC(Contract):\n"
        "    test_c = pytest.mark.fault(3)(Contract.test_c)\n"
    )
    assert list(marks(source, "f.py")) == [
        Shown(1, "f.py::test_a", False, True),
        Shown(2, "f.py::test_a", False, True),
        Shown(9, "f.py::test_a", True, True),
        Shown(9, "f.py::TestB", True, False),
        Shown(9, "f.py::TestC", True, False),
        Shown(3, "f.py::TestC::test_c", False, False),
    ]
