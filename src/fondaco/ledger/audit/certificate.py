"""A data-use certificate as a file: the record, proven to be on the chain, and its status at that height. Offline.

What a reader trusts is the genesis hash that it pinned, and that more than two thirds of the validators' power signed
truly; the exporter is trusted for nothing. A certificate may be revoked later than the file was made: `max_age` bounds
how old the proving header may be. Old validators may sign another history once they have nothing to lose: with a
`trusting_period` none is believed longer, and a reader of an older chain begins with a newer header than the genesis.
The file leaks to its readers what the certificate says, and the genesis.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.errors import CodecError, LedgerError, ProofError
from fondaco.ledger.contracts.certificates import keys
from fondaco.ledger.contracts.certificates.messages import Certificate
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import Proof, Trusted, Trusting, trust_genesis, verify_proof

if TYPE_CHECKING:
    from fondaco.ledger.reader import Ledger

FORMAT = 1
MAX_FILE = 8 << 20
CHECKS = (
    "format",
    "trust-root",
    "trusting-period",
    "header-time",
    "header-chain",
    "validators",
    "commit-signature",
    "app-hash",
    "state-proof",
    "certificate",
    "freshness",
)
_NANOS = 1_000_000_000


@message("certificate.file/1")
class CertificateFile:
    """The file: the genesis that the chain began with, and the proof of one certificate's record."""

    format: int
    genesis: Genesis
    proof: Proof


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCertificate:
    """What a verified file shows: the certificate as it stood at a height (time in unix seconds)."""

    certificate: Certificate
    chain: str
    trust_root: str
    pinned: bool
    height: int
    time: int

    @property
    def valid(self) -> bool:
        """Whether the certificate was not revoked at that height."""
        return self.certificate.status == "valid"


def export(ledger: Ledger, certificate: bytes) -> bytes:
    """The file of a certificate, proven at the newest header.

    Raises:
        LedgerError: there is none of this id, or no header proves it yet.
    """
    proof = ledger.prove([keys.certificate(certificate)])
    if proof.states[0].value is None:
        raise LedgerError("there is no such certificate", remedy="list them: fondaco certificates")
    return to_bytes(CertificateFile(format=FORMAT, genesis=ledger.genesis, proof=proof))


def _refuse(check: str, cause: str) -> ProofError:
    return ProofError(cause, check=check, remedy="ask for the certificate again, from another node")


def verify(
    data: bytes,
    *,
    trust_root: str | None = None,
    now: int | None = None,
    max_age: int | None = None,
    trusting_period: int | None = None,
    since: Trusted | None = None,
) -> VerifiedCertificate:
    """Check a file against the genesis hash that the reader pinned.

    Args:
        data: the file's bytes.
        trust_root: the genesis hash in hex; None checks against the genesis in the file, and `pinned` says so.
        now, max_age: unix seconds; the proving header must be no older than `max_age` at `now`, if both are given.
        trusting_period: seconds for which validators are believed, at `now`, if both are given (light.Trusting).
        since: what the reader trusts of this chain already, in place of the genesis.

    Raises:
        ProofError: its `check` names what failed, one of CHECKS.
    """
    try:
        file = from_bytes(CertificateFile, data, limit=MAX_FILE)
    except CodecError as fault:
        raise _refuse("format", f"not a certificate's file: {fault.cause}") from fault
    if file.format != FORMAT:
        raise _refuse("format", f"a certificate's file of format {file.format}, which this software does not read")
    if trust_root is not None and file.genesis.hash.hex() != trust_root.lower():
        raise _refuse("trust-root", "the certificate is of another chain than the one that was pinned")
    try:
        file.genesis.check()
    except LedgerError as fault:
        raise _refuse("format", fault.cause) from fault
    within = None
    if now is not None and trusting_period is not None:
        within = Trusting(now=now * _NANOS, period=trusting_period * _NANOS)
    trusted = verify_proof(since or trust_genesis(file.genesis), file.proof, within)
    if len(file.proof.states) != 1 or file.proof.events:
        raise _refuse("certificate", "the file proves something else than one record")
    (state,) = file.proof.states
    try:
        record = from_bytes(Certificate, state.value) if state.value is not None else None
    except CodecError as fault:
        raise _refuse("certificate", f"the proven record is no certificate: {fault.cause}") from fault
    if record is None or state.key != keys.certificate(record.id):
        raise _refuse("certificate", "the file proves no certificate, or not under its own id")
    time = trusted.time // _NANOS
    if now is not None and max_age is not None and not now - max_age <= time:
        raise _refuse("freshness", f"the proof is {now - time} seconds old, {max_age} are allowed")
    return VerifiedCertificate(
        certificate=record,
        chain=file.genesis.chain,
        trust_root=file.genesis.hash.hex(),
        pinned=trust_root is not None,
        height=trusted.height,
        time=time,
    )
