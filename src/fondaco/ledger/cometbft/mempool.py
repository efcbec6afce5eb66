"""What CometBFT's mempool may hold: the application's word on each entry, when it comes and again after each block.

An entry is a transaction or a bundle of them (bundle.py). Anybody who has a link can send entries, and everything that
is taken is handed on to all and stands in the way of what comes later, so a bundle has to bring something: one
transaction, at least, that is sound and not here yet, and, if it is larger than a transaction alone may be, as many
bytes of such as of others. What has been executed, has expired, waits already or is a stranger's costs its sender
nothing, and is no reason to take a bundle or to keep it.

Whoever submitted here is told of a refusal only when what was refused travels in no entry: what is in a bundle that was
taken may come into a block. Trusts nothing that comes in; leaks nothing.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict

from fondaco.errors import FondacoError
from fondaco.ledger.admission import Stale, Stranger
from fondaco.ledger.application import BAD_CODE, Application
from fondaco.ledger.cometbft.backlog import CEILING, Backlog
from fondaco.ledger.cometbft.bundle import MOST, held_by, is_bundle
from fondaco.ledger.cometbft.pending import Pending
from fondaco.ledger.embedded import LedgerFull
from fondaco.ledger.transactions import MAX_BYTES, BadTransaction, Transaction

FULL_CODE = 5
_MOST_KEPT = 4 * CEILING  # transactions, of bundles that are remembered
_Told = tuple[int, str]  # code and cause
_TAKEN: _Told = (0, "")


def _key(tx: bytes) -> bytes:
    return hashlib.sha256(tx).digest()


def _bad(fault: FondacoError) -> _Told:
    return BAD_CODE, f"{fault.code}: {fault.cause}"


class Mempool:
    """Answers CometBFT's checks. One thread asks."""

    def __init__(self, app: Application, backlog: Backlog, pending: Pending) -> None:
        self._app = app
        self._backlog = backlog
        self._pending = pending
        self._bundles: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()  # what those that were taken hold
        self._kept = 0

    def check_many(self, entries: list[bytes], *, again: bool) -> list[_Told]:
        """Code and cause for each entry; code 0 may wait for a block."""
        if again:
            return [self._again(entry) for entry in entries]
        found = [held_by(entry) for entry in entries]
        # Nothing is verified that would be refused anyhow: a refusal must cost less than a transaction.
        room = max(0, self._backlog.limit - len(self._backlog))
        pairs = zip(entries, found, strict=True)
        wanted = (held for entry, held in pairs if isinstance(held, tuple) and not self._full(entry))
        self._app.verify_together(list(itertools.islice(itertools.chain.from_iterable(wanted), room + MOST)))
        return [self._entry(entry, held) for entry, held in zip(entries, found, strict=True)]

    def forget(self) -> None:
        """CometBFT's mempool begins anew."""
        self._backlog.clear()
        self._bundles.clear()
        self._kept = 0
        self._pending.again()

    def _entry(self, entry: bytes, held: tuple[bytes, ...] | BadTransaction) -> _Told:
        if isinstance(held, BadTransaction):
            return _bad(held)
        return self._bundle(entry, held) if is_bundle(entry) else self._single(entry)

    def _again(self, entry: bytes) -> _Told:
        if not is_bundle(entry):
            return self._single_again(entry)
        name = _key(entry)
        keys = self._bundles.get(name)
        if keys is not None and not any(key in self._backlog for key in keys):  # as after most blocks: nothing is read
            told = self._gone(keys)
        elif isinstance(held := held_by(entry), BadTransaction):
            told = _bad(held)
        else:
            told = self._bundle_again(held, keys or self._app.hashes(held))
        if keys is not None and told != _TAKEN:
            self._kept -= len(self._bundles.pop(name))
        return told

    def _full(self, entry: bytes) -> bool:
        return self._backlog.full_for(entry) if is_bundle(entry) else self._backlog.full()

    def _too_much(self) -> _Told:
        return FULL_CODE, f"{LedgerFull.code}: {len(self._backlog)} transactions wait; submit again later"

    # -- a transaction alone ----------------------------------------------------------------------------------

    def _single(self, tx: bytes) -> _Told:
        key = _key(tx)
        if key in self._backlog:
            return _TAKEN  # it came in a bundle; CometBFT holds an entry once
        if self._full(tx):
            told = self._too_much()
            self._pending.refused(key, told[1])
            return told
        try:
            found = self._app.sound(tx)
            found.check_payload()
        except FondacoError as fault:
            told = _bad(fault)
        else:
            told = self._enter([found])[key]
        if told != _TAKEN:
            self._pending.refused(key, told[1])
        return told

    def _single_again(self, tx: bytes) -> _Told:
        try:
            self._app.sound(tx)
        except FondacoError as fault:
            key = _key(tx)
            self._backlog.leave(key)
            self._pending.refused(key, fault.cause)
            return _bad(fault)
        return _TAKEN

    # -- a bundle ---------------------------------------------------------------------------------------------

    def _bundle(self, entry: bytes, held: tuple[bytes, ...]) -> _Told:
        keys = self._app.hashes(held)
        mine = {key: tx for key, tx in zip(keys, held, strict=True) if key not in self._backlog}
        if not mine:
            return BAD_CODE, "nothing of this bundle is new"
        if self._full(entry):
            return self._left(mine, dict.fromkeys(mine, self._too_much()))
        fresh: list[Transaction] = []
        told: dict[bytes, _Told] = {}
        for key, tx in mine.items():
            try:
                found = self._app.sound(tx)
                found.check_payload()
                fresh.append(found)
            except (Stranger, Stale) as fault:
                told[key] = _bad(fault)
            except FondacoError as fault:  # nobody hands on what is not signed, or is no message
                return self._left(mine, {**told, key: _bad(fault)})
        if len(entry) > MAX_BYTES and 2 * sum(len(mine[tx.hash]) for tx in fresh) < len(entry):
            return self._left(mine, told, "most of this bundle is not new, or can be in no block")
        told |= self._enter(fresh)
        if _TAKEN not in told.values():
            return self._left(mine, told)
        self._keep(_key(entry), keys)
        return _TAKEN

    def _keep(self, name: bytes, keys: tuple[bytes, ...]) -> None:
        """What a bundle holds, so that it is not read again to find that nothing of it waits."""
        self._kept += len(keys) - len(self._bundles.get(name, ()))
        self._bundles[name] = keys
        self._bundles.move_to_end(name)
        while self._kept > _MOST_KEPT and self._bundles:
            self._kept -= len(self._bundles.popitem(last=False)[1])

    def _enter(self, txs: list[Transaction]) -> dict[bytes, _Told]:
        """Of an organisation as many may wait as a block may hold: else what it gives each node would fill them all."""
        try:
            whose = self._app.count_all(txs, self._backlog.of)
        except FondacoError as fault:
            if len(txs) == 1:
                return {txs[0].hash: _bad(fault)}
            return {key: told for tx in txs for key, told in self._enter([tx]).items()}  # some of them may wait
        self._backlog.enter_all([(tx.hash, tx.body.expires, whose[tx.signers[0]]) for tx in txs])
        return {tx.hash: _TAKEN for tx in txs}

    def _left(self, mine: dict[bytes, bytes], told: dict[bytes, _Told], cause: str = "") -> _Told:
        """A bundle is not taken: whoever is to blame is told, and what is ours of the rest is handed over again."""
        for key, (_code, why) in told.items():
            self._pending.refused(key, why)
        self._pending.again([key for key in mine if key not in told])
        return (BAD_CODE, cause) if cause else next(reversed(told.values()))

    def _bundle_again(self, held: tuple[bytes, ...], keys: tuple[bytes, ...]) -> _Told:
        for key, tx in zip(keys, held, strict=True):
            if key not in self._backlog:
                continue
            try:
                self._app.sound(tx)
            except FondacoError:  # its nonce was spent by another, or its author has left: no block will hold it
                self._backlog.leave(key)
            else:
                return _TAKEN
        return self._gone(keys)

    def _gone(self, keys: tuple[bytes, ...]) -> _Told:
        self._pending.again(keys)  # what is ours and was over its quota
        return BAD_CODE, "nothing of this bundle waits any more"
