"""TLS contexts: 1.3 alone, both sides authenticated, no tickets, trust in named certificates and nothing else."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fondaco.core.keys import SecretKey
from fondaco.transport.identity import private_key

ALPN = "fondaco/1"


def make_context(secret: SecretKey, certificate: bytes, trusted: Iterable[bytes], *, server: bool) -> ssl.SSLContext:
    """A context for one side that presents `certificate` and believes the `trusted` DER certificates.

    That a certificate is believed is half of the check: the caller compares it, byte for byte, with the peer's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols([ALPN])
    if server:
        context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    anchors = b"".join(trusted)
    if anchors:
        context.load_verify_locations(cadata=anchors)
    pem = x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM) + private_key(secret).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    # The ssl module reads keys from files alone: a file in memory, for a moment.
    handle = os.memfd_create("fondaco-tls", os.MFD_CLOEXEC)
    try:
        os.write(handle, pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
    return context


def can_anchor(certificate: bytes) -> bool:
    """Whether OpenSSL reads this certificate too: one that it does not read would spoil a whole context."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
    except ssl.SSLError:
        return False
    return True
