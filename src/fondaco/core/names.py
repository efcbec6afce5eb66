"""Names of datasets: `/org/topic/name@version`. The version may be left out where the newest is meant."""

from __future__ import annotations

import dataclasses
import re

from fondaco.errors import NamingError

_PART = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NAME = re.compile(r"/([^/@]+)/([^/@]+)/([^/@]+)(?:@([1-9][0-9]{0,8}))?")
_REMEDY = "write /org/topic/name or /org/topic/name@version, in lower-case letters, digits and hyphens"
_PART_REMEDY = "write 1 to 63 lower-case letters, digits and hyphens, the first no hyphen"


# Control characters, and what hides text or turns its direction: shown to a person, these say what is not there.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def is_plain(text: str) -> bool:
    """Whether text is one line without control characters or marks that hide text or turn its direction."""
    return _UNSEEN.search(text) is None


def check_part(text: str) -> str:
    """The same text if it can be a part of a name (1 to 63 of a-z, 0-9 and hyphen; no leading hyphen).

    Raises:
        NamingError: it cannot.
    """
    if not _PART.fullmatch(text):
        raise NamingError("not a short name, nor a part of a dataset's", remedy=_PART_REMEDY, part=text[:80])
    return text


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class DatasetName:
    """Who owns it, what it is about, what it is called, and which version (None: the newest)."""

    org: str
    topic: str
    name: str
    version: int | None = None

    def __post_init__(self) -> None:
        for part in (self.org, self.topic, self.name):
            check_part(part)
        if self.version is not None and self.version < 1:
            raise NamingError("versions count from 1", remedy=_REMEDY)

    @classmethod
    def parse(cls, text: str) -> DatasetName:
        """The name in `text`.

        Raises:
            NamingError: not of the form `/org/topic/name[@version]`.
        """
        found = _NAME.fullmatch(text) if len(text) <= 256 else None
        if found is None:
            raise NamingError("not the name of a dataset", remedy=_REMEDY, name=text[:80])
        org, topic, name, version = found.groups()
        return cls(org, topic, name, int(version) if version else None)

    @property
    def path(self) -> str:
        """The name without its version."""
        return f"/{self.org}/{self.topic}/{self.name}"

    def at(self, version: int) -> DatasetName:
        """The same name at a version."""
        return dataclasses.replace(self, version=version)

    def __str__(self) -> str:
        return self.path if self.version is None else f"{self.path}@{self.version}"
