"""What is written about the product is what the product does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fondaco.errors import FondacoError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import reference  # noqa: E402


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_of_the_reference_is_what_the_code_says(name) -> None:
    assert (ROOT / "docs/reference" / name).read_text() == reference.PAGES[name](), "run make docs"


def test_the_readme_lists_every_verb_and_no_other() -> None:
    text = (ROOT / "README.md").read_text()
    listed = re.search(r"`fondaco --help` lists them: `([a-z \n]+)`", text)
    assert listed is not None
    verbs = {path.split()[1] for path in reference.verbs()}
    assert sorted(listed[1].split()) == sorted(verbs)


def test_every_verb_and_option_says_what_it_is_for() -> None:
    page = reference.cli_page()
    heads = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    assert len(heads) > 20
    assert [head.splitlines()[0] for head in heads if not head.splitlines()[2]] == []
    assert re.findall(r"^\| (`[^|]+) \|  \|", page, flags=re.MULTILINE) == []


def test_the_readme_lists_every_exit_code() -> None:
    reference.errors_page()  # which imports every module
    ours = [cls for cls in reference.descendants(FondacoError) if cls.__module__.startswith("fondaco.")]
    codes = {cls.exit_code for cls in ours}
    listed = {int(found) for found in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)}
    assert codes | {0, 2} == listed


def test_every_invariant_of_the_ledger_names_tests_that_exist() -> None:
    page = (ROOT / "docs/concepts/ledger.md").read_text()
    section = page.partition("## Invariants")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!invariant|---)(.+) \| (.+) \|$", section, re.MULTILINE)
    there = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"^ *def (\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert len(rows) > 20
    assert [what for what, tests in rows if not re.findall(r"`(\w+)`", tests)] == []
    assert {name for _what, tests in rows for name in re.findall(r"`(\w+)`", tests)} - there == set()
