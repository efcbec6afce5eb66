//! The kernel for Python: bytes in, bytes out, one error map, the GIL released while hashing.

mod ledger;

use fondaco_kernel::{Items, Refused};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

fn refused(why: Refused) -> PyErr {
    PyValueError::new_err(why.to_string())
}

fn hashed<'py>(
    py: Python<'py>,
    data: &[u8],
    offsets: &[u8],
    hash: impl Fn(&Items<'_>) -> Vec<u8> + Send + Sync,
) -> PyResult<Bound<'py, PyBytes>> {
    let out = py
        .allow_threads(|| Items::new(data, offsets).map(|items| hash(&items)))
        .map_err(refused)?;
    Ok(PyBytes::new(py, &out))
}

/// BLAKE3 of each item; 32 bytes each.
#[pyfunction]
fn blake3_many<'py>(py: Python<'py>, data: &[u8], offsets: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    hashed(py, data, offsets, fondaco_kernel::blake3_many)
}

/// SHA-256 of each item; 32 bytes each.
#[pyfunction]
fn sha256_many<'py>(py: Python<'py>, data: &[u8], offsets: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    hashed(py, data, offsets, fondaco_kernel::sha256_many)
}

/// Keyed BLAKE3 of each item, cut to 16 bytes.
#[pyfunction]
fn keyed_ids<'py>(
    py: Python<'py>,
    key: &[u8],
    data: &[u8],
    offsets: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let key: [u8; 32] = key
        .try_into()
        .map_err(|_| PyValueError::new_err("a key is 32 bytes"))?;
    hashed(py, data, offsets, move |items| {
        fondaco_kernel::keyed_ids(&key, items)
    })
}

/// The native kernel of fondaco.
#[pymodule]
fn _kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(blake3_many, module)?)?;
    module.add_function(wrap_pyfunction!(sha256_many, module)?)?;
    module.add_function(wrap_pyfunction!(keyed_ids, module)?)?;
    ledger::register(module)?;
    Ok(())
}
