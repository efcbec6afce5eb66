"""An audit bundle proves what happened, offline; whoever changes a byte of it is told which check failed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from changes_world import Place, changes, places, replaced
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import VALIDATOR, World, consortium_genesis, key, transfer

from fondaco.core.codec import Value, decode, encode
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import LedgerError, ProofError
from fondaco.ledger.audit import receipts
from fondaco.ledger.audit.__main__ import main
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.format import DOMAIN, MAX_BUNDLE, Bundle
from fondaco.ledger.audit.verify import CHECKS, verify
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.grants.messages import GiveBack, Review, RevokeGrant, WithdrawRequest
from fondaco.ledger.contracts.kit import Context, derive
from fondaco.ledger.contracts.settlement import keys as settlement_keys
from fondaco.ledger.contracts.settlement.messages import Settlement
from fondaco.ledger.contracts.tasks.messages import Abandon, Accept, Begin, Fail, Run
from fondaco.ledger.embedded import EmbeddedLedger
from fondaco.ledger.witness import Cosigned, checkpoint, cosign

EXPORTER = "authority/node"


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[World, bytes]]:
    """A consortium after one settled task, a revoked grant and two refusals."""
    made = World()
    task = made.story()
    with made.ledger._work:  # several transactions in one block, the last two of them refused
        waiting = [made.ledger.submit(transfer(sequence)) for sequence in (1, 2, 3, 9, 9)]
    places = [(done.index, done.result.code) for done in (future.result(10) for future in waiting)]
    assert places == [(0, 0), (1, 0), (2, 0), (3, 4), (4, 4)]
    made.ledger.wait_provable(10)
    yield made, task
    made.ledger.stop()


def _cosigned(made: World, *others: str) -> list[Cosigned]:
    """The newest header as two nodes, and others, cosign it."""
    point = checkpoint(made.ledger.anchor())
    return [cosign(point, key(name)) for name in ("airline/node", "weather/node", *others)]


@pytest.fixture(scope="module")
def whole(world: tuple[World, bytes]) -> tuple[bytes, str]:
    """The bundle of everything, cosigned by two institutions, and the trust root."""
    made, _task = world
    return export(made.ledger, key(EXPORTER), cosigned=_cosigned(made)), made.genesis.hash.hex()


@pytest.fixture(scope="module")
def one(world: tuple[World, bytes]) -> tuple[bytes, str]:
    """The bundle of one task, and the trust root."""
    made, task = world
    return export(made.ledger, key(EXPORTER), task=task), made.genesis.hash.hex()


def _failed(data: bytes, root: str | None) -> str:
    with pytest.raises(ProofError) as caught:
        verify(data, trust_root=root)
    assert caught.value.check in CHECKS
    return caught.value.check


def _signed(content: Value) -> bytes:
    data = encode(content)
    return encode({"content": data, "signature": key(EXPORTER).sign(DOMAIN, data)})


def _content(bundle: bytes) -> Value:
    return decode(from_bytes(Bundle, bundle, limit=MAX_BUNDLE).content, limit=MAX_BUNDLE)


def _every_change(bundle: bytes) -> Iterator[tuple[Place, Value]]:
    tree = _content(bundle)
    for place, value in places(tree):
        for new in changes(value):
            yield place, replaced(tree, place, new)


@pytest.mark.parametrize("selection", ["whole", "one"])
def test_a_bundle_proves_the_story_of_its_task(selection: str, request: pytest.FixtureRequest) -> None:
    bundle, root = request.getfixturevalue(selection)
    found = verify(bundle, trust_root=root)
    assert found.complete == (selection == "whole")
    assert found.pinned
    assert found.exporter_organisation == "authority"
    (receipt,) = found.receipts
    assert (receipt.status, receipt.initiator, receipt.coordinator) == ("settled", "airline", "authority")
    reviewed = found.grants[0]
    assert (reviewed.basis, reviewed.paid, reviewed.refunded, reviewed.escrow) == ("review", 100, 100, 0)
    assert reviewed.reviewer == key("weather/user").public.raw
    assert receipt.grants == (reviewed.grant,)
    assert receipt.requests == (reviewed.request,)
    order = [reviewed.requested, reviewed.reviewed, reviewed.granted, receipt.proposed, receipt.running[0]]
    order += [receipt.reported[0], receipt.finished, receipt.settled]
    assert order == sorted(order, key=lambda number: number or 0)


def test_the_bundle_of_everything_shows_what_was_refused_and_revoked(whole: tuple[bytes, str]) -> None:
    found = verify(whole[0], trust_root=whole[1])
    assert found.refused == 4
    assert [grant.status for grant in found.grants] == ["exhausted", "revoked"]


def test_every_changed_field_is_refused_by_name(one: tuple[bytes, str]) -> None:
    bundle, root = one
    signature = from_bytes(Bundle, bundle, limit=MAX_BUNDLE).signature
    tried = 0
    for place, changed in _every_change(bundle):
        data = encode({"content": encode(changed), "signature": signature})
        assert _failed(data, root), place
        tried += 1
    assert tried > 500


def test_the_exporter_itself_cannot_change_a_field_and_sign_again(whole: tuple[bytes, str]) -> None:
    """All is covered by what the validators signed; a bundle may only claim less: not to be complete."""
    bundle, root = whole
    for place, changed in _every_change(bundle):
        if place == ("complete",):
            assert not verify(_signed(changed), trust_root=root).complete
            continue
        assert _failed(_signed(changed), root) != "exporter-signature", place


def _fullest(tree: dict[str, Value]) -> tuple[dict[str, Value], list[Value]]:
    """The leaves of the block with the most transactions, and the list of all transactions."""
    blocks, transactions = tree["blocks"], tree["transactions"]
    assert isinstance(blocks, list)
    assert isinstance(transactions, list)
    found = max(blocks, key=lambda block: len(block["txs"]))  # type: ignore[arg-type, index, call-overload]
    assert isinstance(found, dict)
    return found, transactions


@pytest.mark.parametrize("hidden", [1, 2, 3, 4])
def test_refused_transactions_at_a_blocks_end_cannot_be_hidden(whole: tuple[bytes, str], hidden: int) -> None:
    """RFC 6962 binds no tree size: a shorter block with true paths for what is left once passed for the whole."""
    tree = _content(whole[0])
    assert isinstance(tree, dict)
    block, transactions = _fullest(tree)
    assert isinstance(block["txs"], list)
    assert isinstance(block["codes"], list)
    last = [tx for tx in transactions if isinstance(tx, dict) and tx["height"] == block["height"]][-hidden:]
    tree["transactions"] = [tx for tx in transactions if tx not in last]
    assert _failed(_signed(tree), whole[1]) in ("completeness", "event-source")
    block["txs"], block["codes"] = block["txs"][:-hidden], block["codes"][:-hidden]
    assert _failed(_signed(tree), whole[1]) == "transactions"


@pytest.mark.parametrize("selection", ["whole", "one"])
def test_no_number_of_a_transaction_can_be_another(selection: str, request: pytest.FixtureRequest) -> None:
    bundle, root = request.getfixturevalue(selection)
    tree = _content(bundle)
    assert isinstance(tree, dict)
    for at, tx in enumerate(tree["transactions"]):  # type: ignore[arg-type, union-attr]
        for field in ("height", "index"):
            for moved in (-8, -4, -3, -2, -1, 1, 2, 3, 4, 8, 16):
                changed = replaced(tree, ("transactions", at, field), tx[field] + moved)  # type: ignore[index, call-overload, operator]
                assert _failed(_signed(changed), root), (at, field, moved)


def test_a_changed_signature_is_refused(whole: tuple[bytes, str]) -> None:
    file = from_bytes(Bundle, whole[0], limit=MAX_BUNDLE)
    for at in range(0, 64, 7):
        forged = file.signature[:at] + bytes((file.signature[at] ^ 4,)) + file.signature[at + 1 :]
        data = encode({"content": file.content, "signature": forged})
        assert _failed(data, whole[1]) == "exporter-signature"


def test_flipped_bits_of_the_file_are_refused_wherever_they_are(whole: tuple[bytes, str]) -> None:
    bundle, root = whole
    for at in range(0, len(bundle), 97):
        _failed(bundle[:at] + bytes((bundle[at] ^ (1 << at % 8),)) + bundle[at + 1 :], root)
    for cut in (0, 1, len(bundle) // 2, len(bundle) - 1):
        assert _failed(bundle[:cut], root) == "format"
    assert _failed(bundle + b"\x00", root) == "format"


Change = Callable[[dict[str, Value]], None]


def _drop(name: str, at: int) -> Change:
    def work(tree: dict[str, Value]) -> None:
        found = tree[name]
        assert isinstance(found, list)
        del found[at]

    return work


def _put(name: str, value: Value) -> Change:
    return lambda tree: tree.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_drop("events", 5), "completeness"),
        (_drop("transactions", 3), "event-source"),
        (_drop("headers", 4), "transactions"),
        (_drop("states", 2), "state-proof"),
        (_drop("receipts", 0), "receipt-link"),
        (_drop("grants", 1), "receipt-link"),
        (_put("format", 9), "format"),
        (_put("validators", []), "validators"),
        (_put("log_size", 3), "app-hash"),
        (_put("headers", []), "header-chain"),
        (_put("exporter", bytes(32)), "state-proof"),
    ],
)
def test_what_is_left_out_is_named_even_when_the_exporter_signs_it(
    whole: tuple[bytes, str], change: Change, check: str
) -> None:
    tree = _content(whole[0])
    assert isinstance(tree, dict)
    change(tree)
    assert _failed(_signed(tree), whole[1]) == check


def test_every_other_ending_has_its_receipt_too() -> None:
    """A denied item, a smaller grant, a failed attempt, a use given back, a use paid for without a result."""
    world = World()
    theirs, mine = world.publish("weather", "rain"), world.publish("airline", "flights")
    denied = world.request(theirs, uses=2)
    world.must(Review(request=denied, item=0, approve=False, reason="not now", uses=0, expires=0), "weather/user")
    open_request = world.request(theirs)
    world.must(WithdrawRequest(request=open_request), "airline/user")
    grant = world.review(world.request(theirs, uses=5), uses=3)
    unwanted = world.review(world.request(theirs, uses=2), uses=2)
    world.must(GiveBack(grant=unwanted), "airline/user")

    def proposed() -> bytes:
        done = world.propose(theirs, mine, grant)
        assert done.result.code == 0, done.result
        task = derive("task", done.tx)
        for party in ("airline", "weather", "authority"):
            world.must(Accept(task=task), f"{party}/node")
        world.must(Run(task=task, attempt=1), "authority/node")
        return task

    def failing(task: bytes, attempt: int) -> None:
        msg = Fail(task=task, attempt=attempt, step="statistics", party="weather", reason="silent", cause="no answer")
        world.must(msg, "authority/node")

    again, given_back, spent = proposed(), proposed(), proposed()
    failing(again, 1)
    world.must(Run(task=again, attempt=2), "authority/node")
    failing(given_back, 1)
    world.must(Abandon(task=given_back), "authority/node")
    world.must(Begin(task=spent, attempt=1, step="statistics"), "weather/node")
    failing(spent, 1)
    world.must(Abandon(task=spent), "airline/user")
    world.must(RevokeGrant(grant=grant, reason="enough"), "weather/user")
    world.ledger.wait_provable(10)
    root = world.genesis.hash.hex()
    found = verify(export(world.ledger, key(EXPORTER)), trust_root=root)
    receipt, returned = found.grants
    assert (returned.status, returned.paid, returned.refunded, returned.escrow) == ("returned", 0, 200, 0)
    assert (receipt.status, receipt.uses_total, len(receipt.used), len(receipt.returned)) == ("revoked", 3, 3, 1)
    assert (receipt.paid, receipt.refunded, receipt.escrow) == (100, 300, 100)
    assert [task.status for task in found.receipts] == ["running", "abandoned", "abandoned"]
    assert [len(task.begun) for task in found.receipts] == [0, 0, 1]
    assert [len(task.running) for task in found.receipts] == [2, 1, 1]
    assert all(task.result == b"" for task in found.receipts)
    for task in (again, given_back, spent):
        alone = verify(export(world.ledger, key(EXPORTER), task=task), trust_root=root)
        assert [r.task for r in alone.receipts] == [task]
    world.ledger.stop()


def test_another_chain_is_refused_by_the_pinned_trust_root(whole: tuple[bytes, str]) -> None:
    assert _failed(whole[0], "00" * 32) == "trust-root"
    assert not verify(whole[0]).pinned


def test_only_an_active_node_of_the_consortium_may_export(world: tuple[World, bytes]) -> None:
    made, _task = world
    data = export(made.ledger, key("airline/user"))
    assert _failed(data, made.genesis.hash.hex()) == "exporter"


def test_the_verifier_says_which_institutions_cosigned(
    world: tuple[World, bytes], whole: tuple[bytes, str], one: tuple[bytes, str]
) -> None:
    assert verify(whole[0], trust_root=whole[1]).cosigned == ("airline", "weather")
    assert verify(one[0], trust_root=one[1]).cosigned == ()
    made, _task = world
    stale = [cosign(dataclasses.replace(checkpoint(made.ledger.anchor()), height=1), key("airline/node"))]
    for cosigned in (stale, _cosigned(made, "airline/user")[2:]):  # of another header; by no node
        data = export(made.ledger, key(EXPORTER), cosigned=cosigned)
        assert verify(data, trust_root=one[1]).cosigned == ()


@pytest.mark.parametrize("name", ["airline/node", "weather/node"])
def test_a_cosignature_that_does_not_hold_is_named(whole: tuple[bytes, str], name: str) -> None:
    tree = _content(whole[0])
    assert isinstance(tree, dict)
    made = tree["cosignatures"]
    assert isinstance(made, list)
    at = sorted(key(f"{n}/node").public.raw for n in ("airline", "weather")).index(key(name).public.raw)
    changed = replaced(tree, ("cosignatures", at, "signature"), bytes(64))
    assert _failed(_signed(changed), whole[1]) == "cosignature"
    turned = replaced(tree, ("cosignatures",), made[::-1])
    assert _failed(_signed(turned), whole[1]) == "cosignature"


def test_a_task_that_nobody_proposed_cannot_be_exported(world: tuple[World, bytes]) -> None:
    with pytest.raises(LedgerError, match="no such task"):
        export(world[0].ledger, key(EXPORTER), task=bytes(32))


def test_the_verifier_runs_alone_and_loads_neither_network_nor_database(
    whole: tuple[bytes, str], tmp_path: Path
) -> None:
    path = tmp_path / "audit.fondaco"
    path.write_bytes(whole[0])
    script = (
        "import sys, runpy; sys.argv = ['audit', *sys.argv[1:]]\n"
        "def refuse(event, arguments):\n"
        "    if event.startswith(('socket.', 'subprocess.', 'sqlite3.')): raise SystemExit(77)\n"
        "sys.addaudithook(refuse)\n"
        "try: runpy.run_module('fondaco.ledger.audit', run_name='__main__')\n"
        "finally:\n"
        "    bad = [m for m in sys.modules if m in ('sqlite3', 'socket') or m.startswith(('fondaco.node',"
        " 'fondaco.transport', 'fondaco.ledger.embedded', 'fondaco.ledger.reader', 'fondaco.vault'))]\n"
        "    assert not bad, bad\n"
    )
    command = [sys.executable, "-I", "-c", script, str(path), "--trust-root", whole[1], "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"] is True


def test_the_command_names_the_check_that_failed(
    whole: tuple[bytes, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.fondaco"
    path.write_bytes(whole[0])
    assert main([str(path), "--trust-root", whole[1]]) == 0
    assert "weather let airline use" in capsys.readouterr().out
    tree = _content(whole[0])
    assert isinstance(tree, dict)
    path.write_bytes(_signed(tree | {"log_root": bytes(32)}))
    assert main([str(path), "--trust-root", whole[1], "--json"]) == 5
    out = capsys.readouterr()
    assert "app-hash" in out.err
    assert json.loads(out.out)["error"]["details"]["check"] == "app-hash"
    assert main([str(tmp_path / "nothing")]) == 3


# -- a chain of the exporter's own making, which nobody pinned ------------------------------------------------------


class Lying:
    """The contracts, but what they emit at the end of a task has a number out of range."""

    def __init__(self, attribute: str, value: int) -> None:
        self._lie = {attribute: value}

    def __getattr__(self, name: str) -> object:
        return getattr(contracts, name)

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """As the contracts do, and then lie."""
        contracts.execute(ctx, kind, payload)
        for event in ctx.events:
            event.attributes.update({name: lie for name, lie in self._lie.items() if name in event.attributes})


@pytest.mark.parametrize("attempt", [-1, 0, 70_000, (1 << 63) - 1])
def test_an_unpinned_chain_of_lies_is_refused_by_name(attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.__new__(World)
    world.genesis, world.purpose, world.operation = consortium_genesis(), "delay-study", "mpc.statistics"
    world.ledger = EmbeddedLedger(None, world.genesis, Lying("attempt", attempt), key(VALIDATOR))  # type: ignore[arg-type]
    world.story()
    with monkeypatch.context() as patch:  # a hostile exporter skips its own derivation
        patch.setattr(receipts, "tasks", lambda *_arguments: ())
        bundle = export(world.ledger, key(EXPORTER))
    assert _failed(bundle, None) == "receipt-link"
    world.ledger.stop()


@pytest.mark.parametrize("spoiled", ["formula", "uses"])
def test_a_settlement_that_cannot_be_divided_is_refused_by_name(
    spoiled: str, world: tuple[World, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, task = world
    where = settlement_keys.settlement(task)
    record = from_bytes(Settlement, made.ledger.value(where) or b"")
    none = dataclasses.replace(record.formula, providers=0, participants=0, coordinator=0, fund=0)
    uses = tuple(dataclasses.replace(use, weight=0) for use in record.uses)
    false = dataclasses.replace(record, **({"formula": none} if spoiled == "formula" else {"uses": uses}))  # type: ignore[arg-type]
    inner = receipts.Evidence

    def evidence(events: object, transactions: object, states: dict[bytes, bytes | None]) -> receipts.Evidence:
        changed = states | {where: to_bytes(false)} if where in states else states
        return inner(events, transactions, changed)  # type: ignore[arg-type]

    bundle = export(made.ledger, key(EXPORTER), task=task)
    monkeypatch.setattr(receipts, "Evidence", evidence)
    assert _failed(bundle, None) == "receipt-link"


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_an_event_of_any_place_is_read_or_refused(height: int, index: int) -> None:
    leaf = {"attributes": {}, "contract": "a", "height": height, "index": index, "kind": "b", "tx": b""}
    if 0 <= height < 1 << 62 and 0 <= index < 1 << 32:
        assert receipts.entry(0, encode(leaf)).height == height
        return
    with pytest.raises(ProofError) as caught:
        receipts.entry(0, encode(leaf))
    assert caught.value.check == "event-source"
