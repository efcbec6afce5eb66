//! The canonical encoding of Python's values: what `fondaco.core.codec` and `fondaco.core.messages` write.
//!
//! One walk that checks and writes. Types are exact, as the codec demands: no subclass, no float. A message is a map of
//! its fields, whose names come sorted from the caller; a tuple stands for a list inside messages alone. It holds the
//! GIL, since it reads Python's objects, and recursion is bounded by the depth that is allowed.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const NEGATIVE: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const LIST: u8 = 4;
pub(crate) const MAP: u8 = 5;
const FALSE: u8 = 0xF4;
const TRUE: u8 = 0xF5;
const NULL: u8 = 0xF6;

fn refuse(why: impl Into<String>) -> PyErr {
    PyValueError::new_err(why.into())
}

/// The shortest head of a major type and its argument.
fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    if argument < 24 {
        out.push(major | argument as u8);
    } else if argument <= u64::from(u8::MAX) {
        out.extend_from_slice(&[major | 24, argument as u8]);
    } else if argument <= u64::from(u16::MAX) {
        out.push(major | 25);
        out.extend_from_slice(&(argument as u16).to_be_bytes());
    } else if argument <= u64::from(u32::MAX) {
        out.push(major | 26);
        out.extend_from_slice(&(argument as u32).to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend_from_slice(&argument.to_be_bytes());
    }
}

fn text<'a>(value: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    value
        .to_str()
        .map_err(|why| refuse(format!("value has no canonical form ({why})")))
}

struct Writer<'a, 'py> {
    out: Vec<u8>,
    deepest: usize,
    messages: Option<&'a Bound<'py, PyDict>>,
}

impl Writer<'_, '_> {
    fn string(&mut self, value: &str) {
        head(&mut self.out, TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    fn integer(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let number: i64 = value
            .extract()
            .map_err(|_| refuse("integer does not fit in 64 signed bits"))?;
        if number < 0 {
            head(&mut self.out, NEGATIVE, !(number as u64));
        } else {
            head(&mut self.out, UNSIGNED, number as u64);
        }
        Ok(())
    }

    fn map(&mut self, value: &Bound<'_, PyDict>, depth: usize) -> PyResult<()> {
        let mut held = Vec::with_capacity(value.len());
        for (key, item) in value.iter() {
            let key = key
                .downcast_into_exact::<PyString>()
                .map_err(|_| refuse("map key is not text"))?;
            held.push((key, item));
        }
        let mut pairs = Vec::with_capacity(held.len());
        for (key, item) in &held {
            pairs.push((text(key)?, item));
        }
        let order = |(one, _): &(&str, _), (other, _): &(&str, _)| {
            (one.len(), one.as_bytes()).cmp(&(other.len(), other.as_bytes()))
        };
        if !pairs.is_sorted_by(|one, other| order(one, other).is_lt()) {
            pairs.sort_unstable_by(order);
        }
        head(&mut self.out, MAP, pairs.len() as u64);
        for (key, item) in pairs {
            self.string(key);
            self.value(item, depth + 1)?;
        }
        Ok(())
    }

    fn sequence<'b>(
        &mut self,
        size: usize,
        items: impl Iterator<Item = Bound<'b, PyAny>>,
        depth: usize,
    ) -> PyResult<()> {
        head(&mut self.out, LIST, size as u64);
        for item in items {
            self.value(&item, depth + 1)?;
        }
        Ok(())
    }

    /// Whether it was a message, which is written then.
    fn message(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<bool> {
        let Some(messages) = self.messages else {
            return Ok(false);
        };
        let Some(fields) = messages.get_item(value.get_type())? else {
            return Ok(false);
        };
        let fields = fields.downcast_into::<PyTuple>()?;
        head(&mut self.out, MAP, fields.len() as u64);
        for name in fields.iter() {
            let name = name.downcast_into::<PyString>()?;
            self.string(text(&name)?);
            self.value(&value.getattr(&name)?, depth + 1)?;
        }
        Ok(true)
    }

    fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
        if depth > self.deepest {
            return Err(refuse(format!(
                "value is nested deeper than {}",
                self.deepest
            )));
        }
        if let Ok(found) = value.downcast_exact::<PyBytes>() {
            let found = found.as_bytes();
            head(&mut self.out, BYTES, found.len() as u64);
            self.out.extend_from_slice(found);
        } else if let Ok(found) = value.downcast_exact::<PyString>() {
            let found = text(found)?;
            self.string(found);
        } else if let Ok(found) = value.downcast_exact::<PyBool>() {
            self.out.push(if found.is_true() { TRUE } else { FALSE });
        } else if value.is_exact_instance_of::<PyInt>() {
            self.integer(value)?;
        } else if value.is_none() {
            self.out.push(NULL);
        } else if let Ok(found) = value.downcast_exact::<PyDict>() {
            self.map(found, depth)?;
        } else if let Ok(found) = value.downcast_exact::<PyList>() {
            self.sequence(found.len(), found.iter(), depth)?;
        } else if let (Some(_), Ok(found)) = (self.messages, value.downcast_exact::<PyTuple>()) {
            self.sequence(found.len(), found.iter(), depth)?;
        } else if !self.message(value, depth)? {
            let kind = value.get_type();
            return Err(refuse(format!("a {} has no canonical form", kind.name()?)));
        }
        Ok(())
    }
}

/// The canonical bytes of a value nested at most `deepest`; with `messages` (class -> its fields' names in canonical
/// order), of messages and tuples too.
#[pyfunction]
#[pyo3(signature = (value, deepest, messages=None))]
pub fn encode_canonical<'py>(
    py: Python<'py>,
    value: &Bound<'py, PyAny>,
    deepest: usize,
    messages: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut writer = Writer {
        out: Vec::with_capacity(256),
        deepest,
        messages,
    };
    writer.value(value, 0)?;
    Ok(PyBytes::new(py, &writer.out))
}
