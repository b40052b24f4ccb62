//! The resource that an API path names.

/// All objects of a kind, one object, or its subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Plural; no two API groups here share one.
    pub resource: String,
    /// `None`: cluster-scoped, or all namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Target {
    /// Parses `/api/v1/…` and `/apis/GROUP/VERSION/…`.
    pub fn of(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let prefix = if *parts.first()? == "api" { 2 } else { 3 };
        if parts.len() <= prefix {
            return None;
        }
        parts.drain(..prefix);
        // `namespaces/NAME` alone is the namespace itself.
        let namespace = (parts.len() > 2 && parts[0] == "namespaces").then(|| parts[1].to_owned());
        let mut rest = parts.into_iter().skip(if namespace.is_some() { 2 } else { 0 }).map(str::to_owned);
        Some(Self { resource: rest.next()?, namespace, name: rest.next(), subresource: rest.next() })
    }

    /// Returns plural and subresource as in audit logs, `crossregionbackuppolicies/status`.
    pub fn full_resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        }
    }
}
