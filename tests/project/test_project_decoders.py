"""The list of decoders of a peer's bytes in ADR 48 is whole and true: each exists and has its property test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/adr/0048-hardening-of-the-set-kernel.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([^`]+)` `([^`]+)` \| `([^`]+)` `([^`]+)` \|$", TABLE, re.MULTILINE)
# Of the kernel these are other protocols' or nobody's decoders.
ELSEWHERE = ("pir/", "protocol.rs", "ledger")


def function(name: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:fn|def) {re.escape(name)}\b")


def sources() -> list[str]:
    """The files that read what a peer of a set operation said."""
    kernel = ROOT / "crates/kernel/src"
    rust = [
        path
        for path in kernel.rglob("*.rs")
        if not path.relative_to(kernel).as_posix().startswith(ELSEWHERE)
        and re.search(r"Malformed \{|Reader::new\(", path.read_text("utf-8"))
    ]
    engines = ROOT / "src/fondaco/engines"
    python = [
        path
        for path in (engines / "channel.py", *(engines / "psi").glob("*.py"))
        if re.search(r"channel\.receive\(|\.recv\(", path.read_text("utf-8"))
    ]
    return [path.relative_to(ROOT).as_posix() for path in (*rust, *python)]


def test_there_are_rows() -> None:
    assert len(ROWS) >= 20
    assert len(ROWS) == sum(line.startswith(("| `crates/", "| `src/")) for line in TABLE.split("\n"))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0].rpartition('/')[2]}:{row[1]}" for row in ROWS])
def test_a_decoder_and_its_property_test_exist(row) -> None:
    source, decoder, tests, test = row
    assert function(decoder).search((ROOT / source).read_text("utf-8"))
    text = (ROOT / tests).read_text("utf-8")
    assert function(test).search(text)
    assert "proptest!" in text or "@given" in text


@pytest.mark.parametrize("source", sources())
def test_no_file_reads_a_peer_without_being_listed(source) -> None:
    tested = ("crates/kernel/src/vole/tests.rs",)
    assert source in {row[0] for row in ROWS} or source in tested
