//! The kernel for Python: bytes in, bytes out, one error map, the GIL released while it works.

mod faults;
mod lack;
mod ledger;
mod message;
mod pages;
mod pir;
mod pir_two;
mod progress;
mod proto;
mod psi;
mod star;
mod unbalanced;
mod union;
mod value;

use fondaco_kernel::block::{write_bytes, Block};
use fondaco_kernel::keys::{
    distinct, distinct_records as once, identifiers, numbered, records, Column, Values,
};
use fondaco_kernel::{Items, Refused};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[global_allocator]
static MEMORY: pages::LargePages = pages::LargePages;

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

/// A column's letter, data and offsets, as Python gives them.
type GivenColumn = (String, PyBuffer<u8>, Option<PyBuffer<u8>>);

/// The same, copied.
type OwnedColumn = (u8, Vec<u8>, Option<Vec<u8>>);

fn owned(py: Python<'_>, columns: &[GivenColumn]) -> PyResult<Vec<OwnedColumn>> {
    let column = |(letter, data, offsets): &GivenColumn| {
        let letter = *letter
            .as_bytes()
            .first()
            .ok_or_else(|| PyValueError::new_err("a column has a letter"))?;
        let offsets = offsets
            .as_ref()
            .map(|buffer| buffer.to_vec(py))
            .transpose()?;
        Ok((letter, data.to_vec(py)?, offsets))
    };
    columns.iter().map(column).collect()
}

fn session_key(key: &[u8]) -> PyResult<[u8; 32]> {
    key.try_into()
        .map_err(|_| PyValueError::new_err("a key is 32 bytes"))
}

/// Blocks as bytes, written where Python keeps them.
fn blocks_out<'py>(py: Python<'py>, blocks: &[Block]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, 16 * blocks.len(), |out| {
        write_bytes(blocks, out);
        Ok(())
    })
}

/// Identifiers of the different rows of key columns, and the rows of their first appearance.
#[pyfunction]
fn identify<'py>(
    py: Python<'py>,
    key: &[u8],
    columns: Vec<GivenColumn>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (key, copied) = (session_key(key)?, owned(py, &columns)?);
    let found = py
        .allow_threads(|| {
            let ids = identifiers(&key, &borrowed(&copied)?)?;
            Ok(distinct(ids))
        })
        .map_err(refused)?;
    Ok((
        blocks_out(py, &found.ids)?,
        psi::words_out(py, &found.places)?,
    ))
}

/// Identifiers of the different rows of key columns, and for each row which of them it has.
#[pyfunction]
fn identify_rows<'py>(
    py: Python<'py>,
    key: &[u8],
    columns: Vec<GivenColumn>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (key, copied) = (session_key(key)?, owned(py, &columns)?);
    let (ids, numbers) = py
        .allow_threads(|| {
            let ids = identifiers(&key, &borrowed(&copied)?)?;
            let numbers = numbered(&ids);
            Ok((distinct(ids).ids, numbers))
        })
        .map_err(refused)?;
    Ok((blocks_out(py, &ids)?, psi::words_out(py, &numbers)?))
}

/// Records of all rows by the first byte of their identifiers, and how many have each.
#[pyfunction]
fn identify_records<'py>(
    py: Python<'py>,
    key: &[u8],
    columns: Vec<GivenColumn>,
    first: u32,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (key, copied) = (session_key(key)?, owned(py, &columns)?);
    let (found, counts) = py
        .allow_threads(|| records(&key, &borrowed(&copied)?, first))
        .map_err(refused)?;
    Ok((
        PyBytes::new(py, &found),
        PyBytes::new(py, &psi::words(&counts)),
    ))
}

/// The records whose identifier stands for the first time; None where all do.
#[pyfunction]
fn distinct_records<'py>(py: Python<'py>, records: &[u8]) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let kept = py.allow_threads(|| once(records)).map_err(refused)?;
    Ok(kept.map(|kept| PyBytes::new(py, &kept)))
}

/// Where each different identifier of 16 bytes first stands, in order.
#[pyfunction]
fn distinct_places<'py>(py: Python<'py>, ids: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let keys = psi::keys_of(ids)?;
    let places = py.allow_threads(|| distinct(keys).places);
    psi::words_out(py, &places)
}

fn borrowed(columns: &[OwnedColumn]) -> Result<Vec<Column<'_>>, Refused> {
    columns
        .iter()
        .map(|(letter, data, offsets)| {
            let values = match offsets {
                Some(offsets) => Values::Bytes(Items::new(data, offsets)?),
                None => match data.as_chunks::<8>() {
                    (numbers, []) => Values::Numbers(numbers),
                    _ => return Err(Refused::Columns),
                },
            };
            Ok(Column {
                letter: *letter,
                values,
            })
        })
        .collect()
}

/// The native kernel of fondaco.
#[pymodule]
fn _kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(blake3_many, module)?)?;
    module.add_function(wrap_pyfunction!(sha256_many, module)?)?;
    module.add_function(wrap_pyfunction!(keyed_ids, module)?)?;
    module.add_function(wrap_pyfunction!(identify, module)?)?;
    module.add_function(wrap_pyfunction!(identify_rows, module)?)?;
    module.add_function(wrap_pyfunction!(distinct_places, module)?)?;
    module.add_function(wrap_pyfunction!(identify_records, module)?)?;
    module.add_function(wrap_pyfunction!(distinct_records, module)?)?;
    module.add_class::<message::MessageReader>()?;
    module.add_class::<psi::PsiParty>()?;
    module.add_class::<psi::DhParty>()?;
    module.add_class::<psi::CountParty>()?;
    module.add_class::<psi::CircuitParty>()?;
    module.add_class::<union::UnionSender>()?;
    module.add_class::<union::UnionReceiver>()?;
    module.add_function(wrap_pyfunction!(star::zero_shares, module)?)?;
    module.add_class::<star::StarMember>()?;
    module.add_class::<star::StarLeader>()?;
    lack::register(module)?;
    unbalanced::register(module)?;
    pir::register(module)?;
    pir_two::register(module)?;
    ledger::register(module)?;
    faults::register(module)
}
