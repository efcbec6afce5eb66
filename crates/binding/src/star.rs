//! The programmable function and shares of zero for Python.

use fondaco_kernel::block::to_bytes;
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::star::{self, zero_shares as shares};
use fondaco_kernel::vole::{VoleReceiver, VoleSender};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::faults::raised;
use crate::psi::{keys_of, turn_of, Told};

const HOW: Security = Security::SemiHonest;

/// A party's share of zero for each key, under the secrets that it has with each of the others.
#[pyfunction]
pub fn zero_shares<'py>(
    py: Python<'py>,
    ids: &[u8],
    secrets: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let (keys, secrets) = (keys_of(ids)?, keys_of(secrets)?);
    let out = py.allow_threads(|| to_bytes(&shares(&keys, &secrets)));
    Ok(PyBytes::new(py, &out))
}

/// The party of a programmable function that has values.
#[pyclass]
pub struct StarMember {
    side: star::StarMember<VoleSender>,
}

#[pymethods]
impl StarMember {
    #[new]
    #[pyo3(signature = (ids, values, *, peer_keys))]
    fn new(ids: &[u8], values: &[u8], peer_keys: usize) -> PyResult<Self> {
        let vole = sender_vole(HOW, peer_keys).map_err(raised)?;
        let side = star::StarMember::new(keys_of(ids)?, keys_of(values)?, peer_keys, vole);
        Ok(Self {
            side: side.map_err(raised)?,
        })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, &mut self.side, incoming)
    }
}

/// The party of a programmable function that asks.
#[pyclass]
pub struct StarLeader {
    side: star::StarLeader<VoleReceiver>,
}

#[pymethods]
impl StarLeader {
    #[new]
    #[pyo3(signature = (ids, *, peer_keys))]
    fn new(ids: &[u8], peer_keys: usize) -> PyResult<Self> {
        let keys = keys_of(ids)?;
        let vole = receiver_vole(HOW, keys.len()).map_err(raised)?;
        let side = star::StarLeader::new(keys, peer_keys, vole);
        Ok(Self {
            side: side.map_err(raised)?,
        })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, &mut self.side, incoming)
    }

    /// The value of each key, 16 bytes each; None before the end.
    fn values<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, &to_bytes(self.side.values()?)))
    }
}
