//! Everything cloud-specific: credentials, endpoints, transport, request budget, one client per API family, and one for
//! STS. Callers see the domain's types and failures; provider spellings stay in this module.

mod address;
pub mod budget;
mod caller;
mod client;
pub mod credentials;
mod digest;
pub mod endpoint;
mod exchange;
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

pub use budget::{Budget, Permit, Ticket};
pub use caller::{Caller, Check, Lane};
pub use client::{Client, ClientConfig};
pub use credentials::{Credentials, IdentityToken, Proof};
pub use endpoint::{Endpoint, EndpointRule, NotAllowed, Origin, Site, StsEndpoint, is_region};
pub use exchange::{NOT_SENT, is_not_sent};
pub use listing::{Listing, Next, PageRequest, Selection, Step};
pub use outages::{Outages, Reachability};
pub use page::{Answers, BackupPage, InstancePage, PAGES_AT_ONCE, Pages, SizeLimits};
pub use proxies::Proxies;
pub use send_guard::{Progress, SendGuard};
pub use sts::{Issued, RoleRequest, Sts, StsConfig};
pub use transport::{Sent, Transport, TransportError, reading_alone, reqwest_transport, service_transport};
pub use volcengine::Accepted;
