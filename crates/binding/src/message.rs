//! Messages read from canonical bytes in one pass: what `fondaco.core.messages` reads, checked and built at once.
//!
//! A reader says nothing of bytes that are not such a message, whatever is wrong with them: the caller reads those at
//! length, to say why. What it does read is what the general decoder gives, field by field, of the same types. Trusts
//! nothing: depth and number of items are bounded, and nothing is allocated that the bytes do not pay for.

#![allow(
    unsafe_code,
    reason = "a frozen dataclass refuses setattr, and calling its __init__ is most of what reading a message costs; two \
              functions of Python's stable interface make an instance and fill its slots"
)]

use crate::value::{BYTES, LIST, MAP, NEGATIVE, TEXT, UNSIGNED};
use fondaco_kernel::ledger_canonical::Reader;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyString, PyTuple, PyType};

const SIMPLE: u8 = 7;
const FALSE: u8 = 20;
const TRUE: u8 = 21;
const NULL: u8 = 22;

/// What a field may hold.
enum Shape {
    Anything,
    Integer,
    Boolean,
    Bytes,
    Text,
    Optional(Box<Shape>),
    Sequence(Box<Shape>),
    Mapping(Box<Shape>),
    Message(Message),
}

/// A class and its fields in canonical order.
struct Message {
    class: Py<PyType>,
    fields: Vec<(String, Py<PyString>, Shape)>,
}

impl Shape {
    /// From `"int"`, `"bool"`, `"bytes"`, `"str"`, `"any"`; `("optional" | "tuple" | "dict", shape)`; or a message.
    fn of(told: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(name) = told.downcast::<PyString>() {
            return match name.to_str()? {
                "any" => Ok(Self::Anything),
                "int" => Ok(Self::Integer),
                "bool" => Ok(Self::Boolean),
                "bytes" => Ok(Self::Bytes),
                "str" => Ok(Self::Text),
                other => Err(PyValueError::new_err(format!("no shape is called {other}"))),
            };
        }
        let (head, inner): (Bound<'_, PyAny>, Bound<'_, PyAny>) = told.extract()?;
        if head.is_instance_of::<PyType>() {
            return Message::of(&head, &inner).map(Self::Message);
        }
        let inner = Box::new(Self::of(&inner)?);
        match head.extract::<String>()?.as_str() {
            "optional" => Ok(Self::Optional(inner)),
            "tuple" => Ok(Self::Sequence(inner)),
            "dict" => Ok(Self::Mapping(inner)),
            other => Err(PyValueError::new_err(format!("no shape is called {other}"))),
        }
    }
}

impl Message {
    fn of(class: &Bound<'_, PyAny>, fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        let class = class.downcast::<PyType>()?.clone();
        // Its instances have slots and nothing else, and nothing that __init__ would do besides filling them.
        if !class.hasattr("__dataclass_fields__")?
            || class.hasattr("__post_init__")?
            || class.getattr("__dictoffset__")?.extract::<isize>()? != 0
        {
            return Err(PyTypeError::new_err(
                "only a dataclass with slots alone can be read",
            ));
        }
        let fields = fields
            .downcast::<PyTuple>()?
            .iter()
            .map(|field| {
                let (name, shape): (Bound<'_, PyString>, Bound<'_, PyAny>) = field.extract()?;
                let text = name.to_str()?.to_owned();
                Ok((text, name.unbind(), Shape::of(&shape)?))
            })
            .collect::<PyResult<_>>()?;
        Ok(Self {
            class: class.unbind(),
            fields,
        })
    }
}

/// One message being read. `None` anywhere: these bytes are no such message.
struct Reading<'a, 'py> {
    py: Python<'py>,
    reader: Reader<'a>,
    deepest: usize,
    items: u64,
}

type Found<'py> = PyResult<Option<Bound<'py, PyAny>>>;

/// Leave with `None` unless there is one.
macro_rules! some {
    ($found:expr) => {
        match $found {
            Some(found) => found,
            None => return Ok(None),
        }
    };
}

impl<'a, 'py> Reading<'a, 'py> {
    fn head(&mut self) -> Option<(u8, u8, u64)> {
        self.reader.head().ok()
    }

    fn text(&mut self, size: u64) -> Option<&'a str> {
        std::str::from_utf8(self.reader.take(size).ok()?).ok()
    }

    /// Pay for so many items of a list or a map that is `depth` deep.
    fn pay(&mut self, items: u64, depth: usize) -> Option<()> {
        if items > self.reader.left() || depth > self.deepest {
            return None;
        }
        self.items = self.items.checked_sub(items)?;
        Some(())
    }

    fn integer(&self, major: u8, argument: u64) -> Option<Bound<'py, PyAny>> {
        let number = i64::try_from(argument).ok()?;
        let number = match major {
            UNSIGNED => number,
            NEGATIVE => !number,
            _ => return None,
        };
        let Ok(made) = number.into_pyobject(self.py);
        Some(made.into_any())
    }

    fn boolean(&self, major: u8, low: u8) -> Option<Bound<'py, PyAny>> {
        let known = major == SIMPLE && (low == FALSE || low == TRUE);
        known.then(|| PyBool::new(self.py, low == TRUE).to_owned().into_any())
    }

    fn value(&mut self, shape: &Shape, depth: usize) -> Found<'py> {
        let (major, low, argument) = some!(self.head());
        self.headed(shape, depth, (major, low, argument))
    }

    fn headed(&mut self, shape: &Shape, depth: usize, head: (u8, u8, u64)) -> Found<'py> {
        let (major, low, argument) = head;
        Ok(match shape {
            Shape::Integer => self.integer(major, argument),
            Shape::Boolean => self.boolean(major, low),
            Shape::Bytes if major == BYTES => {
                let found = self.reader.take(argument).ok();
                found.map(|found| PyBytes::new(self.py, found).into_any())
            }
            Shape::Text if major == TEXT => {
                let found = self.text(argument);
                found.map(|found| PyString::new(self.py, found).into_any())
            }
            Shape::Optional(_) if (major, low) == (SIMPLE, NULL) => {
                Some(self.py.None().into_bound(self.py))
            }
            Shape::Optional(inner) => return self.headed(inner, depth, head),
            Shape::Sequence(inner) if major == LIST => {
                let found = some!(self.list(inner, argument, depth)?);
                Some(PyTuple::new(self.py, found)?.into_any())
            }
            Shape::Mapping(inner) if major == MAP => return self.map(inner, argument, depth),
            Shape::Message(message) if major == MAP => {
                return self.message(message, argument, depth)
            }
            Shape::Anything => return self.anything(depth, head),
            _ => None,
        })
    }

    fn anything(&mut self, depth: usize, head: (u8, u8, u64)) -> Found<'py> {
        let (major, low, argument) = head;
        match major {
            UNSIGNED | NEGATIVE => Ok(self.integer(major, argument)),
            BYTES => self.headed(&Shape::Bytes, depth, head),
            TEXT => self.headed(&Shape::Text, depth, head),
            LIST => {
                let found = some!(self.list(&Shape::Anything, argument, depth)?);
                Ok(Some(PyList::new(self.py, found)?.into_any()))
            }
            MAP => self.map(&Shape::Anything, argument, depth),
            _ if (major, low) == (SIMPLE, NULL) => Ok(Some(self.py.None().into_bound(self.py))),
            _ => Ok(self.boolean(major, low)),
        }
    }

    fn list(
        &mut self,
        inner: &Shape,
        count: u64,
        depth: usize,
    ) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
        some!(self.pay(count, depth + 1));
        let mut found = Vec::with_capacity(usize::try_from(count)?);
        for _ in 0..count {
            found.push(some!(self.value(inner, depth + 1)?));
        }
        Ok(Some(found))
    }

    fn map(&mut self, inner: &Shape, count: u64, depth: usize) -> Found<'py> {
        some!(count
            .checked_mul(2)
            .and_then(|items| self.pay(items, depth + 1)));
        let made = PyDict::new(self.py);
        let mut last: Option<&str> = None;
        for _ in 0..count {
            let (major, _, size) = some!(self.head());
            if major != TEXT {
                return Ok(None);
            }
            let key = some!(self.text(size));
            if last.is_some_and(|last| (last.len(), last) >= (key.len(), key)) {
                return Ok(None);
            }
            last = Some(key);
            let item = some!(self.value(inner, depth + 1)?);
            made.set_item(key, item)?;
        }
        Ok(Some(made.into_any()))
    }

    fn message(&mut self, message: &Message, count: u64, depth: usize) -> Found<'py> {
        if count != message.fields.len() as u64 {
            return Ok(None);
        }
        some!(self.pay(2 * count, depth + 1));
        let made = made(message.class.bind(self.py))?;
        for (name, slot, shape) in &message.fields {
            let (major, _, size) = some!(self.head());
            if major != TEXT || some!(self.reader.take(size).ok()) != name.as_bytes() {
                return Ok(None);
            }
            let item = some!(self.value(shape, depth + 1)?);
            fill(&made, slot.bind(self.py), &item)?;
        }
        Ok(Some(made))
    }
}

/// A new instance of a class, with nothing in it.
fn made<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the pointer is that of a living type; what comes back is a reference that is ours, or null with an error
    // set, which is what `from_owned_ptr_or_err` takes.
    unsafe {
        Bound::from_owned_ptr_or_err(class.py(), ffi::PyType_GenericAlloc(class.as_type_ptr(), 0))
    }
}

/// Put a value into a slot of an instance that nobody else has seen.
fn fill(
    made: &Bound<'_, PyAny>,
    slot: &Bound<'_, PyString>,
    item: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: three living objects; the function takes references of its own to what it keeps.
    let done = unsafe { ffi::PyObject_GenericSetAttr(made.as_ptr(), slot.as_ptr(), item.as_ptr()) };
    if done == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(made.py()))
    }
}

/// Reads messages of one class, and alters them.
#[pyclass(frozen)]
pub struct MessageReader {
    shape: Message,
}

impl MessageReader {
    /// A message of these values of its fields, in canonical order, whose types nobody looks at.
    pub fn build<'py>(
        &self,
        py: Python<'py>,
        values: &[&Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyAny>> {
        if values.len() != self.shape.fields.len() {
            return Err(PyTypeError::new_err(
                "a message has its fields and no others",
            ));
        }
        let made = made(self.shape.class.bind(py))?;
        for ((_, slot, _), value) in self.shape.fields.iter().zip(values) {
            fill(&made, slot.bind(py), value)?;
        }
        Ok(made)
    }
}

#[pymethods]
impl MessageReader {
    /// For a class (a frozen dataclass with slots) and its fields, `(name, shape)` each, in canonical order.
    #[new]
    fn new(class: &Bound<'_, PyAny>, fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            shape: Message::of(class, fields)?,
        })
    }

    /// The message in canonical `data`, nested at most `depth` and of at most `items` items; None if it is none.
    fn read<'py>(&self, py: Python<'py>, data: &[u8], depth: usize, items: u64) -> Found<'py> {
        let mut reading = Reading {
            py,
            reader: Reader::new(data),
            deepest: depth,
            items,
        };
        let (major, _, count) = some!(reading.head());
        if major != MAP {
            return Ok(None);
        }
        let found = reading.message(&self.shape, count, 0)?;
        Ok(found.filter(|_| reading.reader.left() == 0))
    }

    /// A message like this one of the class, but for the fields in `changes`; `TypeError` for a field that is none.
    fn altered<'py>(
        &self,
        message: &Bound<'py, PyAny>,
        changes: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        let class = self.shape.class.bind(py);
        if !message.get_type().is(class) {
            return Err(PyTypeError::new_err("a message of another class"));
        }
        let made = made(class)?;
        let mut used = 0;
        for (_, slot, _) in &self.shape.fields {
            let slot = slot.bind(py);
            match changes.get_item(slot)? {
                Some(item) => {
                    used += 1;
                    fill(&made, slot, &item)?;
                }
                None => fill(&made, slot, &message.getattr(slot)?)?,
            }
        }
        if used != changes.len() {
            return Err(PyTypeError::new_err(
                "a message has its fields and no others",
            ));
        }
        Ok(made)
    }
}
