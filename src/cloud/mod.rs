//! Everything cloud-specific: credentials, endpoints, transport, request budget, one client per API family, and one for
//! STS. Callers see the domain's types and failures; provider spellings stay in this module.

mod address;
mod api_client;
pub mod budget;
mod call_context;
mod client;
pub mod credentials;
mod digest;
pub mod endpoint;
mod json;
mod listing;
mod outages;
mod page;
mod proxies;
mod send_guard;
mod sts;
mod tencent;
mod text;
pub mod transport;
mod volcengine;

#[cfg(test)]
mod fake;

pub use api_client::{INVALID_REQUEST, is_invalid_request};
pub use budget::{Budget, Permit, Waiter};
pub use call_context::{CallContext, PreSendCheck, Priority};
pub use client::{Client, ClientConfig};
pub use credentials::{Credentials, IdentityToken, Proof};
pub use endpoint::{Endpoint, EndpointRule, NotAllowed, Origin, Site, StsEndpoint, is_region};
pub use listing::{Listing, ListingProgress, ListingStep, PageRequest, Selection};
pub use outages::{Outages, Reachability};
pub use page::{BackupPage, InstancePage, MAX_CONCURRENT_PAGES, PageBuffer, PageCursor, SizeLimits};
pub use proxies::Proxies;
pub use send_guard::{SendGuard, SendProgress};
pub use sts::{RoleRequest, Sts, StsConfig, TemporaryCredentials};
pub use transport::{
    RequestCounts, Transport, TransportError, read_only_transport, reqwest_transport, service_transport,
};
pub use volcengine::Accepted;
