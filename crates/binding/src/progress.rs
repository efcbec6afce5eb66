//! Long work that tells Python how far it is.

use std::sync::Mutex;

use fondaco_kernel::pir::progress::Watch;
use pyo3::prelude::*;

/// Do the work without the interpreter's lock; `progress`, if any, is called with what, done and whole.
///
/// # Errors
/// The first one that `progress` raised; the work is done all the same, and lost.
pub fn watched<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(Watch<'_>) -> T + Send,
) -> PyResult<T> {
    let broken: Mutex<Option<PyErr>> = Mutex::new(None);
    let tell = |what: &'static str, done: usize, whole: usize| {
        let Some(progress) = &progress else { return };
        let told = Python::with_gil(|py| progress.call1(py, (what, done, whole)).map(drop));
        if let (Err(fault), Ok(mut broken)) = (told, broken.lock()) {
            broken.get_or_insert(fault);
        }
    };
    let made = py.allow_threads(|| work(&tell));
    match broken.into_inner() {
        Ok(Some(fault)) => Err(fault),
        _ => Ok(made),
    }
}
