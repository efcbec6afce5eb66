"""The SPU link of a worker: brpc over unix sockets in a folder that the node made.

Each rank listens on `RANK.sock` and finds the others there too: the node's tunnels listen in their place.
The only module that opens a link; configuration is by code, never from outside.
"""

from __future__ import annotations

from pathlib import Path

from spu import libspu

from fondaco.engines.base import Job

_RETRY_MS = 50
_PAYLOAD = 32 << 20


FOLDER = "spu"
"""Where the sockets of a step are that has a channel of its own beside SPU's link, within the step's folder."""


def connect(job: Job, sockets: Path) -> libspu.link.Context:
    """Link up with the other members; blocks until all are there or the job's time is over."""
    description = libspu.link.Desc()
    description.id = f"{job.task}-{job.step}-{job.attempt}"
    milliseconds = job.timeout_seconds * 1000
    description.recv_timeout_ms = milliseconds
    description.http_timeout_ms = milliseconds
    description.http_max_payload_size = _PAYLOAD
    description.connect_retry_interval_ms = _RETRY_MS
    description.connect_retry_times = milliseconds // _RETRY_MS
    for rank, party in enumerate(job.parties):
        description.add_party(f"{rank}-{party}", f"unix:{sockets}/{rank}.sock")
    return libspu.link.create_brpc(description, job.rank)
