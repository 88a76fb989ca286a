//! The program as a whole: what it starts in which order, what signals mean, and how it ends.
//!
//! [`run`] is the program `tidegate gateway`, [`Gateway::start`] the same inside another one, such as the demo: without signals
//! and without a log of its own.

mod activation;
mod gateway;
mod limits;
mod log;
mod options;
mod replace;
mod run;
mod summary;
#[cfg(test)]
mod tests;

pub use gateway::{Gateway, Order, StartError};
pub use log::{Levels, Log};
pub use options::GatewayOptions;
pub use run::run;
