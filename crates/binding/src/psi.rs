//! Private set intersection for Python: one party, driven turn by turn.

use fondaco_kernel::block::Block;
use fondaco_kernel::ecdh::{CountHelper, CountLearner, DhClient, DhConfig, DhServer};
use fondaco_kernel::opprf::cuckoo::bins_for;
use fondaco_kernel::opprf::{OpprfReceiver, OpprfSender, Shape};
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::protocol::{Fault, Party, Turn};
use fondaco_kernel::psi::{PsiConfig, PsiReceiver, PsiSender};
use fondaco_kernel::vole::{VoleReceiver, VoleSender};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::faults::raised;

enum Side {
    Sender(Box<PsiSender<VoleSender>>),
    Receiver(Box<PsiReceiver<VoleReceiver>>),
}

impl Side {
    fn new(compares: bool, keys: Vec<Block>, config: PsiConfig) -> Result<Self, Fault> {
        if compares {
            let vole = receiver_vole(config.security, keys.len())?;
            return Ok(Self::Receiver(Box::new(PsiReceiver::new(
                config, keys, vole,
            )?)));
        }
        let vole = sender_vole(config.security, config.peer_keys)?;
        Ok(Self::Sender(Box::new(PsiSender::new(config, keys, vole)?)))
    }

    fn party(&mut self) -> &mut (dyn Party + Send) {
        match self {
            Self::Sender(side) => side.as_mut(),
            Self::Receiver(side) => side.as_mut(),
        }
    }

    fn matched(&self) -> Option<&[u32]> {
        match self {
            Self::Sender(side) => side.matched(),
            Self::Receiver(side) => side.matched(),
        }
    }
}

/// One party of an intersection.
#[pyclass]
pub struct PsiParty {
    side: Side,
}

/// What to do next, and the bytes to carry.
pub type Told<'py> = (&'static str, Bound<'py, PyBytes>);

/// Drive any party one turn without the GIL.
pub fn turn_of<'py>(
    py: Python<'py>,
    party: &mut (dyn Party + Send),
    incoming: Option<&[u8]>,
) -> PyResult<Told<'py>> {
    let turn = py.allow_threads(|| party.next(incoming)).map_err(raised)?;
    let (what, bytes) = match &turn {
        Turn::Send(bytes) => ("send", bytes.as_slice()),
        Turn::Receive => ("receive", [].as_slice()),
        Turn::Finished => ("finished", [].as_slice()),
    };
    Ok((what, PyBytes::new(py, bytes)))
}

/// Identifiers of 16 bytes each.
pub fn keys_of(ids: &[u8]) -> PyResult<Vec<Block>> {
    let (ids, rest) = ids.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(PyValueError::new_err("identifiers are 16 bytes each"));
    }
    Ok(ids.iter().map(|id| Block::from_bytes(*id)).collect())
}

/// 32-bit integers as little-endian bytes.
pub fn words(numbers: &[u32]) -> Vec<u8> {
    let mut out = vec![0u8; 4 * numbers.len()];
    write_words(numbers, &mut out);
    out
}

fn write_words(numbers: &[u32], out: &mut [u8]) {
    for (slot, number) in out.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
        *slot = number.to_le_bytes();
    }
}

/// The same, written where Python keeps it.
pub fn words_out<'py>(py: Python<'py>, numbers: &[u32]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, 4 * numbers.len(), |out| {
        write_words(numbers, out);
        Ok(())
    })
}

#[pymethods]
impl PsiParty {
    #[new]
    #[pyo3(signature = (ids, *, compares, peer_keys, both, malicious))]
    fn new(
        py: Python<'_>,
        ids: &[u8],
        compares: bool,
        peer_keys: usize,
        both: bool,
        malicious: bool,
    ) -> PyResult<Self> {
        let keys = keys_of(ids)?;
        let security = if malicious {
            Security::Malicious
        } else {
            Security::SemiHonest
        };
        let config = PsiConfig {
            security,
            both,
            peer_keys,
        };
        let side = py
            .allow_threads(|| Side::new(compares, keys, config))
            .map_err(raised)?;
        Ok(Self { side })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        turn_of(py, self.side.party(), incoming)
    }

    /// Places of the keys that both have, in one order at both sides, as little-endian 32-bit integers.
    fn matched<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let places = self.side.matched();
        places.map(|places| words_out(py, places)).transpose()
    }
}

enum DhSide {
    Client(DhClient),
    Server(DhServer),
}

/// One party of an intersection by Diffie-Hellman.
#[pyclass]
pub struct DhParty {
    side: DhSide,
}

#[pymethods]
impl DhParty {
    #[new]
    #[pyo3(signature = (ids, *, compares, peer_keys, both))]
    fn new(ids: &[u8], compares: bool, peer_keys: usize, both: bool) -> PyResult<Self> {
        let (keys, config) = (keys_of(ids)?, DhConfig { peer_keys, both });
        let side = if compares {
            DhSide::Client(DhClient::new(config, keys).map_err(raised)?)
        } else {
            DhSide::Server(DhServer::new(config, keys).map_err(raised)?)
        };
        Ok(Self { side })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        match &mut self.side {
            DhSide::Client(side) => turn_of(py, side, incoming),
            DhSide::Server(side) => turn_of(py, side, incoming),
        }
    }

    /// Places of the keys that both have, as little-endian 32-bit integers.
    fn matched<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let places = match &self.side {
            DhSide::Client(side) => side.matched(),
            DhSide::Server(side) => side.matched(),
        };
        places.map(|places| PyBytes::new(py, &words(places)))
    }
}

enum CountSide {
    Learner(CountLearner),
    Helper(CountHelper),
}

/// One party that learns how many keys are shared, or helps the other to.
#[pyclass]
pub struct CountParty {
    side: CountSide,
}

#[pymethods]
impl CountParty {
    #[new]
    #[pyo3(signature = (ids, *, counts, peer_keys, both))]
    fn new(ids: &[u8], counts: bool, peer_keys: usize, both: bool) -> PyResult<Self> {
        let (keys, config) = (keys_of(ids)?, DhConfig { peer_keys, both });
        let side = if counts {
            CountSide::Learner(CountLearner::new(config, keys).map_err(raised)?)
        } else {
            CountSide::Helper(CountHelper::new(config, keys).map_err(raised)?)
        };
        Ok(Self { side })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        match &mut self.side {
            CountSide::Learner(side) => turn_of(py, side, incoming),
            CountSide::Helper(side) => turn_of(py, side, incoming),
        }
    }

    /// How many keys are shared; None before the end, or where this side does not learn it.
    fn count(&self) -> Option<u64> {
        match &self.side {
            CountSide::Learner(side) => side.count(),
            CountSide::Helper(side) => side.count(),
        }
    }
}

enum ProgrammedSide {
    Programs(Box<OpprfSender<VoleSender>>),
    Places(Box<OpprfReceiver<VoleReceiver>>),
}

impl ProgrammedSide {
    fn new(
        places: bool,
        keys: Vec<Block>,
        payload: Vec<u64>,
        words: usize,
        peer_keys: usize,
    ) -> Result<Self, Fault> {
        if places {
            let vole = receiver_vole(Security::SemiHonest, bins_for(keys.len()))?;
            return Ok(Self::Places(Box::new(OpprfReceiver::new(
                &keys, words, peer_keys, vole,
            )?)));
        }
        let vole = sender_vole(
            Security::SemiHonest,
            Shape::new(peer_keys, keys.len(), words)?.bins,
        )?;
        Ok(Self::Programs(Box::new(OpprfSender::new(
            keys, payload, words, peer_keys, vole,
        )?)))
    }
}

/// 64-bit integers as little-endian bytes.
fn long_words(numbers: &[u64]) -> Vec<u8> {
    let mut out = vec![0u8; 8 * numbers.len()];
    for (slot, number) in out.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *slot = number.to_le_bytes();
    }
    out
}

/// One party of a meeting whose result goes into a circuit.
#[pyclass]
pub struct CircuitParty {
    side: ProgrammedSide,
}

#[pymethods]
impl CircuitParty {
    #[new]
    #[pyo3(signature = (ids, *, places, peer_keys, words, payload))]
    fn new(
        py: Python<'_>,
        ids: &[u8],
        places: bool,
        peer_keys: usize,
        words: usize,
        payload: &[u8],
    ) -> PyResult<Self> {
        let keys = keys_of(ids)?;
        let (payload, rest) = payload.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(PyValueError::new_err("payload words are 8 bytes each"));
        }
        let payload = payload
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect();
        let side = py
            .allow_threads(|| ProgrammedSide::new(places, keys, payload, words, peer_keys))
            .map_err(raised)?;
        Ok(Self { side })
    }

    /// Go on: with the peer's message after "receive", with None otherwise.
    #[pyo3(signature = (incoming=None))]
    fn next<'py>(&mut self, py: Python<'py>, incoming: Option<&[u8]>) -> PyResult<Told<'py>> {
        match &mut self.side {
            ProgrammedSide::Programs(side) => turn_of(py, side.as_mut(), incoming),
            ProgrammedSide::Places(side) => turn_of(py, side.as_mut(), incoming),
        }
    }

    /// How many bins there are.
    #[getter]
    fn bins(&self) -> usize {
        match &self.side {
            ProgrammedSide::Programs(side) => side.shape().bins,
            ProgrammedSide::Places(side) => side.shape().bins,
        }
    }

    /// The words of all bins, word by word, as little-endian 64-bit integers; None before the end.
    fn words<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let words = match &self.side {
            ProgrammedSide::Programs(side) => side.words(),
            ProgrammedSide::Places(side) => side.words(),
        };
        words.map(|words| PyBytes::new(py, &long_words(&words)))
    }

    /// For each bin the place of its key as a little-endian 32-bit integer, or its largest for none; None for the side
    /// that has no table.
    fn table<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.side {
            ProgrammedSide::Programs(_) => None,
            ProgrammedSide::Places(side) => Some(PyBytes::new(py, &words(side.table()))),
        }
    }
}
