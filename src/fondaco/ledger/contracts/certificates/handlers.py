"""What certificates transactions do, and how settlements issue and disputes revoke them."""

from __future__ import annotations

from collections.abc import Iterator

from fondaco.core.messages import altered
from fondaco.ledger.contracts.certificates import keys
from fondaco.ledger.contracts.certificates import messages as m
from fondaco.ledger.contracts.certificates.errors import Conflict, Denied, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, is_text, load, save
from fondaco.ledger.contracts.tasks.messages import InputHead, StepHead, Task
from fondaco.ledger.state import ReadStore

CONTRACT = "certificates"
VALID, REVOKED = "valid", "revoked"
MAX_CAUSE = 200


def certificate(store: ReadStore, certificate_id: bytes) -> m.Certificate:
    """The record of a certificate.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Certificate, keys.certificate(certificate_id))
    if found is None:
        raise Unknown("no such certificate")
    return found


def of_grant(store: ReadStore, grant: bytes) -> tuple[m.Certificate, ...]:
    """The certificates of all uses of a grant, in order of id."""
    prefix = keys.uses(grant)
    return tuple(certificate(store, key[len(prefix) :]) for key, _value in store.items(prefix))


def _used(task: Task, grant: bytes) -> Iterator[tuple[StepHead, InputHead]]:
    return ((step, item) for step in task.steps for item in step.inputs if item.grant == grant)


def issue(ctx: Context, task: Task, grant: Grant) -> None:
    """Certify one use; the tasks contract alone calls this, when it settles."""
    made = keys.certificate_id(task.id, grant.id)
    if ctx.store.get(keys.certificate(made)) is not None:
        raise Conflict("this use has its certificate")
    used = tuple(_used(task, grant.id))
    record = m.Certificate(
        id=made,
        task=task.id,
        grant=grant.id,
        holder=grant.holder,
        holder_key=grant.holder_key,
        provider=grant.provider,
        path=grant.path,
        version=grant.version,
        commitment=grant.commitment,
        columns=tuple(sorted({column: None for _step, item in used for column in item.columns})),
        operations=tuple(sorted({step.operation: None for step, _item in used})),
        programs=tuple(sorted({step.program: None for step, _item in used})),
        workflow=task.workflow_hash,
        purpose=task.purpose,
        height=ctx.height,
        time=ctx.time,
        cost=grant.price,
        status=VALID,
        revoked=0,
        by="",
        cause="",
    )
    save(ctx.store, keys.certificate(made), record)
    ctx.store.set(keys.use(grant.id, made), b"\x01")
    ctx.emit(
        CONTRACT,
        "issued",
        certificate=made,
        task=task.id,
        grant=grant.id,
        holder=grant.holder,
        provider=grant.provider,
        path=grant.path,
        version=grant.version,
        purpose=task.purpose,
        cost=grant.price,
    )


def void(ctx: Context, found: m.Certificate, by: str, cause: str) -> None:
    """Revoke; the handler below and a dispute that ends so come here.

    Raises:
        WrongStatus: it is revoked already.
    """
    if found.status != VALID:
        raise WrongStatus("the certificate is revoked already")
    changed = altered(found, status=REVOKED, revoked=ctx.height, by=by, cause=cause)
    save(ctx.store, keys.certificate(found.id), changed)
    ctx.emit(CONTRACT, REVOKED, certificate=found.id, task=found.task, grant=found.grant, by=by, cause=cause)


def revoke(ctx: Context, msg: m.RevokeCertificate) -> None:
    """The provider takes back, for a cause, what it certified; points do not move by it."""
    found = certificate(ctx.store, msg.certificate)
    author = authority.user(ctx, "reviewer")
    if author.organisation != found.provider:
        raise Denied("the certificate is of another provider's data")
    if not msg.cause or not is_text(msg.cause, MAX_CAUSE):
        raise Invalid("a cause is one short line, and not blank")
    void(ctx, found, author.organisation, msg.cause)


HANDLERS = ((m.RevokeCertificate, revoke),)
