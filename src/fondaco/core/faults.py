"""An error on its way to another process: bounded canonical bytes, and back without trusting them."""

from __future__ import annotations

from fondaco.core.codec import Value
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.errors import CodecError, FondacoError, RemoteError, error_from_dict

MAX_ERROR = 32 << 10


@message("fault/1")
class Fault:
    """Code, cause, remedy and details of an error."""

    code: str
    cause: str
    remedy: str
    details: dict[str, Value]


def pack_error(fault: FondacoError) -> bytes:
    """An error as bytes: long texts are cut, other details than text and numbers left out."""
    details: dict[str, Value] = {
        name: item[:1000] if isinstance(item, str) else item
        for name, item in list(fault.details.items())[:16]
        if isinstance(item, str | int)
    }
    code = str(fault.to_dict()["code"])
    return to_bytes(Fault(code=code[:200], cause=fault.cause[:2000], remedy=fault.remedy[:2000], details=details))


def unpack_error(data: bytes) -> RemoteError:
    """The error in bytes from another process; what cannot be read becomes one that says so."""
    try:
        found = from_bytes(Fault, data, limit=MAX_ERROR)
    except CodecError:
        return RemoteError(
            "the other side broke off and gave no readable cause",
            remedy="look at its log",
            remote_code="remote.unreadable",
        )
    return error_from_dict(
        {"code": found.code, "cause": found.cause, "remedy": found.remedy, "details": dict(found.details)}
    )
