"""Data: import, names, the catalogue."""

from __future__ import annotations

import asyncio
import dataclasses
import time

from fondaco.core.cid import Cid
from fondaco.core.messages import to_value
from fondaco.core.names import DatasetName
from fondaco.errors import NodeError, UsageError
from fondaco.index.catalogue import Catalogue
from fondaco.ledger.contracts.catalog import keys as catalog_keys
from fondaco.ledger.contracts.catalog import messages as catalog
from fondaco.ledger.light import trust_genesis, verify_proof
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.node import Node
from fondaco.node.sources import open_source
from fondaco.node.verbs import words
from fondaco.node.verbs.common import PROOF_SECONDS, Group

_NUMBERS = ("price", "minimum_rows", "minimum_count")


def _changed(terms: catalog.Terms, arguments: Json) -> catalog.Terms:
    """Terms with what the arguments say anew; what they leave out, or None, stays."""
    said: Json = {name: arguments[name] for name in _NUMBERS if arguments.get(name) is not None}
    for name, checked in (("operations", words.operations), ("purposes", words.purposes), ("rules", words.rules)):
        if arguments.get(name) is not None:
            said[name] = checked(arguments[name])
    return dataclasses.replace(terms, **said)


class DataVerbs(Group):
    """From a file to a published dataset, and finding those of others."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._catalogue = Catalogue()

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "import": self.import_data,
            "name": self.name,
            "publish": self.publish,
            "terms": self.terms,
            "withdraw": self.withdraw,
            "search": self.search,
        }

    async def import_data(self, arguments: Json, progress: Progress) -> Json:
        """Import a file, table or query into the vault; name it if a name is given."""
        name = self._own_name(arguments["name"]) if arguments.get("name") else None
        source = open_source(arguments)
        started = time.monotonic()
        loop = asyncio.get_running_loop()

        def report(rows: int, size: int) -> None:
            written = {"bytes": size} if size else {}  # chunks are written when they are full
            loop.call_soon_threadsafe(progress, {"rows": rows} | written)

        cid = await asyncio.to_thread(self._node.vault.import_source, source, progress=report)
        described = self._node.vault.describe(cid)
        named = "" if name is None else str(self._node.vault.assign(cid, name))
        return {
            "cid": str(cid),
            "name": named,
            "rows": described.rows,
            "columns": [column.name for column in described.schema.columns],
            "seconds": round(time.monotonic() - started, 2),
        }

    def _own_name(self, text: str) -> DatasetName:
        """A name under this institution's own.

        Raises:
            NamingError: it is no name. NodeError: it is another institution's.
        """
        name = DatasetName.parse(text)
        if name.org != self._org:
            raise NodeError(f"a name of this node begins with /{self._org}/", remedy="name it so", name=str(name))
        return name

    async def name(self, arguments: Json, _progress: Progress) -> Json:
        """Name what was imported."""
        name = self._own_name(arguments["name"])
        return {"name": str(self._node.vault.assign(Cid.parse(arguments["cid"]), name))}

    async def publish(self, arguments: Json, _progress: Progress) -> Json:
        """Put a named dataset into the catalogue."""
        cid = self._node.vault.resolve(DatasetName.parse(arguments["name"]))
        described = self._node.vault.describe(cid)
        name = DatasetName.parse(arguments["name"])
        if name.version is None:
            name = next(n for n, c in reversed(self._node.vault.names()) if c == cid and n.path == name.path)
        msg = catalog.Publish(
            path=name.path,
            version=name.version or 1,
            title=arguments["title"],
            description=arguments.get("description", ""),
            schema=described.schema,
            commitment=described.commitment,
            rows=described.rows if arguments.get("show_rows", True) else None,
            terms=catalog.Terms(
                operations=words.operations(arguments["operations"]),
                purposes=words.purposes(arguments["purposes"]),
                price=int(arguments.get("price", 0)),
                minimum_rows=int(arguments.get("minimum_rows", 0)),
                minimum_count=int(arguments.get("minimum_count", 0)),
                rules=words.rules(arguments.get("rules", [])),
            ),
        )
        found = self._ledger.query("catalog/latest", {"path": name.path})
        newest = found if isinstance(found, int) else 0
        if msg.version > newest + 1:
            raise NodeError(
                f"versions are published in their order, and {newest + 1} is next",
                remedy=f"publish {name.path}@{newest + 1} first; it can be withdrawn again",
                name=f"{name.path}@{msg.version}",
            )
        if msg.version <= newest:
            raise NodeError(
                "this version is published already, and what was published stays as it is",
                remedy="import it again under the same name, and publish the version that this makes",
                name=f"{name.path}@{msg.version}",
            )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("steward"))
        return {"name": str(name), "commitment": described.commitment.hex(), "height": answer.height}

    async def terms(self, arguments: Json, _progress: Progress) -> Json:
        """Show the words and terms of a published version, or say some of them anew: grants that were given stay."""
        found = self._market.newest(DatasetName.parse(arguments["name"]))
        terms = _changed(found.terms, arguments)
        said = {
            "title": found.title if arguments.get("title") is None else arguments["title"],
            "description": found.description if arguments.get("description") is None else arguments["description"],
        }
        shown: Json = {"name": f"{found.path}@{found.version}", "status": found.status} | said | to_value(terms)
        if (said["title"], said["description"], terms) == (found.title, found.description, found.terms):
            return shown
        msg = catalog.Update(path=found.path, version=found.version, terms=terms, **said)
        answer = await self._node.service.submit(msg, self._node.folder.user_key("steward"))
        return shown | {"height": answer.height}

    async def withdraw(self, arguments: Json, _progress: Progress) -> Json:
        """Take a published version back."""
        name = DatasetName.parse(arguments["name"])
        if name.version is None:
            raise UsageError("a version is withdrawn, not all of a name", remedy=f"say which: {name}@1, for example")
        msg = catalog.Withdraw(path=name.path, version=name.version)
        answer = await self._node.service.submit(msg, self._node.folder.user_key("steward"))
        return {"name": str(name), "height": answer.height}

    async def search(self, arguments: Json, _progress: Progress) -> Json:
        """Find datasets; every hit is proven against the pinned trust root."""
        self._catalogue.refresh(self._ledger.height, self._market.datasets())
        found = self._catalogue.search(arguments.get("text", ""), int(arguments.get("limit", 20)))
        await asyncio.to_thread(self._ledger.wait_provable, PROOF_SECONDS)
        proof = self._ledger.prove([catalog_keys.dataset(path, version) for path, version in found])
        trusted = verify_proof(trust_genesis(self._ledger.genesis), proof)
        hits: list[Json] = []
        for path, version in found:
            d = self._market.newest(DatasetName.parse(f"{path}@{version}"))
            hits.append(
                {
                    "name": f"{path}@{version}",
                    "owner": d.owner,
                    "title": d.title,
                    "rows": d.rows,
                    "price": d.terms.price,
                    "operations": list(d.terms.operations),
                    "purposes": list(d.terms.purposes),
                    "columns": [f"{c.name}: {c.type}{f' [{c.unit}]' if c.unit else ''}" for c in d.schema.columns],
                    "proven_at": trusted.height,
                }
            )
        return {"hits": hits}
