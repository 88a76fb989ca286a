//! Configuration, from YAML text to a runtime model that holds no invalid state.
//!
//! Text becomes [`document`] nodes that know their line, nodes become typed [`resource`]s with Istio's own field names,
//! and [`resolve`] turns all resources of a folder into the [`model`], which speaks Envoy's vocabulary (listeners, virtual
//! hosts, routes, clusters, endpoints) and knows nothing of custom resources. Whatever is wrong on the way is a
//! [`diagnostic`], and all of them are reported. No clock, no socket, no thread in this crate.

pub mod analyze;
pub mod decode;
pub mod diagnostic;
pub mod document;
pub mod file;
pub mod model;
pub mod name;
pub mod origin;
pub mod resolve;
pub mod resource;
pub mod validate;
