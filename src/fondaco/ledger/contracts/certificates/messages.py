"""Messages and records of the certificates contract."""

from __future__ import annotations

from fondaco.core.messages import message


@message("certificates.revoke/1")
class RevokeCertificate:
    """Signed by a reviewer of the provider, with a cause: the use is not certified from now on."""

    certificate: bytes
    cause: str


@message("certificates.certificate/1")
class Certificate:
    """Record of one use of a dataset; status valid or revoked, and then by whom, when and why.

    Who used it: `holder` by the key `holder_key`; what: the dataset version and its keyed commitment, those `columns`;
    with what: the hashes of the steps' `programs` and of the whole `workflow`; what for: `purpose`; when: `height` and
    `time` (unix seconds) of the settlement; for how much: `cost` in points.
    """

    id: bytes
    task: bytes
    grant: bytes
    holder: str
    holder_key: bytes
    provider: str
    path: str
    version: int
    commitment: bytes
    columns: tuple[str, ...]
    operations: tuple[str, ...]
    programs: tuple[bytes, ...]
    workflow: bytes
    purpose: str
    height: int
    time: int
    cost: int
    status: str
    revoked: int
    by: str
    cause: str
