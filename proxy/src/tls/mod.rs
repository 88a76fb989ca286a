//! TLS: certificates and what is verified of those of others, what a listener's servers serve with, and how back ends are
//! spoken to. Records and handshakes are rustls's; sockets are in [`crate::net`], what is on control's side in
//! [`crate::control`].

mod certificate;
mod client;
mod forwarded;
mod names;
mod provider;
mod server;
mod server_names;
mod verify;

pub(crate) use certificate::{Authorities, Certificate, RevocationLists};
pub(crate) use client::{BackEndTls, Ingredients, Offer};
pub(crate) use forwarded::client_certificate_field;
pub(crate) use names::Facts;
pub(crate) use provider::provider;
pub(crate) use server::{Chain, Chains, Policies, ServerSetup, Trust, asked};
