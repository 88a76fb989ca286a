//! `tidegate demo`: Bookinfo's canary in one process, with live back ends and traffic of its own.

pub(crate) mod reviews;
pub(crate) mod service;
