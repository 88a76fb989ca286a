//! The engine seen from outside: tables of what it takes and refuses, and properties that any bytes have, held to a second
//! reader of HTTP/1.1 that was written from the RFC alone. Source: PROMISES.md, sections 2 and 3.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test ends where it can't go on")]

mod bodies;
mod check;
mod edits;
mod engine;
mod flow;
mod properties;
mod requests;
mod responses;
mod strict;
