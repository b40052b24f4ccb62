//! Flags of `status`, named as in kubectl if kubectl has them too.

use clap::{Args, ValueEnum};

use super::source::ClusterArgs;
use super::values;

#[derive(Clone, Debug, Args)]
pub struct Status {
    /// The policy; without NAMESPACE/ it is looked for in --namespace
    #[arg(value_name = "NAMESPACE/NAME", value_parser = name)]
    pub policy: PolicyName,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// What is printed: words for a person, or the same as JSON
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// Name of a policy, with its namespace if it was given as `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyName {
    pub namespace: Option<String>,
    pub name: String,
}

fn name(text: &str) -> Result<PolicyName, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(values::namespace(namespace)?), name),
        None => (None, text),
    };
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    // The name becomes part of the request's path.
    let is_name = (1..=253).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_name {
        Ok(PolicyName { namespace, name: name.to_owned() })
    } else {
        Err("must be NAMESPACE/NAME, or NAME, of a CrossRegionBackupPolicy".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_namespace_or_none() {
        let of = |namespace: Option<&str>, name: &str| {
            Ok(PolicyName { namespace: namespace.map(str::to_owned), name: name.to_owned() })
        };
        assert_eq!(name("payments/sessions"), of(Some("payments"), "sessions"));
        assert_eq!(name("sessions.v2"), of(None, "sessions.v2"));
        for bad in
            ["", "/", "a/", "/a", "a/b/c", "A/b", "a/B", "a/../b", "..", "a b", "a/b?x", &"a".repeat(254)]
        {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
