"""Keys, names, identifiers and sealed boxes."""

from __future__ import annotations

import pickle

import libipld
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fondaco.core.base58 import base58_decode, base58_encode
from fondaco.core.cid import BLAKE3, DAG_CBOR, RAW, SHA2_256, Cid
from fondaco.core.faults import pack_error, unpack_error
from fondaco.core.keys import PublicKey, SecretKey
from fondaco.core.models import Column, Schema, check_schema
from fondaco.core.names import DatasetName
from fondaco.core.sealed import SealSecret, seal, unseal
from fondaco.errors import FondacoError, GateRefused, KeyMaterialError, NamingError, SealError, error_from_dict


def test_rfc8032_vector_one() -> None:
    key = SecretKey.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = key.sign_raw(b"")
    assert signature.hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    key.public.verify_raw(b"", signature)


def test_another_library_verifies_our_signature() -> None:
    key = SecretKey.generate()
    other = Ed25519PrivateKey.from_private_bytes(key.seed).public_key()
    other.verify(key.sign("tx", b"m"), b"fondaco\x00tx\x00m")


def test_a_signature_holds_in_its_domain_alone() -> None:
    key = SecretKey.generate()
    signature = key.sign("tx", b"message")
    key.public.verify("tx", b"message", signature)
    for domain, text, sig in (
        ("vote", b"message", signature),
        ("tx", b"massage", signature),
        ("tx", b"message", signature[:-1]),
    ):
        with pytest.raises(KeyMaterialError):
            key.public.verify(domain, text, sig)


def test_a_small_order_key_verifies_nothing() -> None:
    with pytest.raises(KeyMaterialError):
        PublicKey(bytes(32)).verify_raw(b"", bytes(64))
    with pytest.raises(KeyMaterialError):
        PublicKey(b"\x01" + bytes(31)).verify_raw(b"x", b"\x01" + bytes(63))


def test_did_key_is_the_published_form() -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"  # an example of the did:key specification
    assert PublicKey.from_did(did).did == did
    for bad in (
        "did:web:x",
        did[:-1],
        did + "1",
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:z0",
    ):
        with pytest.raises(FondacoError):
            PublicKey.from_did(bad)


def test_secrets_do_not_show_or_pickle() -> None:
    key, box = SecretKey.generate(), SealSecret.generate()
    assert key.seed.hex() not in repr(key)
    assert box.raw.hex() not in repr(box)
    for secret in (key, box):
        with pytest.raises(TypeError):
            pickle.dumps(secret)


@given(st.binary(max_size=60))
def test_base58_comes_back(data) -> None:
    assert base58_decode(base58_encode(data)) == data


@given(st.binary(max_size=100), st.sampled_from([RAW, DAG_CBOR]), st.sampled_from([BLAKE3, SHA2_256]))
def test_an_independent_cid_library_reads_ours(data, kind, hash_code) -> None:
    cid = Cid.of(data, codec=kind, hash_code=hash_code)
    assert Cid.parse(str(cid)) == cid == Cid.from_raw(cid.raw)
    found = libipld.decode_cid(str(cid))
    assert (found["version"], found["codec"], found["hash"]["code"], found["hash"]["digest"]) == (
        1,
        kind,
        hash_code,
        cid.digest,
    )
    cid.check(data)
    with pytest.raises(NamingError):
        cid.check(data + b"x")


@pytest.mark.parametrize("text", ["", "b", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "b" + "a" * 58, "bafy"])
def test_other_cids_are_refused(text) -> None:
    with pytest.raises(NamingError):
        Cid.parse(text)


def test_a_box_opens_with_its_key_in_its_place_alone() -> None:
    secret = SealSecret.generate()
    box = seal(secret.public, b"place", b"result")
    assert unseal(secret, b"place", box) == b"result"
    changed = bytes((box[0] ^ 1,)) + box[1:]
    for key, info, data in (
        (SealSecret.generate(), b"place", box),
        (secret, b"elsewhere", box),
        (secret, b"place", changed),
        (secret, b"place", box[:-1]),
        (secret, b"place", b""),
    ):
        with pytest.raises(SealError):
            unseal(key, info, data)


@pytest.mark.parametrize("text", ["/a/b/c", "/a/b/c@1", "/three-airports/ops/flights@12"])
def test_names_come_back(text) -> None:
    assert str(DatasetName.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "a/b/c", "/a/b", "/A/b/c", "/a/b/c@0", "/a/b/c@01", "/a/../c", "/a/b/c/d", "/a/b/c@", "/a/b/" + "x" * 64],
)
def test_bad_names_are_refused(text) -> None:
    with pytest.raises(NamingError):
        DatasetName.parse(text)


def column(name: str, **changes) -> Column:
    fields = {
        "name": name, "type": "int64", "unit": "", "classification": "internal",
        "nullable": True, "minimum": None, "maximum": None, "scale": 0,
    }  # fmt: skip
    return Column(**(fields | changes))


@pytest.mark.parametrize(
    "schema",
    [
        Schema(columns=(), key=()),
        Schema(columns=(column("a"), column("a")), key=()),
        Schema(columns=(column(" "),), key=()),
        Schema(columns=(column("a", type="number"),), key=()),
        Schema(columns=(column("a", classification="secret"),), key=()),
        Schema(columns=(column("a", scale=16),), key=()),
        Schema(columns=(column("a", minimum=2, maximum=1),), key=()),
        Schema(columns=(column("a"),), key=("b",)),
        Schema(columns=(column("a"),), key=("a", "a")),
    ],
)
def test_unsound_schemas_are_refused(schema) -> None:
    with pytest.raises(NamingError):
        check_schema(schema)


def test_errors_cross_a_wire_bounded_and_whole() -> None:
    fault = GateRefused("the grant is revoked", check="status", remedy="request one", party="airline")
    found = unpack_error(pack_error(fault))
    assert (found.remote_code, found.cause, found.details["party"]) == ("gate.refused", fault.cause, "airline")
    assert "gate.refused" in found.diagnostics()
    long = GateRefused("x" * 100_000, check="y", remedy="z" * 100_000)
    assert len(pack_error(long)) < 8000


@given(st.binary(max_size=300))
def test_any_bytes_make_an_error_and_never_an_exception(data) -> None:
    assert unpack_error(data).cause


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.none() | st.integers() | st.text(max_size=5) | st.dictionaries(st.text(max_size=10), st.text(max_size=4)),
    )
)
def test_any_map_makes_an_error(value) -> None:
    assert error_from_dict(value).remedy
