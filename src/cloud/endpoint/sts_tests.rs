use super::*;

const REGION: &str = "cn-beijing";

fn rule(entries: &[&str]) -> EndpointRule {
    EndpointRule::new(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// Returns the origin of the override, without identity and with it; `None` if it is refused.
fn allowed_origins(rule: &EndpointRule, site: Site, text: &str) -> [Option<String>; 2] {
    [false, true].map(|identity| {
        let endpoint = rule.sts_endpoint(site, Some(text), identity, REGION).ok()?;
        assert_eq!(endpoint.site(), site);
        endpoint.for_call(!identity).ok().map(|origin| origin.to_string())
    })
}

#[test]
fn without_an_override_each_site_has_its_host() {
    let cases = [
        (Site::Volcengine, "cn-shanghai", "https://sts.volcengineapi.com"),
        (Site::Tencent, "ap-guangzhou", "https://sts.tencentcloudapi.com"),
        (Site::TencentInternational, "ap-singapore", "https://sts.intl.tencentcloudapi.com"),
        (Site::Tencent, "ap-shanghai-fsi", "https://sts.ap-shanghai-fsi.tencentcloudapi.com"),
        (Site::TencentInternational, "ap-shanghai-fsi", "https://sts.ap-shanghai-fsi.tencentcloudapi.com"),
        (Site::Tencent, "ap-fsi-1", "https://sts.tencentcloudapi.com"),
    ];
    for (site, region, expected) in cases {
        for identity in [false, true] {
            let endpoint = rule(&[]).sts_endpoint(site, None, identity, region).unwrap();
            assert_eq!(endpoint.for_call(!identity).unwrap().to_string(), expected);
        }
    }
    for region in ["", "x.evil-fsi", "evil.example/-fsi", "CN-fsi"] {
        let error = rule(&[]).sts_endpoint(Site::Tencent, None, true, region).unwrap_err();
        assert!(error.0.contains("spec.region") && !error.0.contains("evil"), "{error}");
    }
}

#[test]
fn documented_hosts_are_allowed_for_everything() {
    let cases = [
        (Site::Volcengine, "https://sts.volcengineapi.com"),
        (Site::Volcengine, "https://sts.cn-beijing.volcengineapi.com"),
        (Site::Tencent, "https://sts.tencentcloudapi.com"),
        (Site::Tencent, "https://sts.intl.tencentcloudapi.com"),
        (Site::TencentInternational, "https://sts.ap-hongkong.tencentcloudapi.com"),
        (Site::Tencent, "https://sts.ap-shanghai-fsi.tencentcloudapi.com"),
    ];
    for (site, text) in cases {
        let expected = Some(text.to_owned());
        assert_eq!(allowed_origins(&rule(&[]), site, text), [expected.clone(), expected.clone()], "{text}");
        assert_eq!(
            allowed_origins(&rule(&[]), site, &format!("{text}:443")),
            [expected.clone(), expected],
            "{text}"
        );
    }
}

#[test]
fn other_hosts_of_the_provider_and_wildcards_never_see_an_identity() {
    let rule = rule(&["*.corp.example", "*.volcengineapi.com"]);
    let cases = [
        (Site::Volcengine, "https://open.volcengineapi.com"),
        (Site::Volcengine, "https://mysts.volcengineapi.com"),
        (Site::Volcengine, "https://a.sts.volcengineapi.com"),
        (Site::Volcengine, "https://sts.internal.volcengineapi.com"),
        (Site::Volcengine, "https://sts.cn-beijing.evil.volcengineapi.com"),
        (Site::Volcengine, "https://sts.volcengine-api.com"),
        (Site::Tencent, "https://sts.internal.tencentcloudapi.com"),
        (Site::Tencent, "https://redis.tencentcloudapi.com"),
        (Site::Volcengine, "https://sts.corp.example"),
    ];
    for (site, text) in cases {
        assert_eq!(allowed_origins(&rule, site, text), [Some(text.to_owned()), None], "{text}");
        let endpoint = rule.sts_endpoint(site, Some(text), false, REGION).unwrap();
        assert!(endpoint.for_call(false).is_err(), "{text} was not checked for an identity");
    }
}

#[test]
fn what_the_flag_names_exactly_may_see_an_identity() {
    let rule = rule(&[
        "sts.corp.example",
        "gw.corp.example:8443",
        "http://127.0.0.1:9443",
        "10.0.0.7",
        "http://sim",
    ]);
    for text in [
        "https://sts.corp.example",
        "https://gw.corp.example:8443",
        "http://127.0.0.1:9443",
        "https://10.0.0.7",
        "http://sim",
    ] {
        for site in [Site::Volcengine, Site::Tencent, Site::TencentInternational] {
            assert_eq!(
                allowed_origins(&rule, site, text),
                [Some(text.to_owned()), Some(text.to_owned())],
                "{text}"
            );
        }
    }
    for text in [
        "http://sts.corp.example",
        "https://sts.corp.example:8443",
        "https://gw.corp.example",
        "https://127.0.0.1:9443",
        "http://127.0.0.1",
        "http://127.1:9443",
        "http://10.0.0.7",
        "https://sim",
    ] {
        assert_eq!(allowed_origins(&rule, Site::Volcengine, text), [None, None], "{text}");
    }
}

#[test]
fn everything_else_is_refused_without_repeating_it() {
    let cases = [
        (Site::Volcengine, "http://sts.volcengineapi.com"),
        (Site::Volcengine, "https://sts.volcengineapi.com:8443"),
        (Site::Volcengine, "https://sts.volcengineapi.com:80"),
        (Site::Volcengine, "https://sts.volcengineapi.com."),
        (Site::Volcengine, "https://STS.volcengineapi.com"),
        (Site::Volcengine, "https://evil@sts.volcengineapi.com"),
        (Site::Volcengine, "https://evil.com#.volcengineapi.com"),
        (Site::Volcengine, "https://evil.com/sts.volcengineapi.com"),
        (Site::Volcengine, "https://sts.volcengineapi.com.evil.com"),
        (Site::Volcengine, "https://evilvolcengineapi.com"),
        (Site::Volcengine, "https://{zone}.volcengineapi.com"),
        (Site::Volcengine, "https://sts.tencentcloudapi.com"),
        (Site::Tencent, "https://sts.volcengineapi.com"),
        (Site::Tencent, "https://127.0.0.1"),
        (Site::Tencent, "https://127.1"),
        (Site::Tencent, "https://2130706433"),
        (Site::Tencent, "https://[::1]"),
        (Site::Tencent, "https://169.254.169.254"),
        (Site::Tencent, "sts.tencentcloudapi.com"),
        (Site::Tencent, ""),
    ];
    for (site, text) in cases {
        for identity in [false, true] {
            let error = rule(&[]).sts_endpoint(site, Some(text), identity, REGION).unwrap_err();
            assert!(
                error.0.contains("spec.stsEndpoint") && error.0.contains("--allowed-endpoint"),
                "{error}"
            );
            assert!(
                !error.0.contains("evil") && !error.0.contains("127") && !error.0.contains("8443"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_template_is_refused_by_its_name() {
    for text in ["https://sts.{region}.volcengineapi.com", "https://{region}"] {
        for identity in [false, true] {
            let error = rule(&[]).sts_endpoint(Site::Volcengine, Some(text), identity, REGION).unwrap_err();
            assert!(error.0.contains("spec.stsEndpoint") && error.0.contains("without {region}"), "{error}");
        }
    }
}

#[test]
fn the_refusal_says_what_is_allowed() {
    let message = |site, identity| {
        let refused = rule(&[]).sts_endpoint(site, Some("https://evil.com"), identity, REGION);
        refused.unwrap_err().0
    };
    assert!(message(Site::Tencent, false).contains("allowed are https://*.tencentcloudapi.com on port 443"));
    let text = message(Site::Volcengine, true);
    let hosts =
        "allowed are https://sts.volcengineapi.com, https://sts.<region>.volcengineapi.com on port 443";
    assert!(text.contains("with workloadIdentity") && text.contains(hosts), "{text}");
    assert!(text.contains("--allowed-endpoint names exactly"), "{text}");
}

#[test]
fn byteplus_has_none() {
    let rule = rule(&["sts.corp.example"]);
    for text in [None, Some("https://sts.corp.example"), Some("https://sts.byteplusapi.com")] {
        for identity in [false, true] {
            let error = rule.sts_endpoint(Site::BytePlus, text, identity, "ap-southeast-1").unwrap_err();
            assert_eq!(error.0, "BytePlus has neither workloadIdentity nor assumeRole");
        }
    }
}
