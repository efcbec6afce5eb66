"""The node's local door: a unix socket in its own folder, one request a connection, lines of JSON.

Who can open the folder may ask; that is the operating system's user that runs the node, and no one else.
A request is `{"verb": …, "arguments": {…}}`; the answer is any number of `{"progress": …}` lines and then one
`{"result": …}` or `{"error": …}`. The command line is the client.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fondaco.errors import CodecError, DeadlineExceeded, FondacoError, NodeError, UsageError, not_allowed

Json = dict[str, Any]
Progress = Callable[[Json], None]
Verb = Callable[[Json, Progress], Awaitable[Any]]
MAX_LINE = 8 << 20
_CONNECT_SECONDS = 5.0
_REQUEST_SECONDS = 10.0
_SEE = "see the verb's --help, and docs/reference for the fields of what it makes"
_log = logging.getLogger(__name__)


def _line(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


async def _request(reader: asyncio.StreamReader) -> Json:
    """What a client asks.

    Raises:
        DeadlineExceeded: nothing. CodecError: no line of JSON, or no request.
    """
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            request = json.loads(await reader.readuntil(b"\n"))
    except TimeoutError as fault:
        raise DeadlineExceeded(
            "no request came", remedy="send one line at once", seconds=int(_REQUEST_SECONDS)
        ) from fault
    except (ValueError, RecursionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as fault:
        raise CodecError("not a line of JSON", remedy="send one request as one line") from fault
    if not isinstance(request, dict) or request.keys() != {"verb", "arguments"}:
        raise CodecError("not a request", remedy="send verb and arguments")
    return request


class ControlServer:
    """Serves verbs on the socket until stopped."""

    def __init__(self, path: Path, verbs: dict[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind the socket (mode 0600), in place of one that a killed process left."""
        self._path.unlink(missing_ok=True)
        # The path of a unix socket is at most 108 bytes; a relative one keeps deep folders usable.
        before = Path.cwd()
        os.chdir(self._path.parent)
        try:
            self._server = await asyncio.start_unix_server(self._accept, self._path.name, limit=MAX_LINE)
        finally:
            os.chdir(before)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Stop listening and end what is still being served."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, BrokenPipeError):
            _log.info("a client of the control socket went away")
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def progress(value: Json) -> None:
            writer.write(_line({"progress": value}))

        try:
            answer = {"result": await self._answer(await _request(reader), progress)}
        except FondacoError as refusal:
            answer = {"error": refusal.to_dict() | {"exit_code": refusal.exit_code}}
        writer.write(_line(answer))
        await writer.drain()

    async def _answer(self, request: Json, progress: Progress) -> Any:
        """What a verb answers; what escapes it is told as an error too, and the log has its place in the code."""
        name, arguments = str(request["verb"]), request["arguments"]
        verb = self._verbs.get(name)
        if verb is None:
            raise NodeError("unknown verb", remedy="use a fondaco of the node's version", verb=name)
        try:
            return await verb(arguments, progress)
        except TimeoutError as fault:
            raise DeadlineExceeded("the verb did not end in time", remedy="look at node.log", verb=name) from fault
        except OSError as fault:
            raise not_allowed(fault) from fault
        except (KeyError, TypeError, ValueError) as fault:
            _log.exception("the verb %s failed on its arguments", name)
            lacks = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
            raise UsageError(f"the arguments do not fit the verb ({lacks})", remedy=_SEE, verb=name) from fault


class ControlError(FondacoError):
    """What the node answered instead of a result; keeps the node's code and exit code."""

    code = "node.answer"
    exit_code = 9

    def __init__(self, answer: Json) -> None:
        super().__init__(str(answer.get("cause", "")), remedy=str(answer.get("remedy", "")), **answer["details"])
        self.answer = answer
        self.answer_exit_code = int(answer.get("exit_code", self.exit_code))

    def to_dict(self) -> dict[str, object]:
        """The node's own error."""
        return super().to_dict() | {"code": self.answer["code"]}

    def diagnostics(self) -> str:
        """The node's own error, for a person."""
        return super().diagnostics().replace(self.code, str(self.answer["code"]), 1)


async def _ask(path: Path, verb: str, arguments: Json, on_progress: Progress | None) -> Any:
    # /proc/self/fd keeps long folder names under the 108 bytes of a socket address.
    try:
        handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    except OSError as fault:
        raise NodeError(
            "there is no such folder of a node",
            remedy="name the node's folder with --dir or FONDACO_DIR; `fondaco init` makes one",
            folder=str(path.parent),
        ) from fault
    try:
        address = f"/proc/self/fd/{handle}/{path.name}"
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(address, limit=MAX_LINE)
    except (FileNotFoundError, ConnectionRefusedError, TimeoutError) as fault:
        raise NodeError(
            "the node is not running",
            remedy=f"start it: fondaco start --dir {path.parent}",
            folder=str(path.parent),
        ) from fault
    except PermissionError as fault:
        raise NodeError(
            "the node's folder is another user's",
            remedy="ask as the operating system's user who runs the node",
            folder=str(path.parent),
        ) from fault
    finally:
        os.close(handle)
    try:
        writer.write(_line({"verb": verb, "arguments": arguments}))
        await writer.drain()
        while line := await reader.readline():
            answer = json.loads(line)
            if "progress" in answer:
                if on_progress is not None:
                    on_progress(answer["progress"])
            elif "error" in answer:
                raise ControlError(answer["error"])
            else:
                return answer["result"]
    except ConnectionError as fault:
        raise NodeError("the node went away while it was working", remedy="look at its node.log") from fault
    finally:
        writer.close()
    raise NodeError("the node went away while it was working", remedy="look at its node.log")


def ask(
    folder: Path, verb: str, arguments: Json, *, deadline: float = 600.0, on_progress: Progress | None = None
) -> Any:
    """Ask the node that runs in `folder`; its answer.

    Raises:
        NodeError: no node runs there.
        ControlError: the node refused or failed; it carries the node's own error.
        DeadlineExceeded: no answer within `deadline` seconds.
    """

    async def bounded() -> Any:
        try:
            async with asyncio.timeout(deadline):
                return await _ask(folder / "control.sock", verb, arguments, on_progress)
        except TimeoutError as fault:
            raise DeadlineExceeded(
                "the node did not answer in time",
                remedy="look at its node.log",
                verb=verb,
                seconds=int(deadline),
            ) from fault

    return asyncio.run(bounded())
