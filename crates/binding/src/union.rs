//! Private set union for Python: one party, driven turn by turn.

use fondaco_kernel::union::{self, UnionConfig};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::faults::raised;
use crate::psi::{keys_of, turn_of, Told};

/// The party of a union whose keys are given.
#[pyclass]
pub struct UnionSender {
    side: union::UnionSender,
}

#[pymethods]
impl UnionSender {
    #[new]
    #[pyo3(signature = (ids, payloads, *, peer_keys, width))]
    fn new(ids: &[u8], payloads: &[u8], peer_keys: usize, width: usize) -> PyResult<Self> {
        let config = UnionConfig { peer_keys, width };
        let side = union::UnionSender::new(config, keys_of(ids)?, payloads.to_vec());
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

/// The party of a union that gets the payloads of the keys that it lacks.
#[pyclass]
pub struct UnionReceiver {
    side: union::UnionReceiver,
}

#[pymethods]
impl UnionReceiver {
    #[new]
    #[pyo3(signature = (ids, *, peer_keys, width))]
    fn new(ids: &[u8], peer_keys: usize, width: usize) -> PyResult<Self> {
        let config = UnionConfig { peer_keys, width };
        let side = union::UnionReceiver::new(config, keys_of(ids)?);
        Ok(Self {
            side: side.map_err(raised)?,
        })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, &mut self.side, incoming)
    }

    /// The payloads that came; None before the end.
    fn received<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, self.side.received()?))
    }
}
