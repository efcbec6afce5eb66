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
    listed = re.search(r"`fondaco --help` lists them: `([a-z \n-]+)`", text)
    assert listed is not None
    verbs = {path.split()[1] for path in reference.verbs()}
    assert sorted(listed[1].split()) == sorted(verbs)


def mentioned() -> list[tuple[str, str]]:
    """Where a command of ours is written out, in a text or in what a person is told, and the words after `fondaco`."""
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("[cg]*/*.md")]
    found = []
    for path in texts:
        text = path.read_text().replace("\\\n", " ")
        found += [
            (path.name, words) for words in re.findall(r"(?:^ *|`|\$\(|\| )fondaco ([^`\n#|]+)", text, re.MULTILINE)
        ]
    for path in (ROOT / "src").rglob("*.py"):
        told = re.findall(r"(?:see|run|first|it|by|and|then:?|:) `?fondaco ([a-z-]+[^\"`;\n]*)", path.read_text())
        found += [(path.name, words) for words in told if not words.startswith("import ")]
    return found


def test_every_command_that_is_written_out_exists_with_its_options() -> None:
    page = reference.cli_page()
    heads = {head.splitlines()[0]: head for head in re.split(r"^## fondaco ", page, flags=re.MULTILINE)[1:]}
    groups = {name.split()[0] for name in heads if " " in name}
    wrong = []
    written = mentioned()
    assert len(written) > 80
    for place, text in written:
        words = text.split()
        name = " ".join(words[:2]) if words[0] in groups else words[0]
        if words[0] == "--help" or (words == [words[0]] and words[0] in groups):
            continue
        options = re.findall(r"(?<![\w-])--[a-z-]+", text)
        known = heads.get(name)
        lacks = [] if known is None else [o for o in options if f"`{o}`" not in known and o != "--help"]
        if known is None or lacks:
            wrong.append((place, text, lacks))
    assert wrong == []


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
    assert codes | {0, 2, 130} == listed


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
