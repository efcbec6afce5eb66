"""Files that outlive a worker: what an engine keeps of a step between its attempts, or of a peer between steps.

The node says where, under which key and what all of it belongs to; a worker has these three and no key of the vault.
Each file is sealed (XChaCha20-Poly1305) and bound to what the folder is for and to its own name, so that nothing of
another task, step, dataset version, peer or term opens. A file that is missing, cut short, changed or foreign is no
file: whatever is kept can be computed again. Written whole by one rename, so that a worker killed at any instant leaves
the file or none. Leaks to a thief of the disk how many files there are, their lengths and dates.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import nacl.exceptions
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)

from fondaco.core.codec import encode
from fondaco.core.messages import message

NONCE_BYTES: int = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_NEW = ".new"


@message("engine.keep/1")
class Keep:
    """A folder for sealed files, their key of 32 bytes, and 32 bytes that say what they belong to."""

    folder: str
    key: bytes = dataclasses.field(repr=False)
    bound: bytes

    def _path(self, name: str) -> Path:
        return Path(self.folder) / name

    def _place(self, name: str) -> bytes:
        return encode(["keep", self.bound, name])

    def write(self, name: str, data: bytes) -> None:
        """Keep a file, in place of one of that name; durable when this returns."""
        Path(self.folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        nonce = os.urandom(NONCE_BYTES)
        box = nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(data, self._place(name), nonce, self.key)
        # A name of its own: another task's worker may keep the same file now.
        fresh = self._path(f"{name}-{os.urandom(8).hex()}{_NEW}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(box)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path(name))

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none that is whole and of this place."""
        try:
            box = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return bytes(
                crypto_aead_xchacha20poly1305_ietf_decrypt(
                    box[NONCE_BYTES:], self._place(name), box[:NONCE_BYTES], self.key
                )
            )
        except (nacl.exceptions.CryptoError, ValueError, TypeError):
            return None

    def names(self) -> list[str]:
        """The names of the files, sorted; whether they open is another matter."""
        folder = Path(self.folder)
        return sorted(p.name for p in folder.iterdir() if p.suffix != _NEW) if folder.is_dir() else []

    def forget(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._path(name).unlink(missing_ok=True)
