"""Witness cosigning: what nodes sign of each other's headers, and the proof that a chain has two faces.

A cosignature says "this is the header that I verified at this height", under a domain of its own. A ledger of one
validator can sign two histories and show each to somebody else; two nodes that tell each other their signed headers
find out, and both headers together are proof for everybody who knows the genesis. After Syta et al., "Keeping
Authorities 'Honest or Bust' with Decentralized Witness Cosigning" (IEEE S&P 2016), with nodes in place of witnesses.
Trusts the ledger of the node alone; leaks to peers which height a node has.
"""

from __future__ import annotations

from fondaco.core.codec import encode
from fondaco.core.keys import PublicKey, SecretKey
from fondaco.core.messages import message, to_bytes
from fondaco.errors import KeyMaterialError, ProofError
from fondaco.ledger.blocks import Validator
from fondaco.ledger.light import Anchor, SignedHeader, verify_signed

DOMAIN = "witness-checkpoint"
MAX_NOTE = 128 << 10


def _refuse(cause: str) -> ProofError:
    return ProofError(cause, check="cosignature", remedy="do not count it, and ask the node that sent it")


@message("witness.checkpoint/1")
class Checkpoint:
    """A header by its hash, with the app hash that it carries and the number of events under that.

    `chain` is the chain id, which binds the genesis.
    """

    chain: str
    height: int
    header: bytes
    app_hash: bytes
    log_size: int


@message("witness.cosigned/1")
class Cosigned:
    """A checkpoint with a node's signature over it; `node` is the node's key."""

    checkpoint: Checkpoint
    node: bytes
    signature: bytes


@message("witness.cosignature/1")
class Cosignature:
    """A node's signature over a checkpoint that its reader makes for itself."""

    node: bytes
    signature: bytes


@message("witness.note/1")
class Note:
    """What a node tells another: its newest signed header, cosigned; or the signed headers that show two faces."""

    headers: tuple[SignedHeader, ...]
    cosigned: Cosigned | None


def checkpoint(anchor: Anchor) -> Checkpoint:
    """The checkpoint of a ledger's newest header."""
    header = anchor.header
    return Checkpoint(
        chain=header.chain,
        height=header.height,
        header=header.hash,
        app_hash=header.app_hash,
        log_size=anchor.log_size,
    )


def cosign(point: Checkpoint, secret: SecretKey) -> Cosigned:
    """Sign a checkpoint that this node has verified."""
    return Cosigned(checkpoint=point, node=secret.public.raw, signature=secret.sign(DOMAIN, to_bytes(point)))


def verify_cosigned(cosigned: Cosigned) -> None:
    """That the node signed the checkpoint.

    Raises:
        ProofError: check `cosignature`.
    """
    try:
        PublicKey(cosigned.node).verify(DOMAIN, to_bytes(cosigned.checkpoint), cosigned.signature)
    except KeyMaterialError as fault:
        raise _refuse("the node's signature over the checkpoint does not hold") from fault


def check_note(note: Note, sender: bytes) -> None:
    """That a note has the form of one, and that its cosignature is the sender's and of its header.

    Raises:
        ProofError: check `cosignature`.
    """
    if note.cosigned is None:
        if len(note.headers) not in (1, 2):
            raise _refuse("a note without a cosignature has one or two headers")
        return
    if len(note.headers) != 1 or note.cosigned.node != sender:
        raise _refuse("a cosignature comes with its one header, from the node that made it")
    header, point = note.headers[0].header, note.cosigned.checkpoint
    if (point.chain, point.height, point.header, point.app_hash) != (
        header.chain,
        header.height,
        header.hash,
        header.app_hash,
    ):
        raise _refuse("the cosignature is over another header")
    verify_cosigned(note.cosigned)


def two_faces(chain: str, first: SignedHeader, second: SignedHeader, validators: tuple[Validator, ...]) -> str | None:
    """Why two headers show two faces of a chain; None when they are of different heights, or one.

    Raises:
        ProofError: these validators, of that height, did not sign both.
    """
    height = first.header.height
    if second.header.height != height or second.header == first.header:
        return None
    for signed in (first, second):
        verify_signed(chain, signed.header, signed.commit, validators)
    hashes = " and ".join(signed.header.hash.hex()[:16] for signed in (first, second))
    return f"the validators signed two blocks {height} ({hashes})"


def pair_bytes(first: SignedHeader, second: SignedHeader) -> bytes:
    """Two signed headers as a ledger keeps them for evidence."""
    return encode([to_bytes(first), to_bytes(second)])
