//! The hidden query for Python: an index that is built and kept, and the two sides of a lookup, driven by messages.

use fondaco_kernel::pir::bound::{Bounds, MEMORY};
use fondaco_kernel::pir::directory::Head;
use fondaco_kernel::pir::index::{Index, Record, Shared};
use fondaco_kernel::pir::lookup;
use fondaco_kernel::pir::progress::Watch;
use fondaco_kernel::pir::scan;
use fondaco_kernel::protocol::{Fault, Party, Turn};
use fondaco_kernel::Items;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use std::sync::Arc;
use std::time::Instant;

use crate::progress::watched;

create_exception!(
    _kernel,
    PirFault,
    PyException,
    "A hidden query that cannot go on: its kind, then what happened."
);

pub(crate) fn raised(fault: Fault) -> PyErr {
    match fault {
        Fault::Input { .. } => PyValueError::new_err(fault.to_string()),
        _ => PirFault::new_err((kind(fault), fault.to_string())),
    }
}

/// The kind of a fault in a word.
pub(crate) const fn kind(fault: Fault) -> &'static str {
    match fault {
        Fault::Input { .. } => "input",
        Fault::Malformed { .. } => "malformed",
        Fault::Cheated { .. } => "cheated",
        Fault::OutOfTurn => "out of turn",
        Fault::Excessive { .. } => "excessive",
        Fault::Differ { .. } => "differ",
        Fault::Unlucky { .. } => "unlucky",
    }
}

/// Data and offsets, as two buffers.
pub(crate) type Buffers<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// Records out of the buffers of their keys and payloads.
pub(crate) fn records<'a>(
    (keys, key_ends): &'a Buffers<'_>,
    (payloads, payload_ends): &'a Buffers<'_>,
) -> PyResult<Vec<Record<'a>>> {
    let keys = Items::new(keys.as_bytes(), key_ends.as_bytes()).map_err(super::refused)?;
    let payloads =
        Items::new(payloads.as_bytes(), payload_ends.as_bytes()).map_err(super::refused)?;
    if keys.len() != payloads.len() {
        return Err(PyValueError::new_err(
            "there is not one payload for each key",
        ));
    }
    Ok(keys.iter().zip(payloads.iter()).collect())
}

/// The head of an index, which is all that an update needs of it.
#[pyclass(frozen)]
struct PirHead(Head);

#[pymethods]
impl PirHead {
    /// Out of the first part of an index.
    #[new]
    fn new(py: Python<'_>, part: PyBackedBytes) -> PyResult<Self> {
        let head = py.allow_threads(|| Head::from_bytes(&part));
        head.map(Self).ok_or_else(not_an_index)
    }
}

/// A provider's index of one dataset.
#[pyclass(frozen)]
struct PirIndex(Arc<Index>);

#[pymethods]
impl PirIndex {
    /// Build the index of n records: keys and payloads as data with n + 1 offsets each.
    #[staticmethod]
    #[pyo3(signature = (keys, payloads, batch, progress = None))]
    fn build(
        py: Python<'_>,
        keys: Buffers<'_>,
        payloads: Buffers<'_>,
        batch: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        made(py, &keys, &payloads, progress, move |records, watch| {
            Index::build(records, batch, watch)
        })
    }

    /// The index of other records, keeping what is unchanged.
    #[pyo3(signature = (keys, payloads, progress = None))]
    fn update(
        &self,
        py: Python<'_>,
        keys: Buffers<'_>,
        payloads: Buffers<'_>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        made(py, &keys, &payloads, progress, |records, watch| {
            self.0.update(records, watch)
        })
    }

    /// The same from no more than the head of the index before.
    #[staticmethod]
    #[pyo3(signature = (head, keys, payloads, progress = None))]
    fn renew(
        py: Python<'_>,
        head: &PirHead,
        keys: Buffers<'_>,
        payloads: Buffers<'_>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        made(py, &keys, &payloads, progress, |records, watch| {
            Index::renewed(&head.0, records, watch)
        })
    }

    /// The parts that it is kept as.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let parts = py.allow_threads(|| self.0.to_parts());
        PyList::new(
            py,
            parts.iter().map(|part| PyBytes::new(py, (**part).as_ref())),
        )
    }

    /// The index from its parts, which it holds on to.
    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: Vec<PyBackedBytes>) -> PyResult<Self> {
        let parts: Vec<Shared> = parts
            .into_iter()
            .map(|part| Arc::new(part) as Shared)
            .collect();
        let index = py.allow_threads(|| {
            let index = Index::from_parts(&parts);
            drop(parts);
            index
        });
        index
            .map(|index| Self(Arc::new(index)))
            .ok_or_else(not_an_index)
    }

    /// Records.
    #[getter]
    fn records(&self) -> u64 {
        self.0.description().records
    }

    /// Keys of one batch query; 0 without.
    #[getter]
    fn batch(&self) -> u32 {
        self.0
            .description()
            .batch
            .as_ref()
            .map_or(0, |(keys, _)| *keys)
    }

    /// How many times it was updated since it was built, and one.
    #[getter]
    fn generations(&self) -> usize {
        self.0.description().publics.len()
    }

    /// Records that the last build or update sealed.
    #[getter]
    fn fresh(&self) -> usize {
        self.0.fresh_records()
    }

    /// Bytes of the matrix for single keys.
    #[getter]
    fn scanned(&self) -> usize {
        self.0.single().data().len()
    }

    /// Seconds of one pass over the matrix for single keys for so many queries, and of merely reading it.
    fn pass_seconds(&self, py: Python<'_>, queries: usize) -> (f64, f64) {
        py.allow_threads(|| {
            let table = self.0.single();
            let shape = table.layout.shape();
            let query = 1_234_567u32.to_le_bytes().repeat(shape.rows());
            let began = Instant::now();
            let sums = scan::scan(table.data(), shape.width, &vec![query.as_slice(); queries]);
            let passed = began.elapsed().as_secs_f64();
            let began = Instant::now();
            let read = scan::read(table.data());
            let seconds = began.elapsed().as_secs_f64();
            std::hint::black_box((sums, read));
            (passed, seconds)
        })
    }
}

fn not_an_index() -> PyErr {
    PyValueError::new_err("these are not the parts of an index")
}

fn made(
    py: Python<'_>,
    keys: &Buffers<'_>,
    payloads: &Buffers<'_>,
    progress: Option<Py<PyAny>>,
    make: impl FnOnce(&[Record<'_>], Watch<'_>) -> Result<Index, Fault> + Send,
) -> PyResult<PirIndex> {
    let records = records(keys, payloads)?;
    let index = watched(py, progress, |watch| make(&records, watch))?.map_err(raised)?;
    Ok(PirIndex(Arc::new(index)))
}

pub(crate) type Next<'py> = (&'static str, Option<Bound<'py, PyBytes>>);

pub(crate) fn next<'py>(
    py: Python<'py>,
    party: &mut (dyn Party + Send),
    incoming: Option<&[u8]>,
) -> PyResult<Next<'py>> {
    Ok(
        match py.allow_threads(|| party.next(incoming)).map_err(raised)? {
            Turn::Send(message) => ("send", Some(PyBytes::new(py, &message))),
            Turn::Receive => ("receive", None),
            Turn::Finished => ("finished", None),
        },
    )
}

/// The side that has the index.
#[pyclass]
struct PirProvider(lookup::Provider);

#[pymethods]
impl PirProvider {
    #[new]
    fn new(index: &PirIndex, keys: usize) -> PyResult<Self> {
        lookup::Provider::new(Arc::clone(&index.0), keys)
            .map(Self)
            .map_err(raised)
    }

    /// The most bytes that the next message of the peer may have.
    #[getter]
    fn limit(&self) -> usize {
        self.0.limit()
    }

    /// Go on: what to do next, and the message to send if that is it.
    #[pyo3(signature = (incoming = None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Next<'py>> {
        next(py, &mut self.0, incoming)
    }
}

/// The side that has the keys.
#[pyclass]
struct PirAsker(lookup::Asker);

#[pymethods]
impl PirAsker {
    #[new]
    #[pyo3(signature = (wanted, keys, *, records = None, memory = MEMORY))]
    fn new(
        wanted: Vec<Bound<'_, PyBytes>>,
        keys: usize,
        records: Option<u64>,
        memory: u64,
    ) -> PyResult<Self> {
        let wanted: Vec<&[u8]> = wanted.iter().map(|key| key.as_bytes()).collect();
        lookup::Asker::new(&wanted, keys, Bounds { records, memory })
            .map(Self)
            .map_err(raised)
    }

    /// The most bytes that the next message of the peer may have.
    #[getter]
    fn limit(&self) -> usize {
        self.0.limit()
    }

    /// Go on: what to do next, and the message to send if that is it.
    #[pyo3(signature = (incoming = None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Next<'py>> {
        next(py, &mut self.0, incoming)
    }

    /// The payloads of the wanted keys, None for an absent one.
    fn payloads<'py>(&self, py: Python<'py>) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
        let payloads = self.0.payloads().map_err(raised)?;
        Ok(payloads
            .iter()
            .map(|one| one.as_ref().map(|bytes| PyBytes::new(py, bytes)))
            .collect())
    }
}

/// Add the hidden query to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PirFault", module.py().get_type::<PirFault>())?;
    module.add_class::<PirHead>()?;
    module.add_class::<PirIndex>()?;
    module.add_class::<PirProvider>()?;
    module.add_class::<PirAsker>()
}
