//! The compiled routing table: where a request goes, and why. Rules are Istio's (first match wins, in the order of the
//! model); the index inside only finds the first match faster. Chance is an argument, so that traffic, the offline
//! explanation and the tests all ask the same functions. Start at [`Table::decide`].
//!
//! Around the table stand the pure parts of an exchange: [`normalize`] makes paths comparable, [`authority`] reads a Host,
//! [`split`] turns a draw into a destination, [`redirect`] and [`rewrite`] work out the new URL, [`headers`] changes a head,
//! [`tcp`] is the table's answer for connections, [`fault`], [`cors`] and [`mirror`] say what a route's policies ask for, and
//! [`grpc`] has the words for clients that speak it.

pub mod authority;
pub mod conditions;
pub mod cors;
pub mod explain;
pub mod fault;
pub mod grpc;
pub mod headers;
mod hosts;
pub mod mirror;
pub mod normalize;
pub mod redirect;
pub mod rewrite;
mod rules;
pub mod split;
mod table;
pub mod tcp;
mod trie;
mod words;

pub use conditions::RequestHead;
pub use table::{
    ActionEntry, Decision, DestinationEntry, DestinationIndex, RouteEntry, RouteIndex, SplitIndex, Table,
    VirtualHostEntry,
};
