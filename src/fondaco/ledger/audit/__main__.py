"""`python -m fondaco.ledger.audit FILE [--trust-root HEX] [--json]`: verify a bundle in a process of its own."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from fondaco.errors import FondacoError
from fondaco.ledger.audit.verify import Verified, verify


def describe(found: Verified) -> dict[str, object]:
    """What was verified, ready for JSON."""
    plain = dataclasses.asdict(found)
    plain["receipts"] = [
        {"task": r.task.hex(), "grants": [g.hex() for g in r.grants], "result": r.result.hex()} for r in found.receipts
    ]
    plain["checks"] = list(found.checks)
    return plain


def main() -> int:
    """Verify; 0 when all checks hold, 5 when one fails."""
    parser = argparse.ArgumentParser(prog="fondaco-audit", description="Verify an audit bundle, offline.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--trust-root", help="the genesis hash that the consortium published")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        found = verify(arguments.file.read_bytes(), trust_root=arguments.trust_root)
    except FondacoError as fault:
        sys.stderr.write(fault.diagnostics() + "\n")
        return fault.exit_code
    except OSError as fault:
        sys.stderr.write(f"the file cannot be read: {fault.strerror}\n")
        return 3
    if arguments.json:
        sys.stdout.write(json.dumps(describe(found), indent=2, sort_keys=True) + "\n")
    else:
        sys.stdout.write(
            f"verified: {found.transactions} transactions, {found.events} events, {found.states} records, "
            f"{len(found.receipts)} receipts of chain {found.chain} up to height {found.height}\n"
            f"checks: {', '.join(found.checks)}\ntrust root: {found.trust_root}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
