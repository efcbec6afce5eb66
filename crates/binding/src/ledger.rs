//! The ledger's part of the kernel for Python.

use fondaco_kernel::ledger::verify_many;
use fondaco_kernel::ledger_canonical::check_canonical as check;
use fondaco_kernel::ledger_merkle::merkle_root as root;
use fondaco_kernel::ledger_transaction::read;
use fondaco_kernel::ledger_tree::{change, update, Node, Nodes};
use fondaco_kernel::Items;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

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

/// A transaction's body, signatures, kind, chain, nonce, expiry, payload and signers; None for bytes of another form.
#[pyfunction]
fn read_transaction<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let Some(parts) = read(data) else {
        return Ok(None);
    };
    let bytes = |found: &[u8]| PyBytes::new(py, found);
    let many = |found: &[&[u8]]| PyTuple::new(py, found.iter().map(|one| bytes(one)));
    (
        bytes(parts.body),
        many(&parts.signatures)?,
        parts.kind,
        parts.chain,
        bytes(parts.nonce),
        parts.expires,
        bytes(parts.payload),
        many(&parts.signers)?,
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

/// Committed nodes by the caller's function.
struct Callable<'a, 'py>(&'a Bound<'py, PyAny>);

impl Nodes for Callable<'_, '_> {
    type Error = PyErr;

    fn node(&mut self, place: &[u8]) -> PyResult<Option<Node>> {
        let found = self.0.call1((PyBytes::new(self.0.py(), place),))?;
        if found.is_none() {
            return Ok(None);
        }
        Node::try_from(found.downcast::<PyBytes>()?.as_bytes())
            .map(Some)
            .map_err(|_| PyValueError::new_err("a node has 65 bytes"))
    }
}

/// Apply changes (key: value, or None to remove it) to the tree whose nodes `load` gives: the new root, and by place
/// what is to be written and what stood there.
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
    let bytes = |node: &Option<Node>| node.as_ref().map(|node| PyBytes::new(py, node));
    let mut places: Vec<_> = done.written.iter().collect();
    places.sort_unstable_by_key(|(place, _)| *place);
    for (place, node) in places {
        let place = PyBytes::new(py, place);
        let stood = done.read.get(place.as_bytes()).unwrap_or(&None);
        written.set_item(&place, bytes(node))?;
        before.set_item(&place, bytes(stood))?;
    }
    (PyBytes::new(py, &done.root), written, before).into_pyobject(py)
}

/// Add the ledger's functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ed25519_verify_many, module)?)?;
    module.add_function(wrap_pyfunction!(read_transaction, module)?)?;
    module.add_function(wrap_pyfunction!(check_canonical, module)?)?;
    module.add_function(wrap_pyfunction!(merkle_root, module)?)?;
    module.add_function(wrap_pyfunction!(state_update, module)?)?;
    module.add_function(wrap_pyfunction!(proto::proto_fields, module)?)?;
    module.add_function(wrap_pyfunction!(proto::proto_frames, module)?)?;
    module.add_function(wrap_pyfunction!(proto::proto_repeated, module)?)?;
    module.add_function(wrap_pyfunction!(value::encode_canonical, module)?)?;
    Ok(())
}
