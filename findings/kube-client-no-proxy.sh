#!/usr/bin/env bash
# Which hosts the Rust client kube reaches without the environment's proxy.
#
# kube 5.0.0 (kube-client 5.0.0, src/config/file_loader.rs) with feature `http-proxy`, `Config::from_kubeconfig`.
#
# kubectl, as Go's net/http, holds NO_PROXY against the host that is to be reached. kube holds it against the URL of the proxy itself:
# - the API server in NO_PROXY is reached through the proxy all the same;
# - a network in NO_PROXY that the proxy itself is in switches it off for every API server, also where it is the kubeconfig's `proxy-url`;
# - an empty entry, such as a comma at the end leaves, fails the whole configuration, where Go skips it.
# So a client made with kube goes another way than kubectl in the same shell, and through a proxy that was ruled out.
#
# Prints what `proxy_url` becomes in each case, and fails where one differs. Needs Rust 1.95 or later.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
kube = { version = "=5.0.0", default-features = false, features = ["client", "http-proxy"] }
k8s-openapi = { version = "0.29", features = ["v1_33"] }
tokio = { version = "1", features = ["rt", "macros"] }
TOML
cat >src/main.rs <<'RUST'
use kube::config::{Config, KubeConfigOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(config) => println!("{}", config.proxy_url.map_or("direct".to_owned(), |url| url.to_string())),
        Err(_) => println!("error"),
    }
}
RUST
kubeconfig() { # kubeconfig NAME [PROXY_URL]
	cat >"$1" <<YAML
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://kube.example:6443"${2:+, proxy-url: "$2"}}}]
users: [{name: u, user: {token: t}}]
YAML
}
kubeconfig plain
kubeconfig own http://192.0.2.1:3128
cargo build --quiet
wrong=0
while IFS='|' read -r file no_proxy wanted; do
	found=$(env -u no_proxy -u https_proxy -u HTTP_PROXY -u http_proxy -u ALL_PROXY -u all_proxy KUBECONFIG="$file" \
		HTTPS_PROXY=http://192.0.2.1:3128 NO_PROXY="$no_proxy" target/debug/finding)
	printf '%-6s NO_PROXY=%-22s proxy_url: %s\n' "$file" "$no_proxy" "$found"
	[ "$found" = "$wanted" ] || wrong=$((wrong + 1))
done <<'CASES'
plain|other.example|http://192.0.2.1:3128/
plain|kube.example|http://192.0.2.1:3128/
plain|192.0.2.0/24|direct
own|192.0.2.0/24|direct
plain|other.example,|error
CASES
if [ "$wrong" -gt 0 ]; then
	echo "$wrong differ from what was seen"
	exit 1
fi
