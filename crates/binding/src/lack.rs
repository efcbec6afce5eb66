//! The membership test on shares for Python.

use fondaco_kernel::lack::{self, LackConfig, Table};
use fondaco_kernel::opprf::Shape;
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::vole::{VoleReceiver, VoleSender};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::faults::raised;
use crate::psi::{keys_of, turn_of, words, Told};

const HOW: Security = Security::SemiHonest;

/// How many bins the table of so many keys has.
#[pyfunction]
fn lack_bins(keys: usize) -> PyResult<usize> {
    Ok(Shape::new(keys, 1, 0).map_err(raised)?.bins)
}

/// A holder's keys in their bins: one table for the tests of all.
#[pyclass(frozen)]
pub struct LackTable {
    table: Table,
}

#[pymethods]
impl LackTable {
    #[new]
    fn new(py: Python<'_>, ids: &[u8]) -> PyResult<Self> {
        let keys = keys_of(ids)?;
        let table = py.allow_threads(|| Table::new(keys)).map_err(raised)?;
        Ok(Self { table })
    }

    /// How many bins there are.
    #[getter]
    fn bins(&self) -> usize {
        self.table.places().len()
    }

    /// For each bin the place of its key as a little-endian 32-bit integer, or its largest for none.
    fn places<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &words(self.table.places()))
    }
}

/// The party of a membership test whose keys are asked about.
#[pyclass]
pub struct LackHolder {
    side: lack::LackHolder<VoleReceiver>,
}

#[pymethods]
impl LackHolder {
    #[new]
    #[pyo3(signature = (table, *, peer_keys, width, gives=false))]
    fn new(
        py: Python<'_>,
        table: &LackTable,
        peer_keys: usize,
        width: usize,
        gives: bool,
    ) -> PyResult<Self> {
        let (table, config) = (&table.table, config(peer_keys, width, gives));
        let made = py.allow_threads(|| {
            let vole = receiver_vole(HOW, table.places().len())?;
            lack::LackHolder::new(config, table, vole)
        });
        Ok(Self {
            side: made.map_err(raised)?,
        })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, &mut self.side, incoming)
    }

    /// The string of each bin; None before the end.
    fn shares<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, self.side.shares()?))
    }
}

fn config(peer_keys: usize, width: usize, gives: bool) -> LackConfig {
    LackConfig {
        peer_keys,
        width,
        gives,
    }
}

/// The party of a membership test that has those keys or lacks them.
#[pyclass]
pub struct LackTester {
    side: lack::LackTester<VoleSender>,
    bins: usize,
}

#[pymethods]
impl LackTester {
    #[new]
    #[pyo3(signature = (ids, *, peer_keys, width, gives=true))]
    fn new(
        py: Python<'_>,
        ids: &[u8],
        peer_keys: usize,
        width: usize,
        gives: bool,
    ) -> PyResult<Self> {
        let (keys, config) = (keys_of(ids)?, config(peer_keys, width, gives));
        let made = py.allow_threads(|| {
            let bins = Shape::new(peer_keys, keys.len(), 0)?.bins;
            let side = lack::LackTester::new(config, keys, sender_vole(HOW, bins)?)?;
            Ok(Self { side, bins })
        });
        made.map_err(raised)
    }

    /// How many bins the holder's table has.
    #[getter]
    fn bins(&self) -> usize {
        self.bins
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, &mut self.side, incoming)
    }

    /// The string of each of the holder's bins; None before the end.
    fn shares<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, self.side.shares()?))
    }
}

/// Add the classes to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LackTable>()?;
    module.add_class::<LackHolder>()?;
    module.add_class::<LackTester>()?;
    module.add_function(wrap_pyfunction!(lack_bins, module)?)
}
