//! The hidden query at two servers for Python: the servers' preparation, their side of a lookup, and the asker's.

use crate::pir::{kind, next, raised, records, Buffers, Next, PirFault};
use fondaco_kernel::pir::bound::{Bounds, MEMORY};
use fondaco_kernel::pir::scan;
use fondaco_kernel::pir::two::asker::{Asker, Blame, Turns};
use fondaco_kernel::pir::two::index::Index;
use fondaco_kernel::pir::two::lookup::Server;
use fondaco_kernel::pir::two::preparation::Preparation;
use fondaco_kernel::protocol::Fault;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use std::sync::Arc;
use std::time::Instant;

/// One server's index.
#[pyclass(frozen)]
struct PirTwoIndex(Arc<Index>);

#[pymethods]
impl PirTwoIndex {
    /// The parts that it is kept as.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let parts = py.allow_threads(|| self.0.to_parts());
        PyList::new(py, parts.iter().map(|part| PyBytes::new(py, part)))
    }

    /// The index from its parts.
    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: Vec<Bound<'_, PyBytes>>) -> PyResult<Self> {
        let slices: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let index = py.allow_threads(|| Index::from_parts(&slices));
        index.map(|index| Self(Arc::new(index))).ok_or_else(|| {
            PyValueError::new_err("these are not the parts of an index of two servers")
        })
    }

    /// Records.
    #[getter]
    fn records(&self) -> u64 {
        self.0.description().records
    }

    /// Bytes that one pass reads.
    #[getter]
    fn scanned(&self) -> usize {
        self.0.table().rows().len()
    }

    /// Seconds of one pass over the rows for so many selections, and of merely reading them.
    fn pass_seconds(&self, py: Python<'_>, selections: usize) -> (f64, f64) {
        py.allow_threads(|| {
            let blocks = self.0.table().count().div_ceil(128);
            let selection = vec![0x5555_3333_0f0f_00ff_aaaa_cccc_f0f0_ff00_u128; blocks];
            let began = Instant::now();
            let sums = self.0.table().answer(&vec![selection; selections]);
            let passed = began.elapsed().as_secs_f64();
            let began = Instant::now();
            let read = scan::read(self.0.table().rows());
            let seconds = began.elapsed().as_secs_f64();
            std::hint::black_box((sums, read));
            (passed, seconds)
        })
    }
}

/// One of two servers that make their index.
#[pyclass]
struct PirTwoPreparation(Preparation);

#[pymethods]
impl PirTwoPreparation {
    #[new]
    fn new(
        py: Python<'_>,
        first: bool,
        keys: Buffers<'_>,
        payloads: Buffers<'_>,
        kept: Option<&PirTwoIndex>,
        run: &[u8],
    ) -> PyResult<Self> {
        let records = records(&keys, &payloads)?;
        let kept = kept.map(|index| Arc::clone(&index.0));
        let made = py.allow_threads(|| Preparation::new(first, &records, kept, run));
        made.map(Self).map_err(raised)
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

    /// The index and whether it is new.
    fn index(&self) -> PyResult<(PirTwoIndex, bool)> {
        let made = self
            .0
            .index()
            .map(|(index, fresh)| (PirTwoIndex(index), fresh));
        made.ok_or_else(|| raised(Fault::OutOfTurn))
    }
}

/// The side of one server.
#[pyclass]
struct PirTwoServer(Server);

#[pymethods]
impl PirTwoServer {
    #[new]
    fn new(number: u8, index: &PirTwoIndex, keys: usize) -> PyResult<Self> {
        Server::new(number, Arc::clone(&index.0), keys)
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
struct PirTwoAsker(Asker);

/// As for one server, with the server that is to blame, if it is known.
fn blamed(blame: Blame) -> PyErr {
    if matches!(blame.fault, Fault::Input { .. }) {
        return raised(blame.fault);
    }
    PirFault::new_err((kind(blame.fault), blame.fault.to_string(), blame.server))
}

type Messages<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

#[pymethods]
impl PirTwoAsker {
    #[new]
    #[pyo3(signature = (wanted, keys, *, records = None, memory = MEMORY))]
    fn new(
        wanted: Vec<Bound<'_, PyBytes>>,
        keys: usize,
        records: Option<u64>,
        memory: u64,
    ) -> PyResult<Self> {
        let wanted: Vec<&[u8]> = wanted.iter().map(|key| key.as_bytes()).collect();
        Asker::new(&wanted, keys, Bounds { records, memory })
            .map(Self)
            .map_err(raised)
    }

    /// The most bytes that the next message of either server may have.
    #[getter]
    fn limits(&self) -> (usize, usize) {
        let [first, second] = self.0.limits();
        (first, second)
    }

    /// Go on: what to do next, and the messages to send if that is it.
    #[pyo3(signature = (incoming = None))]
    fn next<'py>(
        &mut self,
        py: Python<'py>,
        incoming: Option<(Vec<u8>, Vec<u8>)>,
    ) -> PyResult<(&'static str, Option<Messages<'py>>)> {
        let turn = py.allow_threads(|| {
            let messages = incoming
                .as_ref()
                .map(|(first, second)| [first.as_slice(), second]);
            self.0.next(messages)
        });
        Ok(match turn.map_err(blamed)? {
            Turns::Send([first, second]) => {
                let messages = (PyBytes::new(py, &first), PyBytes::new(py, &second));
                ("send", Some(messages))
            }
            Turns::Receive => ("receive", None),
            Turns::Finished => ("finished", None),
        })
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

/// Add the hidden query at two servers to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PirTwoIndex>()?;
    module.add_class::<PirTwoPreparation>()?;
    module.add_class::<PirTwoServer>()?;
    module.add_class::<PirTwoAsker>()
}
