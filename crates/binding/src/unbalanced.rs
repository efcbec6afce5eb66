//! An intersection with a prepared side for Python: preparing, and the two parties of a run.

use fondaco_kernel::unbalanced::{self, PreparedClient, PreparedServer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::faults::raised;
use crate::progress::watched;
use crate::psi::{keys_of, turn_of, words, Told};

/// A secret key for a set of identifiers, and the set's table under it.
#[pyfunction]
#[pyo3(signature = (ids, progress = None))]
fn prepare_set<'py>(
    py: Python<'py>,
    ids: &[u8],
    progress: Option<Py<PyAny>>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let keys = keys_of(ids)?;
    let made = watched(py, progress, |watch| unbalanced::prepare(&keys, watch))?.map_err(raised)?;
    Ok((PyBytes::new(py, &*made.key), PyBytes::new(py, &made.table)))
}

/// Bytes of the table of so many keys.
#[pyfunction]
fn prepared_table_size(keys: usize) -> usize {
    unbalanced::table_size(keys)
}

/// The side that has a prepared key.
#[pyclass(name = "PreparedServer")]
struct Server {
    side: PreparedServer,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (key, *, asked))]
    fn new(key: &[u8], asked: usize) -> PyResult<Self> {
        let key = key
            .try_into()
            .map_err(|_| PyValueError::new_err("a prepared key is 32 bytes"))?;
        let side = PreparedServer::new(key, asked).map_err(raised)?;
        Ok(Self { side })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, &mut self.side, incoming)
    }
}

/// The side that asks.
#[pyclass(name = "PreparedClient")]
struct Client {
    side: PreparedClient,
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (ids, *, table, table_keys))]
    fn new(ids: &[u8], table: &[u8], table_keys: usize) -> PyResult<Self> {
        let keys = keys_of(ids)?;
        let side = PreparedClient::new(keys, table.to_vec(), table_keys).map_err(raised)?;
        Ok(Self { side })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, &mut self.side, incoming)
    }

    /// Places of the keys that the server has, as little-endian 32-bit integers.
    fn matched<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let places = self.side.matched()?;
        Some(PyBytes::new(py, &words(places)))
    }
}

/// Add what is here to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(prepare_set, module)?)?;
    module.add_function(wrap_pyfunction!(prepared_table_size, module)?)?;
    module.add_class::<Server>()?;
    module.add_class::<Client>()
}
