//! Protobuf's outer form for Python, both ways.

use fondaco_kernel::ledger_proto::{fields, frames, Held};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

fn malformed(why: fondaco_kernel::ledger_proto::Malformed) -> PyErr {
    PyValueError::new_err(why.to_string())
}

/// The fields of a message in their order: (number, wire type, integer or bytes).
#[pyfunction]
pub fn proto_fields<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyList>> {
    let found = PyList::empty(py);
    for (number, held) in fields(data).map_err(malformed)? {
        found.append(match held {
            Held::Varint(value) => (number, 0, value).into_pyobject(py)?,
            Held::Fixed64(value) => (number, 1, PyBytes::new(py, value)).into_pyobject(py)?,
            Held::Bytes(value) => (number, 2, PyBytes::new(py, value)).into_pyobject(py)?,
        })?;
    }
    Ok(found)
}

/// The whole length-delimited messages at the front, and how many bytes they take.
#[pyfunction]
pub fn proto_frames<'py>(
    py: Python<'py>,
    data: &[u8],
    limit: u64,
) -> PyResult<(Bound<'py, PyList>, usize)> {
    let (found, used) = frames(data, limit).map_err(malformed)?;
    let list = PyList::empty(py);
    for frame in found {
        list.append(PyBytes::new(py, frame))?;
    }
    Ok((list, used))
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7F {
        out.push(number as u8 & 0x7F | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A repeated length-delimited field: each item with the field's tag and its length.
#[pyfunction]
pub fn proto_repeated<'py>(
    py: Python<'py>,
    number: u32,
    items: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::new();
    for item in items.iter() {
        let item = item.downcast_into::<PyBytes>()?;
        varint(&mut out, u64::from(number) << 3 | 2);
        varint(&mut out, item.as_bytes().len() as u64);
        out.extend_from_slice(item.as_bytes());
    }
    Ok(PyBytes::new(py, &out))
}
