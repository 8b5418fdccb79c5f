"""Is what is taken from docstrings prose, each paragraph once, and nothing imported to get it?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from trainer.data import prose

FILE = '''"""The first paragraph of a module says in some words what it is for.

It goes on, with :func:`~json.dumps` and ``code`` in it, over
two lines that are one paragraph of prose.

Too short.

    An indented block of many words is an example or a quotation, and so it is left out.

>>> print("a session at the prompt, which is no prose at all, however long it may be.")

a : int, b : int, c : int, d : float, e : float -- 1 2 3 4 5 6 7 8 9 10 11 12.

See Also
--------
another_name : It has a description that would pass for a sentence of prose.

A heading without a full stop is not a sentence of prose
"""

class A:
    "The first paragraph of a module says in some words what it is for."

    async def method(self):
        """Methods have docstrings too, and this one is long enough to be kept."""

    text = "A string that is no docstring is left alone, even when it reads like prose."
'''


def test_paragraphs_of_prose_are_taken_once_without_markup(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(FILE)
    (tmp_path / "b.py").write_text(
        '"""METHODS have docstrings too, and this one is long enough to be kept."""'
    )
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "latin.py").write_bytes(b'"""\xe9"""')
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "c.py").write_text(
        '"""Tests are not read, although this is a sentence of prose."""'
    )
    assert prose.collect(tmp_path) == [
        "The first paragraph of a module says in some words what it is for.",
        "It goes on, with json.dumps and code in it, over two lines that are one paragraph of prose.",
        "Methods have docstrings too, and this one is long enough to be kept.",
    ]


def test_a_real_package_gives_sentences_of_letters() -> None:
    found = prose.collect(Path(json.__file__).parent)
    assert len(found) >= 20
    assert any("Python object" in paragraph for paragraph in found)
    assert all("\n" not in paragraph and paragraph[-1] in ".!?\"')" for paragraph in found)


def test_paragraphs_are_kept_and_no_package_is_imported(tmp_path: Path) -> None:
    # In a process of its own, with one package's files and one's that is not installed.
    code = (
        "import sys; from pathlib import Path; from trainer.data import prose\n"
        "roots = {name: prose._folder(name) for name in prose.PACKAGES}\n"
        "assert all(root is None or root.name == name for name, root in roots.items())\n"
        "prose.sysconfig.get_paths = lambda: {'stdlib': str(Path(sys.argv[1]) / 'library')}\n"
        "prose.PACKAGES = ('flax', 'not-there')\n"
        "first = prose.paragraphs(home=Path(sys.argv[1])); again = prose.paragraphs(home=Path(sys.argv[1]))\n"
        "assert first == again and len(first) > 200\n"
        "loaded = sorted({'jax', 'flax', 'numpy', 'scipy'} & set(sys.modules))\n"
        "print(first[0], first.path.name, loaded, sep='|')"
    )
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "a.py").write_text('"""The first of all paragraphs is the one in this file."""')
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, name, loaded = done.stdout.strip().split("|")
    assert first == "The first of all paragraphs is the one in this file."
    assert name.startswith("docstrings-prose-1-python-3")
    assert "-flax-" in name
    assert "not-there" not in name
    assert loaded == "[]"
