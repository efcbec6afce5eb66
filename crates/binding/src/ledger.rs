//! The ledger's part of the kernel for Python.

use fondaco_kernel::ledger::verify_many;
use fondaco_kernel::ledger_canonical::check_canonical as check;
use fondaco_kernel::ledger_merkle::merkle_root as root;
use fondaco_kernel::Items;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::refused;

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

/// Add the ledger's functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ed25519_verify_many, module)?)?;
    module.add_function(wrap_pyfunction!(check_canonical, module)?)?;
    module.add_function(wrap_pyfunction!(merkle_root, module)?)?;
    Ok(())
}
