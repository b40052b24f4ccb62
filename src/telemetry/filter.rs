//! Log filter (`--log-level`).

use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Target of this crate; the binary has the same name.
const OWN_TARGET: &str = "cross_region_backup_operator";
const DEFAULT_LEVEL: LevelFilter = LevelFilter::INFO;

/// Targets of kube that are off by default. They log each failed request, without naming request or object, and in full
/// each response that could not be parsed; the operator logs each change of state itself.
const OFF_BY_DEFAULT: [&str; 2] = ["kube_client::client", "kube_runtime"];
/// Exception to `OFF_BY_DEFAULT`: nothing else reports that a certificate authority could not be reloaded.
const TLS_DIRECTIVE: &str = "kube_client::client::tls=warn";

/// Validated log filter: comma-separated directives of tracing-subscriber's EnvFilter. A bare level applies to the
/// operator; other crates stay at warn unless named, and kube's requests and watches are off unless named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    directives: String,
}

impl Filter {
    pub(super) fn build(&self) -> EnvFilter {
        // `parse_lossy` drops nothing here: `from_str` has rejected invalid directives.
        EnvFilter::builder().parse_lossy(&self.directives)
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut own = None;
        let mut named = Vec::new();
        let directives = text.split(',').map(str::trim).filter(|d| !d.is_empty());
        for directive in directives {
            if directive.contains(['=', '[']) {
                EnvFilter::builder().parse(directive).map_err(|error| format!("`{directive}`: {error}"))?;
                named.push(directive);
                continue;
            }
            // EnvFilter would take any other word for a crate that is logged at every level.
            let level = directive.parse::<LevelFilter>().map_err(|_| {
                format!(
                    "`{directive}` is not one of off, error, warn, info, debug, trace, nor CRATE=LEVEL such as kube=debug"
                )
            })?;
            if own.replace(level).is_some() {
                return Err("has more than one bare level".to_owned());
            }
        }
        if own.is_none() && named.is_empty() {
            return Err("is empty".to_owned());
        }
        // Named directives come last: of two for the same target the later one wins.
        let mut directives = vec![format!("warn,{OWN_TARGET}={}", own.unwrap_or(DEFAULT_LEVEL))];
        for target in OFF_BY_DEFAULT {
            // In EnvFilter a directive applies to all targets that begin with its own.
            let is_named = |directive: &&str| {
                let of = directive.split(['=', '[']).next().unwrap_or_default();
                !of.is_empty() && target.starts_with(of)
            };
            if !named.iter().any(is_named) {
                directives.push(format!("{target}=off"));
            }
        }
        directives.push(TLS_DIRECTIVE.to_owned());
        directives.extend(named.into_iter().map(str::to_owned));
        Ok(Self { directives: directives.join(",") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_what_is_not_said() {
        let directives = |text: &str| text.parse::<Filter>().unwrap().directives;
        let silenced = "kube_client::client=off,kube_runtime=off,kube_client::client::tls=warn";
        assert_eq!(directives("debug"), format!("warn,cross_region_backup_operator=debug,{silenced}"));
        let heard = "kube_client::client::tls=warn";
        assert_eq!(
            directives(" kube=trace , "),
            format!("warn,cross_region_backup_operator=info,{heard},kube=trace")
        );
        assert_eq!(
            directives("off,kube_runtime=info"),
            format!(
                "warn,cross_region_backup_operator=off,kube_client::client=off,{heard},kube_runtime=info"
            )
        );
        assert_eq!(
            directives("kube_client::client::builder=error"),
            format!("warn,cross_region_backup_operator=info,{silenced},kube_client::client::builder=error")
        );
    }

    #[test]
    fn refuses_what_would_be_taken_for_something_else() {
        let error = |text: &str| text.parse::<Filter>().unwrap_err();
        assert!(error("verbose").contains("`verbose` is not one of"));
        assert!(error("kube").contains("kube=debug"));
        assert!(error("kube=loud").contains("`kube=loud`"));
        assert!(error("info,debug").contains("more than one"));
        assert!(error("").contains("empty"));
        assert!(error(" , ").contains("empty"));
    }
}
