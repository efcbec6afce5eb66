"""What a party sees: no row, key or value of another party is in any byte it received, logged or stored.

All four nodes run in this process, so that every decrypted byte that a link delivers can be kept; the engines run in
workers of their own, whose links pass through the same nodes.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from consortium_world import delays, expected_statistics, fleet, provision, workflow, write_sources

from fondaco.cli.demo.cast import AIRLINE, AUTHORITY, CHAIN, MEMBERS, REGULATOR, TITLES, WEATHER
from fondaco.cli.processes import free_port
from fondaco.node import control, setup
from fondaco.node.node import Node
from fondaco.node.verbs import Verbs
from fondaco.transport.link import Link


class Inside:
    """An institution whose node runs in this process; the same questions as to a process."""

    def __init__(self, org: str, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.org, self.folder, self._loop = org, folder, loop
        self.node: Node | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        node = Node(setup.Folder(self.folder))
        self.node = node
        self._serving = asyncio.create_task(node.run(control.ControlServer(node.folder.control, Verbs(node).table())))

    async def ask_now(self, verb: str, **arguments: Any) -> Any:
        assert self.node is not None
        return await Verbs(self.node).table()[verb](arguments, lambda _progress: None)

    def ask(self, verb: str, **arguments: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(self.ask_now(verb, **arguments), self._loop).result(120)

    async def stop(self) -> None:
        assert self.node is not None
        assert self._serving is not None
        self.node.stopping.set()
        await self._serving


async def begin(folder: Path) -> dict[str, Inside]:
    loop = asyncio.get_running_loop()
    cast = {org: Inside(org, folder / org, loop) for org in TITLES}
    for org in TITLES:
        kind = "regulator" if org == REGULATOR else "member"
        setup.new_folder(folder / org, org=org, title=TITLES[org], kind=kind, host="127.0.0.1", port=free_port())
    setup.found(setup.Folder(folder / REGULATOR), chain=CHAIN)
    await cast[REGULATOR].start()
    await asyncio.sleep(0)
    for org in MEMBERS:
        file = folder / f"{org}.invitation"
        await cast[REGULATOR].ask_now("invite", organisation=org, file=str(file))
        await asyncio.to_thread(setup.join, setup.Folder(folder / org), setup.read_invitation(file))
        file.unlink()
        await cast[org].start()
    return cast


def encodings(value: int) -> list[bytes]:
    """How a number could show: as text and as machine words of either order, whole and as floating point."""
    return [
        str(value).encode(),
        value.to_bytes(8, "little"),
        value.to_bytes(8, "big"),
        struct.pack("<d", float(value)),
        struct.pack(">d", float(value)),
    ]


def text_encodings(text: str) -> list[bytes]:
    return [text.encode(), text.encode().hex().encode(), text.encode("utf-16-le")]


@pytest.mark.timeout(300)
def test_no_party_receives_logs_or_stores_what_is_anothers(tmp_path, monkeypatch, caplog) -> None:
    received: dict[str, bytearray] = defaultdict(bytearray)
    real = Link.data_received

    def keep(self: Link, data: bytes) -> None:
        received[self._on_closed.__self__._certificate].extend(data)  # type: ignore[attr-defined]
        real(self, data)

    monkeypatch.setattr(Link, "data_received", keep)
    caplog.set_level("DEBUG")
    sources = write_sources(tmp_path / "sources")

    async def story() -> dict[str, bytes]:
        cast = await begin(tmp_path / "nodes")
        await asyncio.to_thread(provision, cast, sources)
        fleet_task = await cast[AIRLINE].ask_now("run", workflow=fleet())
        delay_task = await cast[WEATHER].ask_now("run", workflow=workflow())
        assert fleet_task["status"] == delay_task["status"] == "settled", (fleet_task, delay_task)
        shared = await cast[AIRLINE].ask_now("result", task=fleet_task["task"], step="aircraft")
        assert sorted(r[0] for r in shared["tables"]["match"]["rows"]) == [f"NSHARED{i:04d}" for i in range(1, 40, 2)]
        table = (await cast[WEATHER].ask_now("result", task=delay_task["task"], step="statistics"))["tables"]["result"]
        assert {row[0]: row[1] for row in table["rows"]} == {g: v[0] for g, v in expected_statistics(sources).items()}
        certificates = {org: one.node.certificate for org, one in cast.items()}
        for one in cast.values():
            await one.stop()
        return certificates

    certificates = asyncio.run(story())
    airline_values = [needle for i in range(600) for needle in encodings(delays(i))]
    airline_keys = [n for i in range(0, 40, 2) for n in text_encodings(f"NAIRONLY{i:04d}")]
    authority_keys = [n for i in range(30) for n in text_encodings(f"NAUTHONLY{i:04d}")]
    weather_keys = [n for i in range(20) for n in text_encodings(f"WXONLY-{i:05d}")]
    shared_aircraft = [n for i in range(40) for n in text_encodings(f"NSHARED{i:04d}")]
    slots = [n for i in range(60) for n in text_encodings(f"SLOT-{i:05d}")]
    unmatched_slots = [n for i in range(50, 60) for n in text_encodings(f"SLOT-{i:05d}")]
    forbidden = {
        AIRLINE: authority_keys + weather_keys,
        AUTHORITY: airline_keys + airline_values + weather_keys + slots,
        WEATHER: airline_keys + airline_values + authority_keys + unmatched_slots + shared_aircraft,
        REGULATOR: airline_keys + airline_values + authority_keys + weather_keys + slots + shared_aircraft,
    }
    log = caplog.text.encode()
    for org, needles in forbidden.items():
        heard = bytes(received[certificates[org]])
        assert len(heard) > 10_000, "the transcript was not kept"
        stored = b"".join(p.read_bytes() for p in sorted((tmp_path / "nodes" / org).rglob("*")) if p.is_file())
        for needle in needles:
            assert needle not in heard, f"{org} received {needle!r}"
            assert needle not in stored, f"{org} stored {needle!r}"
    # The authority does not receive the intersection, so it hears no aircraft but in its own data.
    for needle in shared_aircraft:
        assert needle not in bytes(received[certificates[AUTHORITY]])
    for needle in airline_values + airline_keys + authority_keys + weather_keys + slots + shared_aircraft:
        assert needle not in log, f"logged {needle!r}"
