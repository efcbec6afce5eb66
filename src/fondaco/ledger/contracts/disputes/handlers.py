"""What disputes transactions do, and how arbiters are drawn and counted."""

from __future__ import annotations

from fondaco.core.messages import altered
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.certificates import handlers as certificates
from fondaco.ledger.contracts.certificates import keys as certificate_keys
from fondaco.ledger.contracts.disputes import keys
from fondaco.ledger.contracts.disputes import messages as m
from fondaco.ledger.contracts.disputes.errors import Conflict, Denied, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.governance.parameters import weight
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Organisation
from fondaco.ledger.contracts.kit import Context, derive, is_text, load, records, save
from fondaco.ledger.contracts.settlement import payments
from fondaco.ledger.contracts.settlement.formula import BASIS_POINTS
from fondaco.ledger.contracts.tasks import handlers as tasks
from fondaco.ledger.state import ReadStore

CONTRACT = "disputes"
OPENED, VOTING, ENDED = "opened", "voting", "ended"
MAX_ARBITERS = 15
MAX_BLOCKS = 1_000_000
MAX_CAUSE = 500
MAX_EVIDENCE = 8  # of one organisation
DEFAULT = m.Rules(arbiters=3, blocks=10_000)


def check(rules: m.Rules) -> None:
    """Raise Invalid for no arbiter, an even number of them, too many, or no time to vote."""
    if not 1 <= rules.arbiters <= MAX_ARBITERS or not rules.arbiters % 2:
        raise Invalid(f"the arbiters are an odd number up to {MAX_ARBITERS}")
    if not 1 <= rules.blocks <= MAX_BLOCKS:
        raise Invalid(f"arbiters have 1 to {MAX_BLOCKS} blocks")


def set_rules(ctx: Context, rules: m.Rules) -> None:
    """Put the rules; genesis and a passed vote alone come here.

    Raises:
        Invalid: as `check`.
    """
    check(rules)
    save(ctx.store, keys.RULES, rules)
    ctx.emit(CONTRACT, "rules", arbiters=rules.arbiters, blocks=rules.blocks)


def rules(store: ReadStore) -> m.Rules:
    """The rules in force."""
    return load(store, m.Rules, keys.RULES) or DEFAULT


def dispute(store: ReadStore, task: bytes) -> m.Dispute:
    """The record of the dispute about a task.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Dispute, keys.dispute(task))
    if found is None:
        raise Unknown("nobody disputes this task")
    return found


def _author(ctx: Context, parties: tuple[str, ...]) -> str:
    """The party for which an analyst or a reviewer signed."""
    found = authority.active_user(ctx.store, ctx.signers[0])
    if found is None or not any(role in found.roles for role in ("analyst", "reviewer")):
        raise Denied("the author is no active analyst or reviewer")
    if found.organisation not in parties:
        raise Denied(f"{found.organisation} has no part in this task")
    return found.organisation


def open_dispute(ctx: Context, msg: m.Open) -> None:
    """Contest a task: what it pays is frozen from now on."""
    record = tasks.task(ctx.store, msg.task)
    parties = tuple(sorted({record.initiator: None} | dict.fromkeys(record.parties)))
    opener = _author(ctx, parties)
    if ctx.store.get(keys.dispute(record.id)) is not None:
        raise Conflict("this task was disputed before; it is disputed once")
    if not msg.cause or not is_text(msg.cause, MAX_CAUSE):
        raise Invalid("a cause is one short line, and not blank")
    if record.status == "finished":
        tasks.close(ctx, record, disputed=True)
    elif record.status == "settled":
        payments.freeze(ctx, record.id)
    elif ctx.version < tasks.HELD_FROM:
        raise WrongStatus(f"the task is {record.status}", remedy="dispute a finished or settled task")
    elif record.status in tasks.ENDED:
        payments.freeze(ctx, record.id)
    else:
        tasks.end_disputed(ctx, record, opener)
    made = m.Dispute(
        id=derive("dispute", record.id),
        task=record.id,
        opener=opener,
        cause=msg.cause,
        since=ctx.height,
        parties=parties,
        arbiters=(),
        deadline=0,
        evidence=(),
        votes=(),
        status=OPENED,
        outcome="",
        refund=0,
        revoke=False,
        silent=(),
    )
    save(ctx.store, keys.dispute(record.id), made)
    due.at_height(ctx.store, ctx.height + 1, CONTRACT, record.id)
    ctx.emit(CONTRACT, OPENED, task=record.id, dispute=made.id, opener=opener, cause=msg.cause)


def put_evidence(ctx: Context, msg: m.PutEvidence) -> None:
    """Commit to a document that the arbiters are shown off the ledger."""
    found = dispute(ctx.store, msg.task)
    party = _author(ctx, found.parties)
    if found.status == ENDED:
        raise WrongStatus("the dispute has ended")
    if len(msg.evidence) != 32:
        raise Invalid("evidence is a salted hash of 32 bytes")
    if sum(1 for one in found.evidence if one.organisation == party) >= MAX_EVIDENCE:
        raise WrongStatus(f"{party} has put {MAX_EVIDENCE} pieces of evidence", remedy="put several into one document")
    if any(one.evidence == msg.evidence for one in found.evidence):
        raise Conflict("this evidence is there already")
    made = m.Evidence(organisation=party, evidence=msg.evidence, height=ctx.height)
    save(ctx.store, keys.dispute(found.task), altered(found, evidence=(*found.evidence, made)))
    ctx.emit(CONTRACT, "evidence", task=found.task, dispute=found.id, party=party, evidence=msg.evidence)


def draw(found: m.Dispute, names: tuple[str, ...], count: int, entropy: bytes) -> tuple[str, ...]:
    """`count` of the names that are no party, or as many as there are: the lowest hashes of dispute, entropy, name."""
    able = [name for name in names if name not in found.parties]
    return tuple(sorted(able, key=lambda name: derive("arbiter", found.id, entropy, name.encode()))[:count])


def do_due(ctx: Context, task: bytes) -> None:
    """Draw the arbiters of a dispute, or end it at its deadline."""
    found = dispute(ctx.store, task)
    if found.status == OPENED:
        _draw(ctx, found)
    elif found.status == VOTING:
        _end(ctx, found)


def _draw(ctx: Context, found: m.Dispute) -> None:
    known = records(ctx.store, Organisation, identity_keys.ORGANISATIONS)
    # Whose vote has no weight judges nothing either: one institution alone can invite any number of them.
    active = tuple(one.name for one in known if one.status == authority.ACTIVE and weight(ctx.store, one.name))
    rule = rules(ctx.store)
    drawn = draw(found, active, rule.arbiters, ctx.entropy)
    changed = altered(found, arbiters=drawn, deadline=ctx.height + rule.blocks, status=VOTING)
    for name in drawn:
        ctx.emit(CONTRACT, "arbiter", task=found.task, dispute=found.id, arbiter=name)
    if not drawn:
        _end(ctx, changed)
        return
    save(ctx.store, keys.dispute(found.task), changed)
    due.at_height(ctx.store, changed.deadline, CONTRACT, found.task)


def cast_vote(ctx: Context, msg: m.CastVote) -> None:
    """An arbiter decides; the last one ends the dispute."""
    authority.user_or_admins(ctx, msg.by, "governor")
    found = dispute(ctx.store, msg.task)
    if found.status != VOTING:
        raise WrongStatus(f"the dispute is {found.status}")
    if msg.by not in found.arbiters:
        raise Denied(f"{msg.by} was not drawn as an arbiter")
    if any(vote.arbiter == msg.by for vote in found.votes):
        raise Conflict(f"{msg.by} has voted")
    if not 0 <= msg.refund <= BASIS_POINTS:
        raise Invalid(f"a refund is 0 to {BASIS_POINTS} basis points")
    vote = m.Vote(arbiter=msg.by, refund=msg.refund, revoke=msg.revoke)
    changed = altered(found, votes=(*found.votes, vote))
    save(ctx.store, keys.dispute(found.task), changed)
    ctx.emit(
        CONTRACT,
        "vote",
        task=found.task,
        dispute=found.id,
        arbiter=msg.by,
        refund=msg.refund,
        revoke=int(msg.revoke),
    )
    if len(changed.votes) == len(changed.arbiters):
        due.not_at_height(ctx.store, changed.deadline, CONTRACT, found.task)
        _end(ctx, changed)


def decide(votes: tuple[m.Vote, ...], arbiters: int) -> tuple[str, int, bool]:
    """(outcome, basis points that go back, whether certificates are revoked) of the votes of so many arbiters."""
    if 2 * len(votes) <= arbiters or not votes:
        return "silence", 0, False
    refund = sorted(vote.refund for vote in votes)[(len(votes) - 1) // 2]
    revoke = 2 * sum(1 for vote in votes if vote.revoke) > len(votes)
    outcome = {0: "payment", BASIS_POINTS: "refund"}.get(refund, "split")
    return outcome, refund, revoke


def _end(ctx: Context, found: m.Dispute) -> None:
    outcome, refund, revoke = decide(found.votes, len(found.arbiters))
    voted = [vote.arbiter for vote in found.votes]
    silent = tuple(name for name in found.arbiters if name not in voted)
    for name in silent:
        ctx.emit(CONTRACT, "silent", task=found.task, dispute=found.id, arbiter=name)
    changed = altered(found, status=ENDED, outcome=outcome, refund=refund, revoke=revoke, silent=silent)
    save(ctx.store, keys.dispute(found.task), changed)
    ctx.emit(CONTRACT, ENDED, task=found.task, dispute=found.id, outcome=outcome, refund=refund, revoke=int(revoke))
    payments.resolve(ctx, found.task, refund)
    if revoke:
        _revoke(ctx, found)


def _revoke(ctx: Context, found: m.Dispute) -> None:
    record = tasks.task(ctx.store, found.task)
    for grant in tasks.used_grants(record) if record.status == "settled" else ():  # else no use was certified
        one = certificates.certificate(ctx.store, certificate_keys.certificate_id(record.id, grant))
        if one.status == certificates.VALID:
            certificates.void(ctx, one, "arbiters", "a dispute ended so")


HANDLERS = ((m.Open, open_dispute), (m.PutEvidence, put_evidence), (m.CastVote, cast_vote))
