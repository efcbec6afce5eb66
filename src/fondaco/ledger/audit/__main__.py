"""`python -m fondaco.ledger.audit FILE [--trust-root HEX] [--json]`: verify an audit bundle, offline.

Exit codes: 0 verified, 2 usage, 3 the file cannot be read, 5 a check failed (it is named).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fondaco.core.messages import to_value
from fondaco.errors import ProofError
from fondaco.ledger.audit.format import MAX_BUNDLE, GrantReceipt, Receipt, refuse
from fondaco.ledger.audit.verify import Verified, verify


def read(path: Path) -> bytes:
    """The bytes of a bundle's file.

    Raises:
        ProofError: check `format`: larger than a bundle may be.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BUNDLE + 1)
    if len(data) > MAX_BUNDLE:
        raise refuse("format", "the file is larger than an audit bundle may be")
    return data


def describe(report: Verified) -> dict[str, object]:
    """What was verified, ready for JSON; bytes are hex."""
    plain = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    plain["grants"] = [to_value(receipt) for receipt in report.grants]
    plain["receipts"] = [to_value(receipt) for receipt in report.receipts]
    return {"verified": True} | {name: _hexed(value) for name, value in plain.items()}


def _hexed(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {name: _hexed(item) for name, item in value.items()}
        case list() | tuple():
            return [_hexed(item) for item in value]
    return value


def to_text(report: Verified) -> str:
    """A report for people."""
    what = "everything below the last header" if report.complete else "a selection: all of it happened"
    lines = [
        f"verified: chain {report.chain}, height {report.height}, {what}",
        f"trust root {report.trust_root} ({'pinned by you' if report.pinned else 'NOT pinned: compare it'})",
        f"exported by {report.exporter_organisation} ({report.exporter})",
        _cosigned_line(report),
        f"{report.headers} headers, {report.transactions} transactions ({report.refused} refused)",
        f"{report.events} events, {report.states} records",
    ]
    lines += [_grant_line(grant) for grant in report.grants]
    lines += [_task_line(receipt) for receipt in report.receipts]
    return "\n".join([*lines, f"checks: {', '.join(report.checks)}"])


def _cosigned_line(report: Verified) -> str:
    if not report.cosigned:
        return "the last header is cosigned by nobody in this bundle: ask another institution for it too"
    many = "institution" if len(report.cosigned) == 1 else "institutions"
    return f"the last header is cosigned by {len(report.cosigned)} {many}: {', '.join(report.cosigned)}"


def _grant_line(grant: GrantReceipt) -> str:
    return (
        f"grant {grant.grant.hex()[:16]}: {grant.provider} let {grant.holder} use {grant.path}@{grant.version} "
        f"for {grant.purpose} by {grant.basis}; {len(grant.used)} of {grant.uses_total} uses; "
        f"{grant.paid} points paid; {grant.status}"
    )


def _task_line(task: Receipt) -> str:
    result = f"result {task.result.hex()[:16]}" if task.result else "no result"
    line = (
        f"task {task.task.hex()[:16]}: by {task.initiator}, coordinated by {task.coordinator}, "
        f"{len(task.grants)} grants, {len(task.running)} attempts, {result}; {task.status}"
    )
    if task.settled is not None:
        line += f"; {task.paid} of {task.owed} points paid by {task.basis}, {len(task.certificates)} uses certified"
    if task.dispute:
        line += f"; disputed: {task.outcome or 'open'}, {len(task.revoked)} certificates revoked"
    return line


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the file that the arguments name, and print what it shows."""
    parser = argparse.ArgumentParser(prog="python -m fondaco.ledger.audit", description="Verify an audit bundle.")
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--trust-root", default=None, metavar="HEX", help="the genesis hash that the consortium published"
    )
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        report = verify(read(chosen.file), trust_root=chosen.trust_root)
    except OSError as fault:
        sys.stderr.write(f"{chosen.file} cannot be read: {fault.strerror}\n")
        return 3
    except ProofError as fault:
        if chosen.json:
            sys.stdout.write(json.dumps({"verified": False, "error": fault.to_dict()}) + "\n")
        sys.stderr.write(fault.diagnostics() + "\n")
        return fault.exit_code
    sys.stdout.write((json.dumps(describe(report)) if chosen.json else to_text(report)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
