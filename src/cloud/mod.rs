//! Everything that knows a cloud: credentials, endpoints, transport, request budget, and one client per API family.
//! Callers see the domain's words and failures; how a cloud spells them stays in here.

mod address;
pub mod budget;
mod client;
pub mod credentials;
mod digest;
pub mod endpoint;
mod exchange;
mod json;
mod listing;
mod page;
mod tencent;
mod text;
pub mod transport;
mod volcengine;

#[cfg(test)]
mod fake;

pub use budget::{Budget, Permit};
pub use client::{Client, ClientConfig};
pub use credentials::Credentials;
pub use endpoint::{Endpoint, EndpointRule, NotAllowed, Origin, Site, is_region};
pub use listing::{Listing, Next, PageRequest, Selection, Step};
pub use page::{BackupPage, InstancePage, Pages};
pub use transport::{Transport, TransportError, reqwest_transport, service_transport};
pub use volcengine::Accepted;
