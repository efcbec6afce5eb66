//! The ledger's part of the kernel for Python.

use fondaco_kernel::ledger::verify_many;
use fondaco_kernel::ledger_canonical::check_canonical as check;
use fondaco_kernel::ledger_merkle::{appended, merkle_root as root};
use fondaco_kernel::ledger_transaction::read;
use fondaco_kernel::ledger_tree::{change, update, Page, Pages};
use fondaco_kernel::ledger_votes::vote_holds;
use fondaco_kernel::Items;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::message::MessageReader;
use crate::{proto, refused, value};

/// One byte for each message: 1 when libsodium would accept the signature.
#[pyfunction]
fn ed25519_verify_many<'py>(
    py: Python<'py>,
    keys: &[u8],
    signatures: &[u8],
    data: &[u8],
    offsets: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let found = py
        .allow_threads(|| {
            Items::new(data, offsets).map(|messages| verify_many(keys, signatures, &messages))
        })
        .map_err(refused)?
        .ok_or_else(|| {
            PyValueError::new_err("a message has a key of 32 bytes and a signature of 64")
        })?;
    Ok(PyBytes::new(py, &found))
}

/// Whether CometBFT would accept the signature of a vote.
#[pyfunction]
fn ed25519_vote_holds(key: &[u8], signature: &[u8], message: &[u8]) -> bool {
    match (key.try_into(), signature.try_into()) {
        (Ok(key), Ok(signature)) => vote_holds(key, signature, message),
        _ => false,
    }
}

/// What of a transaction is signed, its signatures, its body as `body` makes it, hash and mark (empty without a signer);
/// None for bytes of another form.
#[pyfunction]
fn read_transaction<'py>(
    py: Python<'py>,
    data: &[u8],
    body: &MessageReader,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let Some(parts) = read(data) else {
        return Ok(None);
    };
    let bytes = |found: &[u8]| PyBytes::new(py, found);
    let many = |found: &[&[u8]]| PyTuple::new(py, found.iter().map(|one| bytes(one)));
    (
        bytes(parts.body),
        many(&parts.signatures)?,
        body.build(
            py,
            &[
                PyString::new(py, parts.kind).as_any(),
                PyString::new(py, parts.chain).as_any(),
                bytes(parts.nonce).as_any(),
                parts.expires.into_pyobject(py)?.as_any(),
                bytes(parts.payload).as_any(),
                many(&parts.signers)?.as_any(),
            ],
        )?,
        bytes(&parts.hash),
        bytes(parts.mark().as_ref().map_or(&[], |mark| mark.as_slice())),
    )
        .into_pyobject(py)
        .map(Some)
}

/// Raise `ValueError` unless `data` is the canonical encoding of one value of so many items.
#[pyfunction]
fn check_canonical(data: &[u8], depth: usize, items: u64) -> PyResult<()> {
    check(data, depth, items).map_err(|why| PyValueError::new_err(why.to_string()))
}

/// The RFC 6962 root of the items.
#[pyfunction]
fn merkle_root<'py>(py: Python<'py>, data: &[u8], offsets: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let found = py
        .allow_threads(|| Items::new(data, offsets).map(|leaves| root(&leaves)))
        .map_err(refused)?;
    Ok(PyBytes::new(py, &found))
}

/// The subtrees of a log that more entries complete, as {(level, number): hash}, from the log's size and edge.
#[pyfunction]
fn log_append<'py>(
    py: Python<'py>,
    size: u64,
    edge: Vec<[u8; 32]>,
    data: &[u8],
    offsets: &[u8],
) -> PyResult<Bound<'py, PyDict>> {
    let found = py
        .allow_threads(|| Items::new(data, offsets).map(|leaves| appended(size, &edge, &leaves)))
        .map_err(refused)?
        .ok_or_else(|| PyValueError::new_err("the edge is not that of a log of this size"))?;
    let nodes = PyDict::new(py);
    for (level, at, node) in found {
        nodes.set_item((level, at), PyBytes::new(py, &node))?;
    }
    Ok(nodes)
}

/// Committed pages by the caller's function.
struct Callable<'a, 'py>(&'a Bound<'py, PyAny>);

impl Pages for Callable<'_, '_> {
    type Error = PyErr;

    fn page(&mut self, name: &[u8]) -> PyResult<Option<Page>> {
        let found = self.0.call1((PyBytes::new(self.0.py(), name),))?;
        if found.is_none() {
            return Ok(None);
        }
        Page::read(found.downcast::<PyBytes>()?.as_bytes())
            .map(Some)
            .ok_or_else(|| PyValueError::new_err("what is stored is no page of a tree"))
    }
}

/// Apply changes (key: value, or None to remove it) to the tree whose pages `load` gives: the new root, and by name what
/// is to be written and what stood there.
#[pyfunction]
fn state_update<'py>(
    py: Python<'py>,
    changes: &Bound<'py, PyDict>,
    load: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyTuple>> {
    let mut moves = Vec::with_capacity(changes.len());
    for (key, value) in changes.iter() {
        let key = key.downcast::<PyBytes>()?;
        moves.push(if value.is_none() {
            change(key.as_bytes(), None)
        } else {
            change(
                key.as_bytes(),
                Some(value.downcast::<PyBytes>()?.as_bytes()),
            )
        });
    }
    let done = update(&mut Callable(load), moves)?;
    let (written, before) = (PyDict::new(py), PyDict::new(py));
    let bytes = |page: Option<Vec<u8>>| page.map(|page| PyBytes::new(py, &page));
    for page in done.changed {
        let name = PyBytes::new(py, &page.name);
        written.set_item(&name, bytes(page.now))?;
        before.set_item(&name, bytes(page.before.and_then(|page| page.to_bytes())))?;
    }
    (PyBytes::new(py, &done.root), written, before).into_pyobject(py)
}

/// Add the ledger's functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ed25519_verify_many, module)?)?;
    module.add_function(wrap_pyfunction!(ed25519_vote_holds, module)?)?;
    module.add_function(wrap_pyfunction!(read_transaction, module)?)?;
    module.add_function(wrap_pyfunction!(check_canonical, module)?)?;
    module.add_function(wrap_pyfunction!(merkle_root, module)?)?;
    module.add_function(wrap_pyfunction!(log_append, module)?)?;
    module.add_function(wrap_pyfunction!(state_update, module)?)?;
    module.add_function(wrap_pyfunction!(proto::proto_fields, module)?)?;
    module.add_function(wrap_pyfunction!(proto::proto_frames, module)?)?;
    module.add_function(wrap_pyfunction!(proto::proto_repeated, module)?)?;
    module.add_function(wrap_pyfunction!(value::encode_canonical, module)?)?;
    Ok(())
}
