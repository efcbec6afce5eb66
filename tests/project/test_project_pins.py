"""What the project depends on: declared, pinned, locked by hash, under licences it may use, and told in ADR 0002."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())
CARGO_LOCK = tomllib.loads((ROOT / "Cargo.lock").read_text())
RUNTIME = PROJECT["project"]["dependencies"]
DEMO = PROJECT["project"]["optional-dependencies"]["demo"]
DEV = PROJECT["dependency-groups"]["dev"]
BOOTSTRAP = PROJECT["dependency-groups"]["bootstrap"]
LOCKS = {"requirements.lock": [*RUNTIME, *DEMO, *DEV], "bootstrap.lock": BOOTSTRAP}
MODULES = {"nacl": "pynacl"}  # where the module is not named like its package
# Apache, MIT, BSD, MPL and what is as free as they are; GPL, AGPL and LGPL are not.
MAY = re.compile(r"\b(Apache|MIT|BSD|MPL|Mozilla|ISC|CC0|PSF|Python Software Foundation|Zlib)\b", re.IGNORECASE)
MAY_NOT = re.compile(r"GPL|General Public|SSPL|BUSL|Commons Clause|NonCommercial", re.IGNORECASE)


def locked(name: str) -> dict[str, str]:
    """The versions that a lock holds, by name."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ]+) \\$", (ROOT / name).read_text(), re.MULTILINE))


def licence(distribution: metadata.Distribution) -> str:
    """All that a package says of its licence, in one line."""
    said = distribution.metadata
    classes = [item for item in said.get_all("Classifier", []) if item.startswith("License")]
    free = (said.get("License") or "").splitlines()[:1]
    return " | ".join([said.get("License-Expression") or "", *free, *classes])


@pytest.mark.parametrize("requirement", [*RUNTIME, *DEMO, *DEV, *BOOTSTRAP, *PROJECT["build-system"]["requires"]])
def test_a_requirement_is_one_exact_version(requirement) -> None:
    assert re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?==[0-9][0-9a-z.]*", requirement)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_is_declared_each_by_hash(name) -> None:
    versions = locked(name)
    assert dict(item.split("==") for item in LOCKS[name]).items() <= versions.items()
    entries = re.split(r"^(?=[A-Za-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(versions)
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_environment_is_what_the_lock_says() -> None:
    installed = {re.sub(r"[._-]+", "-", one.name).lower(): one.version for one in metadata.distributions()}
    wrong = {
        name: (version, installed.get(name))
        for name, version in locked("requirements.lock").items()
        if installed.get(name) != version
    }
    assert wrong == {}


def test_each_imported_library_is_declared() -> None:
    declared = {item.partition("==")[0] for item in RUNTIME}
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add((node.module or "").partition(".")[0])
    foreign = {MODULES.get(name, name) for name in imported - sys.stdlib_module_names - {"fondaco"}}
    assert foreign == declared


def test_no_package_in_the_process_is_under_a_licence_we_may_not_use() -> None:
    names = locked("requirements.lock")
    assert len(names) > 50
    said = {name: licence(metadata.distribution(name)) for name in names}
    assert {name: text for name, text in said.items() if not MAY.search(text) or MAY_NOT.search(text)} == {}


def test_the_decision_on_dependencies_has_a_line_for_each() -> None:
    text = (ROOT / "docs/adr/0002-dependencies.md").read_text()
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| ")}
    crates = {
        name
        for manifest in (ROOT / "crates").glob("*/Cargo.toml")
        for table in ("dependencies", "dev-dependencies")
        for name in tomllib.loads(manifest.read_text()).get(table, {})
        if not name.startswith("fondaco")
    }
    versions = {package["name"]: package["version"] for package in CARGO_LOCK["package"]}
    expected = dict(item.split("==") for item in [*RUNTIME, *DEMO, *DEV, *BOOTSTRAP])
    expected |= {f"{name} (crate)": versions[name] for name in crates}
    expected |= {f"{name} (Go module)": version for name, version in go_modules().items()}
    assert rows.keys() - {"dependency", "---"} == expected.keys()
    assert {name: rows[name] for name, version in expected.items() if f"| {version} |" not in rows[name]} == {}


def go_modules() -> dict[str, str]:
    """What chain/ asks for itself, by the last part of its path."""
    text = (ROOT / "chain/go.mod").read_text()
    asked = re.findall(r"^(?:require )?\s*\S+/([\w.-]+) v(\d\S*)$", text, re.MULTILINE)  # no `// indirect` after it
    return dict(asked)


def test_the_consensus_engine_is_the_version_that_was_chosen_and_is_pinned_by_hash() -> None:
    """v1 is retracted upstream, and of v0.40 only v0.40.1 and later count."""
    assert go_modules() == {"cometbft": "0.39.4"}
    sums = (ROOT / "chain/go.sum").read_text()
    assert re.search(r"^\S+/cometbft v0\.39\.4 h1:\S+=$", sums, re.MULTILINE)
    assert "replace" not in (ROOT / "chain/go.mod").read_text()


def test_wheel_crates_and_package_have_one_version() -> None:
    import fondaco

    version = PROJECT["project"]["version"]
    assert fondaco.__version__ == version
    assert CARGO["workspace"]["package"]["version"] == version
    ours = [package for package in CARGO_LOCK["package"] if package["name"].startswith("fondaco")]
    assert {package["version"] for package in ours} == {version}
