use super::*;
use proptest::prelude::*;

fn rule(entries: &[&str]) -> EndpointRule {
    EndpointRule::new(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn url(rule: &EndpointRule, site: Site, endpoint: &str, region: &str) -> Option<String> {
    let endpoint = rule.endpoint(site, Some(endpoint)).ok()?;
    endpoint.url(region).ok().map(|o| o.to_string())
}

#[test]
fn without_an_override_each_region_has_the_sites_host() {
    let cases = [
        (Site::Volcengine, "cn-beijing", "https://redis.cn-beijing.volcengineapi.com"),
        (Site::BytePlus, "ap-southeast-1", "https://redis.ap-southeast-1.byteplusapi.com"),
        (Site::Tencent, "ap-guangzhou", "https://redis.tencentcloudapi.com"),
        (Site::TencentInternational, "ap-singapore", "https://redis.intl.tencentcloudapi.com"),
        (Site::Tencent, "ap-shanghai-fsi", "https://redis.ap-shanghai-fsi.tencentcloudapi.com"),
        (Site::TencentInternational, "ap-shanghai-fsi", "https://redis.ap-shanghai-fsi.tencentcloudapi.com"),
        (Site::Tencent, "ap-fsi-1", "https://redis.tencentcloudapi.com"),
    ];
    for (site, region, expected) in cases {
        let origin = rule(&[]).endpoint(site, None).unwrap().url(region).unwrap();
        assert_eq!(origin.to_string(), expected);
    }
}

#[test]
fn the_providers_domains_are_allowed_over_https_on_their_port_alone() {
    let allowed = [
        (Site::Volcengine, "https://open.volcengineapi.com"),
        (Site::Volcengine, "https://redis.volcengineapi.com"),
        (Site::Volcengine, "https://redis.{region}.volcengineapi.com"),
        (Site::Volcengine, "https://redis.{region}.volcengine-api.com"),
        (Site::Volcengine, "https://redis-{region}.volcengineapi.com"),
        (Site::BytePlus, "https://open.byteplusapi.com"),
        (Site::BytePlus, "https://redis.{region}.byteplus-api.com"),
        (Site::Tencent, "https://redis.tencentcloudapi.com"),
        (Site::Tencent, "https://redis.internal.tencentcloudapi.com"),
        (Site::TencentInternational, "https://redis.{region}.tencentcloudapi.com"),
    ];
    for (site, endpoint) in allowed {
        let expected = endpoint.replace("{region}", "cn-beijing");
        assert_eq!(url(&rule(&[]), site, endpoint, "cn-beijing"), Some(expected), "{endpoint}");
    }
    let with_port = url(&rule(&[]), Site::Volcengine, "https://open.volcengineapi.com:443", "cn-beijing");
    assert_eq!(with_port.as_deref(), Some("https://open.volcengineapi.com"));

    let refused = [
        (Site::Volcengine, "http://open.volcengineapi.com"),
        (Site::Volcengine, "https://open.volcengineapi.com:8443"),
        (Site::Volcengine, "https://open.volcengineapi.com:80"),
        (Site::Volcengine, "https://open.volcengineapi.com:0443"),
        (Site::Volcengine, "https://open.volcengineapi.com:0"),
        (Site::Volcengine, "https://open.volcengineapi.com:65979"),
        (Site::Volcengine, "https://open.volcengineapi.com:"),
        (Site::Volcengine, "https://volcengineapi.com"),
        (Site::Volcengine, "https://.volcengineapi.com"),
        (Site::Volcengine, "https://evilvolcengineapi.com"),
        (Site::Volcengine, "https://evil-volcengineapi.com"),
        (Site::Volcengine, "https://open.volcengineapi.com.evil.com"),
        (Site::Volcengine, "https://open.volcengineapi.com."),
        (Site::Volcengine, "https://open..volcengineapi.com"),
        (Site::Volcengine, "https://-open.volcengineapi.com"),
        (Site::Volcengine, "https://evil.com/.volcengineapi.com"),
        (Site::Volcengine, "https://evil.com#.volcengineapi.com"),
        (Site::Volcengine, "https://evil.com?.volcengineapi.com"),
        (Site::Volcengine, "https://evil.com\\.volcengineapi.com"),
        (Site::Volcengine, "https://user@open.volcengineapi.com"),
        (Site::Volcengine, "https://evil.com:443@open.volcengineapi.com"),
        (Site::Volcengine, "https://OPEN.volcengineapi.com"),
        (Site::Volcengine, "https://{zone}.volcengineapi.com"),
        (Site::Volcengine, "https://redis.volcengineapi.{region}"),
        (Site::Volcengine, "https://{region}"),
        (Site::Volcengine, "open.volcengineapi.com"),
        (Site::Volcengine, "ftp://open.volcengineapi.com"),
        (Site::Volcengine, ""),
        (Site::Volcengine, "https://"),
        (Site::Volcengine, "https://open.byteplusapi.com"),
        (Site::BytePlus, "https://open.volcengineapi.com"),
        (Site::Volcengine, "https://redis.tencentcloudapi.com"),
        (Site::Tencent, "https://redis.cn-beijing.volcengineapi.com"),
        (Site::Tencent, "http://redis.tencentcloudapi.com"),
        (Site::Tencent, "https://tencentcloudapi.com"),
        (Site::Tencent, "https://redis.tencentcloudapi.com.evil.com"),
        (Site::TencentInternational, "https://redis.evil-tencentcloudapi.com"),
        (Site::Volcengine, "https://127.0.0.1"),
        (Site::Volcengine, "https://127.1"),
        (Site::Volcengine, "https://2130706433"),
        (Site::Volcengine, "https://0x7f000001"),
        (Site::Volcengine, "https://8.8.8.8"),
        (Site::Volcengine, "https://[::1]"),
        (Site::Volcengine, "https://localhost"),
    ];
    for (site, endpoint) in refused {
        let error = rule(&[]).endpoint(site, Some(endpoint)).map(|_| endpoint).unwrap_err();
        assert!(error.0.contains("spec.endpoint") && error.0.contains("--allowed-endpoint"), "{error}");
        assert!(!error.0.contains("evil") && !error.0.contains("127"), "{error}");
    }
}

#[test]
fn an_override_is_used_as_it_is_for_financial_zones_too() {
    let found = url(&rule(&[]), Site::Tencent, "https://redis.tencentcloudapi.com", "ap-shanghai-fsi");
    assert_eq!(found.as_deref(), Some("https://redis.tencentcloudapi.com"));
}

#[test]
fn the_refusal_names_the_domains_of_the_provider() {
    let message = |site| rule(&[]).endpoint(site, Some("https://evil.com")).map(|_| ()).unwrap_err().0;
    assert!(
        message(Site::BytePlus)
            .contains("https://*.byteplusapi.com and https://*.byteplus-api.com on port 443")
    );
    assert!(message(Site::Tencent).contains("allowed are https://*.tencentcloudapi.com on port 443"));
}

#[test]
fn the_flag_names_hosts_ports_suffixes_and_schemes() {
    let rule = rule(&[
        "Gw.corp.example",
        "gw2.corp.example:8443",
        "*.redis.example",
        "http://127.0.0.1:9443",
        "http://sim",
    ]);
    let allowed = [
        ("https://gw.corp.example", "https://gw.corp.example"),
        ("https://gw2.corp.example:8443", "https://gw2.corp.example:8443"),
        ("https://a.redis.example", "https://a.redis.example"),
        ("https://a.{region}.redis.example", "https://a.cn-beijing.redis.example"),
        ("http://127.0.0.1:9443", "http://127.0.0.1:9443"),
        ("http://sim:80", "http://sim"),
    ];
    for site in [Site::Volcengine, Site::BytePlus, Site::Tencent, Site::TencentInternational] {
        for (endpoint, expected) in allowed {
            assert_eq!(url(&rule, site, endpoint, "cn-beijing").as_deref(), Some(expected), "{endpoint}");
        }
    }
    let refused = [
        "http://gw.corp.example",
        "https://gw.corp.example:8443",
        "https://gw2.corp.example",
        "https://x.gw.corp.example",
        "https://redis.example",
        "https://aredis.example",
        "http://a.redis.example",
        "https://a.redis.example:8443",
        "https://127.0.0.1:9443",
        "http://127.0.0.1",
        "http://127.0.0.1:9444",
        "http://127.1:9443",
        "https://sim",
    ];
    for endpoint in refused {
        assert_eq!(url(&rule, Site::Volcengine, endpoint, "cn-beijing"), None, "{endpoint}");
    }
    assert!(rule.names_exactly("https", "gw.corp.example", 443));
    assert!(rule.names_exactly("http", "127.0.0.1", 9443));
    assert!(!rule.names_exactly("https", "a.redis.example", 443), "a suffix names no host exactly");
    assert!(!rule.names_exactly("https", "127.0.0.1", 9443));
    assert!(!rule.names_exactly("ws", "gw.corp.example", 443));
}

#[test]
fn a_template_may_meet_named_hosts_of_some_regions() {
    let rule = rule(&["redis.cn-beijing.corp.example", "redis.cn-shanghai.corp.example:8443"]);
    let endpoint = rule.endpoint(Site::Volcengine, Some("https://redis.{region}.corp.example")).unwrap();
    assert_eq!(endpoint.url("cn-beijing").unwrap().authority(), "redis.cn-beijing.corp.example");
    assert!(endpoint.url("cn-shanghai").is_err());
    assert!(rule.endpoint(Site::Volcengine, Some("https://x.{region}.corp.example")).is_err());
}

#[test]
fn a_flag_that_says_nothing_useful_is_refused_by_its_value() {
    let bad = [
        "",
        "*",
        "*.",
        "*.*.example",
        "a.*.example",
        "https://*.example",
        "*.example:443",
        "host:0",
        "host:99999",
        "host:x",
        "host:",
        "https://host/path",
        "host/",
        "ftp://host",
        "127.1",
        "0x7f.1",
        "[::1]",
        "::1",
        "*.0.0.1",
        "user@host",
        "host name",
        "redis.{region}.example",
        "-host",
    ];
    for value in bad {
        let error = EndpointRule::new(&[value.to_owned()]).map(|_| value).unwrap_err();
        assert!(error.contains(&format!("{value:?}")) && error.contains("*.SUFFIX"), "{error}");
    }
}

#[test]
fn only_a_region_goes_into_a_host() {
    for good in ["cn-beijing", "ap-southeast-1", "cn-beijing-autodriving", "na-siliconvalley"] {
        assert!(is_region(good), "{good}");
    }
    let long = format!("cn-{}", "a".repeat(40));
    for bad in [
        "",
        "cn",
        "c-beijing",
        "cn-",
        "-cn",
        "cn--x",
        "cn-beijing.evil",
        "CN-beijing",
        "cn-bei_jing",
        "c1-x",
        "cn-x/",
        &long,
    ] {
        assert!(!is_region(bad), "{bad}");
        assert!(rule(&[]).endpoint(Site::Volcengine, None).unwrap().url(bad).is_err(), "{bad}");
    }
}

proptest! {
    /// The rule parses the text itself, and the HTTP client parses it again: both must see the same host.
    #[test]
    fn what_is_allowed_is_the_providers_host_for_a_url_parser_too(
        text in prop_oneof![
            "https?://[a-z0-9.{}-]{0,12}(:[0-9]{1,5})?",
            "https?://[a-z0-9.{}:/@#?%-]{0,12}[.-]?volcengine-?api\\.com(:443|:[0-9]{1,5}|[./@?#][a-z.]{0,5})?",
            "https://[a-z.-]{0,4}\\{region\\}[a-z.-]{0,4}\\.volcengineapi\\.com",
            ".{0,20}",
        ],
    ) {
        if let Some(url) = url(&rule(&[]), Site::Volcengine, &text, "cn-beijing") {
            let parsed = reqwest::Url::parse(&url).unwrap();
            let host = parsed.domain().unwrap();
            prop_assert!(host.ends_with(".volcengineapi.com") || host.ends_with(".volcengine-api.com"), "{} {}", text, host);
            prop_assert_eq!((parsed.scheme(), parsed.port_or_known_default()), ("https", Some(443)));
            prop_assert_eq!((parsed.username(), parsed.path(), parsed.query()), ("", "/", None));
            prop_assert_eq!(format!("{}/", url), parsed.as_str());
        }
    }
}
