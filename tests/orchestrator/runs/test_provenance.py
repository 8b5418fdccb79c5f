"""On what did an attempt run? As JSON, with the packages that its process has loaded."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib import metadata

from orchestrator.runs import provenance


def test_provenance_is_json_and_names_code_versions_host_and_seeds() -> None:
    code = {"entrypoint": "net", "commit": "c0ffee"}
    facts = provenance.collect(code=code, seed=7)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["code"] == code
    assert facts["orch"]["version"]
    assert facts["seeds"] == {"seed": 7}
    assert facts["pid"] == os.getpid()
    assert "git" not in facts  # the name under which attempts of before have the commit of orch


def test_packages_are_those_that_the_process_has_loaded() -> None:
    program = (
        "import json; from orchestrator.runs import provenance; before = provenance.packages()\n"
        "import sqlalchemy; print(json.dumps([before, provenance.packages()]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert "SQLAlchemy" not in before
    assert after.keys() - before.keys() >= {"SQLAlchemy"}
    assert after["SQLAlchemy"] == metadata.version("sqlalchemy")
    assert not {"torch", "ray", "jax"} & after.keys()


def test_a_distribution_is_named_by_its_own_name() -> None:
    importlib.import_module("yaml")
    assert provenance.packages()["PyYAML"] == metadata.version("pyyaml")
