"""The house's rules hold in every file, and each rule refuses what it is there to refuse."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import project_rules as rules
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CONTRACTS = [*sorted((ROOT / "src/fondaco/ledger/contracts").rglob("*.py")), ROOT / "src/fondaco/ledger/state.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SHORT = [*SOURCES, *sorted((ROOT / "bench").rglob("*.py")), *sorted((ROOT / "crates").rglob("*.rs"))]
LEAK = """
import pyarrow as pa
from fondaco.core.names import DatasetName
from fondaco.vault import crypto
from fondaco.vault.store import Vault, chunk_place, read_file

def rows(vault: Vault, name: str) -> pa.Table:
    entry = vault._entry(vault.resolve(DatasetName.parse(name)))
    box = read_file(entry.folder / "00000000")
    return pa.ipc.open_stream(crypto.unlock(entry.key, chunk_place(0, entry.manifest.rows[0]), box)).read_all()
"""
OFFENCES = [
    (rules.opens_the_vault, LEAK),
    (rules.opens_the_vault, "from fondaco.vault.reader import read_table"),
    (rules.opens_the_vault, "import fondaco.vault.crypto as c"),
    (rules.opens_the_vault, "from fondaco import vault\nvault.reader.read_table(v, cid, columns=[])"),
    (rules.opens_the_vault, "import importlib\nimportlib.import_module('fondaco.vault.reader')"),
    (rules.opens_the_vault, "def f(v):\n    return v._entry(cid).key"),
    (rules.opens_the_vault, "getattr(vault, '_keys')"),
    (rules.long_file, "x = 1\n" * 501),
    (rules.catch_alls, "try:\n    f()\nexcept Exception:\n    pass"),
    (rules.catch_alls, "try:\n    f()\nexcept:\n    g()"),
    (rules.catch_alls, "try:\n    f()\nexcept (OSError, BaseException) as e:\n    raise RuntimeError from e"),
    (rules.catch_alls, "with contextlib.suppress(Exception):\n    f()"),
    (rules.insecure_engines, "config.protocol = libspu.ProtocolKind.SEMI2K"),
    (rules.insecure_engines, "from spu import REF2K"),
    (rules.insecure_engines, "setattr(config, 'beaver_type', 0)"),
    (rules.insecure_engines, "kind = b'SecureNN'"),
    (rules.insecure_engines, "Config(trunc_allow_msb_error=True)"),
    (rules.insecure_engines, "config.experimental_enable_colocated_optimization = True"),
    (rules.skipped_tests, "@pytest.mark.skip\ndef test_a(): ..."),
    (rules.skipped_tests, "@pytest.mark.xfail(strict=True)\ndef test_a(): ..."),
    (rules.skipped_tests, "np = pytest.importorskip('numpy')"),
    (rules.skipped_tests, "from pytest import skip"),
    (rules.named_hosts, f"index = 'https://{rules.HOSTS[0]}/simple'"),
    (rules.named_hosts, f"https://files.{rules.HOSTS[1].upper()}/a.whl"),
    (rules.contract_imports, "import time"),
    (rules.contract_imports, "from os import urandom"),
    (rules.contract_imports, "from fondaco.ledger.embedded import EmbeddedLedger"),
    (rules.contract_imports, "from fondaco.ledger import application"),
    (rules.contract_imports, "from fondaco.corelike import x"),
    (rules.inexact, "fee = amount * 0.5"),
    (rules.inexact, "fee = amount / 2"),
    (rules.inexact, "fee /= 2"),
    (rules.inexact, "fee = float(amount)"),
    (rules.inexact, "key = hash(name)"),
    (rules.inexact, "key = id(name)"),
    (rules.inexact, "x: float = 1"),
    (rules.set_order, "for x in {1, 2}: pass"),
    (rules.set_order, "for x in set(names): pass"),
    (rules.set_order, "s = {n for n in names}\nout = [f(x) for x in s]"),
    (rules.set_order, "def f(s: frozenset[str]):\n    return tuple(s)"),
    (rules.set_order, "out = ','.join(set(a) | b)"),
    (rules.set_order, "for x in a.keys() - b: pass"),
    (rules.set_order, "first = next(iter(set(a)))"),
    (rules.set_order, "out = [*set(a)]"),
    (rules.set_order, "s = set(a)\ns.pop()"),
    (rules.set_order, "out = {x: 1 for x in set(a)}"),
]
FINE = [
    (rules.opens_the_vault, '"""See fondaco.vault.reader."""\nfrom fondaco.vault.store import Vault\nself._keys = 1'),
    (rules.catch_alls, "try:\n    f()\nexcept OSError:\n    pass"),
    (rules.catch_alls, "try:\n    f()\nexcept BaseException:\n    close()\n    raise"),
    (rules.insecure_engines, '"""SEMI2K with its default triples is insecure."""'),
    (rules.skipped_tests, "data.skip_rows = 1"),
    (rules.named_hosts, f'source = "{rules.CARGO_SOURCE}"'),
    (rules.contract_imports, "from fondaco.core.codec import Value\nfrom fondaco.ledger.state import Store"),
    (rules.inexact, "half = amount // 2\nhash_ = sha256(data)\nrecord.id"),
    (rules.set_order, "for x in sorted(set(a)): pass"),
    (rules.set_order, "ok = name in {'a', 'b'} and all(f(x) for x in {1, 2})"),
    (rules.set_order, "if len(set(a)) != len(a): pass"),
]


def tracked() -> list[Path]:
    """Every file of the repository, also those not yet committed; not what .gitignore names."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def findings(rule, paths: list[Path]) -> list[str]:
    assert paths
    return [f"{path.relative_to(ROOT)}:{found}" for path in paths for found in rule(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("rule", "text"), OFFENCES)
def test_a_rule_refuses(rule, text) -> None:
    assert list(rule(text))


@pytest.mark.parametrize(("rule", "text"), FINE)
def test_a_rule_allows(rule, text) -> None:
    assert list(rule(text)) == []


def test_files_stay_short() -> None:
    assert findings(rules.long_file, SHORT) == []


def test_nothing_in_the_product_catches_everything() -> None:
    assert findings(rules.catch_alls, SOURCES) == []


def test_nothing_outside_the_vault_opens_it_but_the_gate_by_the_reader() -> None:
    outside = [path for path in SOURCES if "vault" not in path.relative_to(ROOT / "src/fondaco").parts]
    gate = ROOT / "src/fondaco/exchange/gate.py"
    assert findings(rules.opens_the_vault, [path for path in outside if path != gate]) == []
    found = findings(rules.opens_the_vault, [gate])
    assert all(one.endswith(("fondaco.vault.reader.read_table", "fondaco.vault.reader")) for one in found)


@pytest.mark.parametrize(
    ("place", "leak", "contract"),
    [
        ("node/leak.py", LEAK, "The gate alone reads rows"),
        ("flow/leak.py", "from fondaco.vault.reader import read_table\n", "The gate alone reads rows"),
        ("exchange/leak.py", LEAK, "The gate has rows from the reader alone"),
    ],
)
def test_the_import_rules_refuse_a_module_that_opens_the_vault(tmp_path, place, leak, contract) -> None:
    shutil.copytree(ROOT / "src/fondaco", tmp_path / "src/fondaco", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src/fondaco" / place).write_text(leak)
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
    ]
    environment = {"PYTHONPATH": str(tmp_path / "src"), "PATH": "", "COLUMNS": "200"}
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    broken = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert broken == [f"{contract} BROKEN"], done.stdout


def test_no_code_can_name_an_insecure_configuration_of_spu() -> None:
    assert findings(rules.insecure_engines, SOURCES) == []


def test_no_test_is_left_out() -> None:
    assert findings(rules.skipped_tests, TESTS) == []


def test_contracts_import_only_pure_things() -> None:
    assert findings(rules.contract_imports, CONTRACTS[:-1]) == []


def test_contracts_and_state_compute_the_same_everywhere() -> None:
    assert findings(rules.inexact, CONTRACTS) == []


def test_contracts_and_state_never_depend_on_the_order_of_a_set() -> None:
    assert findings(rules.set_order, CONTRACTS) == []


def test_no_file_names_a_registry() -> None:
    texts = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data:
            texts.append((path, data.decode("utf-8")))
    assert len(texts) > 100
    named = [f"{path.relative_to(ROOT)}:{found}" for path, text in texts for found in rules.named_hosts(text)]
    assert named == []
