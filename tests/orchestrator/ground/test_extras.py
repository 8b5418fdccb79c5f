"""Does a sentence name the packages that are missing, and the extras that bring them?"""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from orchestrator.ground import extras
from orchestrator.ground.errors import MissingPackage, telling


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """As if these modules were not installed."""

    def hide(*modules: str) -> None:
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)  # what makes an import of it fail

    return hide


def test_one_missing_package_is_named_with_its_extra(without) -> None:
    without("ray")
    with pytest.raises(MissingPackage) as missing:
        extras.require("`orch study create`", "run")
    assert str(missing.value) == (
        "`orch study create` needs ray, which is not installed. Install it: pip install 'orch-studies[run]'"
    )
    assert (telling(missing.value).kind, telling(missing.value).exit_code) == ("missing-package", 2)


def test_several_are_named_and_only_the_extras_that_lack_something(without) -> None:
    without("plotly", "jinja2")
    with pytest.raises(MissingPackage) as missing:
        extras.require("`orch serve`", "run", "report")
    assert str(missing.value) == (
        "`orch serve` needs plotly and jinja2, which are not installed. "
        "Install them: pip install 'orch-studies[report]'"
    )


def test_of_many_the_first_three_are_named(without) -> None:
    without("ray", "optuna", "jax", "flax", "torch")
    assert extras.lacking("It", ["ray", "optuna", "jax", "flax", "torch"], instead=".") == (
        "It needs ray, optuna, jax and 2 more packages, which are not installed. "
        "Install them: pip install 'orch-studies[run,gp]'."
    )


def test_an_installation_that_lacks_nothing_is_told_nothing() -> None:
    extras.require("`orch study create`", *extras.EXTRAS)
    assert extras.lacking("It", ["ray", "torch"]) == ""


def test_a_package_is_named_as_pip_knows_it() -> None:
    modules = [*extras.BASE, *(module for extra in extras.EXTRAS.values() for module in extra.modules)]
    assert [version(extras.pip_name(module)) for module in modules]


def test_a_module_for_later_is_imported_at_its_first_use(without) -> None:
    later = extras.Later("fractions")
    assert later.Fraction(1, 2) + later.Fraction(1, 2) == 1
    without("numpy")
    numpy = extras.Later("numpy", "The table")
    with pytest.raises(MissingPackage) as missing:
        _ = numpy.zeros
    assert str(missing.value) == (
        "The table needs numpy, which is not installed. Install it: pip install 'orch-studies[run]'"
    )
