"""What tasks transactions do."""

from __future__ import annotations

import hashlib

from fondaco.core.messages import altered
from fondaco.ledger.contracts.catalog import handlers as catalog
from fondaco.ledger.contracts.certificates import handlers as certificates
from fondaco.ledger.contracts.grants import handlers as grants
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, derive, distinct, is_text, is_word, load, records, save
from fondaco.ledger.contracts.settlement import payments
from fondaco.ledger.contracts.tasks import keys, services
from fondaco.ledger.contracts.tasks import messages as m
from fondaco.ledger.contracts.tasks.errors import Conflict, Denied, Invalid, Unknown, WrongStatus
from fondaco.ledger.state import ReadStore

CONTRACT = "tasks"
MAX_WORKFLOW = 24 * 1024
MAX_STEPS = 16
MAX_MEMBERS = 16
MAX_ATTEMPTS = 5
MAX_SECONDS = 7 * 86400
MATCHING = ("psi.", "pir.")  # operations that match rows on all that they are given
ENDED = ("settled", "abandoned", "expired")
HELD_FROM = 2  # the version of the rules from which what an unfinished task owes is held, and may be disputed


def task(store: ReadStore, task_id: bytes) -> m.Task:
    """The record of a task.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Task, keys.task(task_id))
    if found is None:
        raise Unknown("no such task")
    return found


def _save(ctx: Context, record: m.Task) -> None:
    save(ctx.store, keys.task(record.id), record)
    if record.status in ENDED:
        ctx.store.delete(keys.opened(record.since, record.id))


def used_grants(record: m.Task) -> tuple[bytes, ...]:
    """The grants of a task, each once, in order of appearance."""
    named = (item.grant for step in record.steps for item in step.inputs)
    return tuple(dict.fromkeys(grant for grant in named if grant is not None))


def _check_step(ctx: Context, step: m.StepHead, msg: m.Propose, organisation: str) -> None:
    bringing = tuple(item.organisation for item in step.inputs)
    if not 1 <= len(step.id) <= 64 or not is_text(step.id, 64) or "/" in step.id:
        raise Invalid("a step's id is 1 to 64 letters without a slash")
    if len(step.program) != 32 or not is_word(step.operation):
        raise Invalid("a step has a program hash of 32 bytes and an operation")
    services.check_listed(ctx.store, step)
    if not 2 <= len(step.members) <= MAX_MEMBERS or not distinct(step.members) or not distinct(bringing):
        raise Invalid("a step has two or more members, each once")
    if any(name not in msg.parties for name in step.members) or any(b not in step.members for b in bringing):
        raise Invalid("members are parties, and only members bring data")
    if not step.receivers or any(r not in bringing for r in step.receivers) or not distinct(step.receivers):
        raise Invalid("receivers are members that bring data")
    for item in step.inputs:
        dataset = catalog.dataset(ctx.store, item.path, item.version)
        if dataset.owner != item.organisation:
            raise Invalid(f"{item.path} is not {item.organisation}'s")
        known = [c.name for c in dataset.schema.columns]
        if not item.columns or not distinct(item.columns) or any(c not in known for c in item.columns):
            raise Invalid(f"name one or more columns of {item.path}, each once")
        if item.grant is None and item.organisation != organisation:
            raise Denied(f"the use of {item.organisation}'s data needs a grant")


def _covers(found: Grant, step: m.StepHead, item: m.InputHead, coordinator: str) -> bool:
    """Whether a grant covers what a step does with an item.

    The helper is a member without data whose collusion with one other opens every share, and the coordinator
    decides who is blamed: the provider agreed to these too, or it agreed to nothing. What only matches may bring
    granted keys alone; which columns another operation computes with, the gate knows, which reads the parameters.
    """
    matches = step.operation.startswith(MATCHING)
    open_to = found.keys if matches else (*found.keys, *found.columns)
    named = (step.operation in found.operations) or (step.program.hex() in found.operations)
    return (
        named
        and (found.provider, found.path, found.version) == (item.organisation, item.path, item.version)
        and all(column in open_to for column in item.columns)
        and all(receiver in found.receivers for receiver in step.receivers)
        and all(member in found.parties for member in (*step.members, coordinator))
    )


def _check_grants(ctx: Context, record: m.Task, *, unused: bool) -> None:
    """Every use of another's data stands on an active grant of the proposer's key that covers it."""
    holder = authority.active_user(ctx.store, record.initiator_key)
    if holder is None or holder.organisation != record.initiator or "analyst" not in holder.roles:
        raise Denied("the proposer's key is no longer that of an active analyst")
    for step in record.steps:
        for item in step.inputs:
            dataset = catalog.dataset(ctx.store, item.path, item.version)
            if dataset.status != "published":
                raise WrongStatus(f"{item.path}@{item.version} is withdrawn")
            if dataset.owner != item.organisation:
                raise WrongStatus(f"{item.path} is {dataset.owner}'s now", remedy="request it of its new owner")
            if item.grant is None:
                continue
            found = grants.grant(ctx.store, item.grant)
            allowed = ("active",) if unused else ("active", "exhausted")
            if found.status not in allowed:
                raise WrongStatus(f"the grant for {item.path} is {found.status}", remedy="request a new grant")
            if ctx.time >= found.expires:
                raise WrongStatus(f"the grant for {item.path} has expired", remedy="request a new grant")
            if found.holder_key != record.initiator_key or found.purpose != record.purpose:
                raise Denied(f"the grant for {item.path} is another holder's or for another purpose")
            if not _covers(found, step, item, record.coordinator):
                raise Denied(f"the grant for {item.path} does not cover step {step.id}")


def propose(ctx: Context, msg: m.Propose) -> None:
    """Pin a workflow and say who takes part."""
    author = authority.user(ctx, "analyst")
    if not 1 <= len(msg.workflow) <= MAX_WORKFLOW or not 1 <= len(msg.steps) <= MAX_STEPS:
        raise Invalid(f"a workflow has up to {MAX_WORKFLOW} bytes and 1 to {MAX_STEPS} steps")
    if not distinct(tuple(step.id for step in msg.steps)) or not is_word(msg.purpose):
        raise Invalid("step ids are used once, and the purpose is a word")
    named = {msg.coordinator: None} | {name: None for step in msg.steps for name in step.members}
    if not distinct(msg.parties) or sorted(msg.parties) != sorted(named):
        raise Invalid("the parties are the members of all steps and the coordinator, each once")
    for name in msg.parties:
        if authority.organisation(ctx.store, name) is None:
            raise Unknown(f"{name} is not an active organisation")
    if not ctx.time < msg.deadline <= ctx.time + MAX_SECONDS:
        raise Invalid("a task ends within seven days")
    for step in msg.steps:
        _check_step(ctx, step, msg, author.organisation)
    record = m.Task(
        id=derive("task", ctx.tx),
        workflow=msg.workflow,
        workflow_hash=hashlib.sha256(msg.workflow).digest(),
        initiator=author.organisation,
        initiator_key=author.key,
        coordinator=msg.coordinator,
        parties=msg.parties,
        steps=msg.steps,
        purpose=msg.purpose,
        deadline=msg.deadline,
        status="proposed",
        attempt=0,
        accepted=(),
        consumed=False,
        begun=(),
        failure=None,
        result=None,
        since=ctx.height,
    )
    _check_grants(ctx, record, unused=True)
    services.lock(ctx, record)
    ctx.store.set(keys.opened(ctx.height, record.id), b"")
    _save(ctx, record)
    ctx.emit(
        CONTRACT,
        "proposed",
        task=record.id,
        initiator=record.initiator,
        holder=record.initiator_key,
        coordinator=record.coordinator,
        workflow=record.workflow_hash,
        purpose=record.purpose,
    )
    for grant in used_grants(record):
        ctx.emit(CONTRACT, "relies-on", task=record.id, grant=grant)


def accept(ctx: Context, msg: m.Accept) -> None:
    """A party takes part."""
    record = task(ctx.store, msg.task)
    party = authority.node(ctx).organisation
    if party not in record.parties:
        raise Denied(f"{party} has no part in this task")
    late = record.status == "failed" and not record.consumed
    if record.status != "proposed" and not late:
        raise WrongStatus(f"the task is {record.status}")
    if party in record.accepted:
        raise Conflict(f"{party} has accepted already")
    _save(ctx, altered(record, accepted=(*record.accepted, party)))
    ctx.emit(CONTRACT, "accepted", task=record.id, party=party)


def _coordinating(ctx: Context, record: m.Task) -> None:
    if authority.node(ctx).organisation != record.coordinator:
        raise Denied("only the coordinator's node may do this")


def run(ctx: Context, msg: m.Run) -> None:
    """Start an attempt; the first takes one use of each grant."""
    record = task(ctx.store, msg.task)
    _coordinating(ctx, record)
    if record.status not in ("proposed", "failed"):
        raise WrongStatus(f"the task is {record.status}")
    missing = [party for party in record.parties if party not in record.accepted]
    if missing:
        raise WrongStatus(f"not accepted by {', '.join(missing)}")
    if msg.attempt != record.attempt + 1:
        raise Conflict(f"attempt {msg.attempt}, but {record.attempt + 1} is next")
    if msg.attempt > MAX_ATTEMPTS:
        raise WrongStatus(f"a task has at most {MAX_ATTEMPTS} attempts", remedy="abandon it and propose a new one")
    if ctx.time >= record.deadline:
        raise WrongStatus("the task's deadline is over")
    _check_grants(ctx, record, unused=not record.consumed)
    if not record.consumed:
        for grant_id in used_grants(record):
            grants.take_use(ctx, grants.grant(ctx.store, grant_id), record.id)
    changed = altered(record, status="running", attempt=msg.attempt, consumed=True)
    _save(ctx, changed)
    ctx.emit(CONTRACT, "running", task=record.id, attempt=msg.attempt)


def begin(ctx: Context, msg: m.Begin) -> None:
    """A provider's data are used from here on: whatever becomes of the task, the use is spent.

    Who receives an output has it before the provider can report; what it says afterwards gives no use back.
    """
    record = task(ctx.store, msg.task)
    author = authority.node(ctx).organisation
    step = next((s for s in record.steps if s.id == msg.step), None)
    if step is None or not any(i.organisation == author and i.grant is not None for i in step.inputs):
        raise Denied(f"{author} brings nothing under a grant to this step")
    if record.status != "running" or msg.attempt != record.attempt:
        raise WrongStatus(f"attempt {record.attempt} of the task is {record.status}")
    if author in record.begun:
        return
    _save(ctx, altered(record, begun=(*record.begun, author)))
    ctx.emit(CONTRACT, "begun", task=record.id, attempt=msg.attempt, step=msg.step, party=author)


def report(ctx: Context, msg: m.Report) -> None:
    """A member commits to its outcome of a step."""
    record = task(ctx.store, msg.task)
    author = authority.node(ctx)
    step = next((s for s in record.steps if s.id == msg.step), None)
    if step is None or author.organisation not in step.members:
        raise Denied(f"{author.organisation} has no part in this step")
    if record.status != "running" or msg.attempt != record.attempt:
        raise WrongStatus(f"attempt {record.attempt} of the task is {record.status}")
    if len(msg.outcome) != 32:
        raise Invalid("an outcome is a commitment of 32 bytes")
    where = keys.outcome(record.id, msg.attempt, msg.step, author.organisation)
    if ctx.store.get(where) is not None:
        raise Conflict(f"{author.organisation} has reported this step")
    outcome = m.Outcome(
        task=record.id,
        attempt=msg.attempt,
        step=msg.step,
        organisation=author.organisation,
        node=author.key,
        outcome=msg.outcome,
        height=ctx.height,
    )
    save(ctx.store, where, outcome)
    ctx.emit(
        CONTRACT,
        "reported",
        task=record.id,
        attempt=msg.attempt,
        step=msg.step,
        party=author.organisation,
        outcome=msg.outcome,
    )


def fail(ctx: Context, msg: m.Fail) -> None:
    """End an attempt with a named party and cause."""
    record = task(ctx.store, msg.task)
    author = authority.node(ctx).organisation
    if author not in record.parties or msg.party not in record.parties:
        raise Denied("author and named party take part in the task")
    if msg.attempt != record.attempt or record.status not in ("running", "proposed"):
        raise WrongStatus(f"attempt {record.attempt} of the task is {record.status}")
    if record.status == "running" and not missing_reports(ctx.store, record):
        raise WrongStatus("every member has reported: the task is done, and waits for its coordinator to say so")
    if not is_text(msg.step, 64) or not is_word(msg.reason) or not is_text(msg.cause, 500):
        raise Invalid("step, reason and cause are short lines")
    failure = m.Failure(attempt=msg.attempt, step=msg.step, party=msg.party, reason=msg.reason, cause=msg.cause)
    _save(ctx, altered(record, status="failed", failure=failure))
    ctx.emit(
        CONTRACT,
        "failed",
        task=record.id,
        attempt=msg.attempt,
        step=msg.step,
        party=msg.party,
        by=author,
        reason=msg.reason,
        cause=msg.cause,
    )


def missing_reports(store: ReadStore, record: m.Task) -> tuple[tuple[str, str], ...]:
    """(step, organisation) pairs of this attempt that have not reported, in order."""
    wanted = [(step.id, name) for step in record.steps for name in step.members]
    there = [keys.outcome(record.id, record.attempt, step, name) for step, name in wanted]
    return tuple(pair for pair, where in zip(wanted, there, strict=True) if store.get(where) is None)


def outcomes(store: ReadStore, record: m.Task) -> tuple[m.Outcome, ...]:
    """The reports of the present attempt, in order of key."""
    return tuple(records(store, m.Outcome, keys.outcomes(record.id, record.attempt)))


def result_hash(record: m.Task, reports: tuple[m.Outcome, ...]) -> bytes:
    """What the coordinator must finish with: the hash over all reports of the attempt, in order of key."""
    parts = [part for o in reports for part in (o.step.encode(), o.organisation.encode(), o.outcome)]
    return derive("result", record.id, record.attempt.to_bytes(2, "big"), *parts)


def finish(ctx: Context, msg: m.Finish) -> None:
    """All members have reported all their steps."""
    record = task(ctx.store, msg.task)
    _coordinating(ctx, record)
    if record.status != "running":
        raise WrongStatus(f"the task is {record.status}")
    missing = missing_reports(ctx.store, record)
    if missing:
        raise WrongStatus(f"{missing[0][1]} has not reported step {missing[0][0]}")
    if msg.result != result_hash(record, outcomes(ctx.store, record)):
        raise Invalid("the result is not the hash over the reports")
    _save(ctx, altered(record, status="finished", result=msg.result))
    ctx.emit(CONTRACT, "finished", task=record.id, attempt=record.attempt, result=msg.result)


def settle(ctx: Context, msg: m.Settle) -> None:
    """Settle a finished task: what it owes is divided by the voted formula, and each use gets its certificate."""
    record = task(ctx.store, msg.task)
    if record.status != "finished":
        raise WrongStatus(f"the task is {record.status}")
    close(ctx, record)


def close(ctx: Context, record: m.Task, *, disputed: bool = False) -> None:
    """Certify and divide; a dispute about a finished task settles it so, with the points frozen."""
    uses = tuple(grants.grant(ctx.store, grant_id) for grant_id in used_grants(record))
    for found in uses:
        certificates.issue(ctx, record, found)
    payments.settle(ctx, record, uses, disputed=disputed)
    _save(ctx, altered(record, status="settled"))
    ctx.emit(CONTRACT, "settled", task=record.id)


def end(ctx: Context, record: m.Task, status: str, *, disputed: bool = False) -> None:
    """End a task that was not finished: the uses of who has begun are paid for, the others go back.

    Paid through a settlement, with the service, once the window is over or the dispute has ended; by the first rules
    at once.
    """
    used = tuple(grants.grant(ctx.store, grant) for grant in used_grants(record)) if record.consumed else ()
    begun = tuple(found for found in used if found.provider in record.begun)
    held = ctx.version >= HELD_FROM and bool(begun)
    if not held:
        services.close(ctx, record)
    for found in used:
        if found not in begun:
            grants.return_use(ctx, found, record.id)
        elif not held:
            payments.pay_begun(ctx, record, found)
    if held:
        payments.settle(ctx, record, begun, disputed=disputed, finished=False)
    _save(ctx, altered(record, status=status))
    ctx.emit(CONTRACT, status, task=record.id)


def end_disputed(ctx: Context, record: m.Task, opener: str) -> None:
    """End a task that came to no result, with what its begun uses cost frozen.

    After its deadline for any party; before, where it has failed, for who proposed it and could abandon it.

    Raises:
        WrongStatus: it may still come to a result, or nobody's data were used.
    """
    over, mine = ctx.time >= record.deadline, opener == record.initiator
    if record.status not in ("running", "failed"):
        raise WrongStatus(f"the task is {record.status}: nothing of it is paid yet", remedy="dispute what was computed")
    if not over and record.status == "running":
        until = "has failed or ended" if mine else "has ended"
        raise WrongStatus("the task is running", remedy=f"dispute it once it {until}, or once its deadline is over")
    if not over and not mine:
        raise WrongStatus(
            f"the task failed, and until its deadline {record.initiator}, who proposed it, may try again or dispute it",
            remedy="dispute it once its deadline is over, or once it was abandoned",
        )
    if not record.begun:
        remedy = "abandon it" if mine else "leave it: it ends without you"
        raise WrongStatus("no provider has begun: this task costs nothing", remedy=remedy)
    if over:
        _name_missing(ctx, record)
    end(ctx, record, "expired" if over else "abandoned", disputed=True)


def abandon(ctx: Context, msg: m.Abandon) -> None:
    """Give up a task that is not running."""
    record = task(ctx.store, msg.task)
    if record.status not in ("proposed", "failed"):
        raise WrongStatus(f"the task is {record.status}")
    user = authority.active_user(ctx.store, ctx.signers[0])
    if user is None or user.key != record.initiator_key:
        _coordinating(ctx, record)
    end(ctx, record, "abandoned")


def expire(ctx: Context, msg: m.ExpireTask) -> None:
    """End a task after its deadline, naming who was missing."""
    record = task(ctx.store, msg.task)
    if record.status not in ("proposed", "running", "failed") or ctx.time < record.deadline:
        raise WrongStatus(f"the task is {record.status}, or its deadline is not over")
    _name_missing(ctx, record)
    end(ctx, record, "expired")


def _name_missing(ctx: Context, record: m.Task) -> None:
    for party in record.parties:
        if party not in record.accepted:
            ctx.emit(CONTRACT, "missing", task=record.id, party=party, step="")
    if record.status == "running":
        for step, party in missing_reports(ctx.store, record):
            ctx.emit(CONTRACT, "missing", task=record.id, party=party, step=step)


HANDLERS = (
    (m.Propose, propose),
    (m.Accept, accept),
    (m.Run, run),
    (m.Begin, begin),
    (m.Report, report),
    (m.Fail, fail),
    (m.Finish, finish),
    (m.Settle, settle),
    (m.Abandon, abandon),
    (m.ExpireTask, expire),
)
