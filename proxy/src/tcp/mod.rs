//! Connections that are not read as HTTP: where they go is decided once, then bytes go both ways until both sides have ended.
//! Start at [`prepare`].

mod direction;
mod relay;
mod serve;
mod session;
mod side;

pub(crate) use serve::{Opening, Prepared, prepare};
