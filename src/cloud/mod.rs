//! Everything that knows a cloud: credentials, endpoints, transport, request budget, and one client per API family.
//! Callers see the domain's words and failures; how a cloud spells them stays in here.

mod address;
pub mod budget;
pub mod credentials;
pub mod endpoint;
mod text;
pub mod transport;
pub mod volcengine;

pub use budget::{Budget, Permit};
pub use credentials::Credentials;
pub use endpoint::{Endpoint, EndpointRule, NotAllowed, Origin, Site, is_region};
pub use transport::{Transport, TransportError, reqwest_transport, service_transport};
pub use volcengine::{
    Accepted, BackupPage, BackupQuery, Client, ClientConfig, InstancePage, PAGE_SIZE_MAX, Scope,
};
