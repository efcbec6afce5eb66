//! The one map from the kernel's faults to Python's exceptions.

use fondaco_kernel::protocol::Fault;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

create_exception!(_kernel, ProtocolFault, PyException);
create_exception!(_kernel, Malformed, ProtocolFault);
create_exception!(_kernel, Cheated, ProtocolFault);
create_exception!(_kernel, OutOfTurn, ProtocolFault);
create_exception!(_kernel, Unlucky, ProtocolFault);

/// The exception of a fault; what is wrong with our own input, or does not fit the peer's, is a `ValueError`.
pub fn raised(fault: Fault) -> PyErr {
    let said = fault.to_string();
    match fault {
        Fault::Malformed { .. } | Fault::Excessive { .. } => Malformed::new_err(said),
        Fault::Cheated { .. } => Cheated::new_err(said),
        Fault::OutOfTurn => OutOfTurn::new_err(said),
        Fault::Input { .. } | Fault::Differ { .. } => PyValueError::new_err(said),
        Fault::Unlucky { .. } => Unlucky::new_err(said),
    }
}

/// Add the exceptions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("ProtocolFault", py.get_type::<ProtocolFault>())?;
    module.add("Malformed", py.get_type::<Malformed>())?;
    module.add("Cheated", py.get_type::<Cheated>())?;
    module.add("OutOfTurn", py.get_type::<OutOfTurn>())?;
    module.add("Unlucky", py.get_type::<Unlucky>())
}
