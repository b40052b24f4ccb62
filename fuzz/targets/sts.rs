//! Responses of the clouds' STS, which contain credentials.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Answer, OWN, START, TOKEN, assert_hidden, checked, checked_without, run};
use cross_region_backup_operator::clock::Clock;
use cross_region_backup_operator::cloud::{
    Budget, EndpointRule, IdentityToken, RoleRequest, Site, Sts, StsConfig,
};

static IDENTITY: LazyLock<IdentityToken> = LazyLock::new(|| IdentityToken::new(TOKEN).expect("a token"));
const REQUESTED_DURATION: Duration = Duration::from_secs(3600);

pub fn sts(data: &[u8]) {
    let answer = Answer::parse(data);
    for site in [Site::Volcengine, Site::Tencent] {
        run(async {
            let role = RoleRequest {
                role: "role".to_owned(),
                session_name: "session".to_owned(),
                duration: REQUESTED_DURATION,
            };
            let sts = || client(site, &answer);
            let assumed = sts().assume_role(&OWN, &role, Some("external")).await;
            let identified = sts().with_web_identity(&IDENTITY, &role, Some("provider")).await;
            // A web identity is exchanged with its token alone.
            let issued = [checked(assumed), checked_without(identified, &[TOKEN])];
            for issued in issued.into_iter().flatten() {
                assert!(
                    issued.valid_for > Duration::ZERO && issued.valid_for <= REQUESTED_DURATION,
                    "{issued:?}"
                );
                assert_hidden(&(&issued, &issued.credentials));
            }
        });
    }
}

fn client(site: Site, answer: &Answer) -> Sts {
    let endpoint = EndpointRule::default().sts_endpoint(site, None, true, "cn-beijing");
    Sts::new(StsConfig {
        endpoint: endpoint.expect("a site's own endpoint is allowed"),
        region: "cn-beijing".to_owned(),
        transport: answer.cloud().0,
        budget: Arc::new(Budget::new(1_000_000, 1_000_000, Arc::new(Semaphore::new(256)))),
        clock: Clock::from_tokio(START.parse().expect("a time")),
        timeout: Duration::from_secs(10),
    })
}
