"""The official SDK as a client of the simulator at $SIMULATOR_URL."""

import base64
import json
import os
import tempfile
import time
import unittest
import urllib.request

import volcenginesdkcore
from volcenginesdkcore.auth.providers.sts_oidc_provider import StsOidcCredentialProvider
from volcenginesdkcore.auth.providers.sts_provider import StsCredentialProvider
from volcenginesdkcore.rest import ApiException
from volcenginesdkredis import (
    REDISApi,
    DescribeAvailableCrossRegionRequest,
    DescribeCrossRegionBackupPolicyRequest,
    DescribeCrossRegionBackupsRequest,
    DescribeDBInstancesRequest,
    ModifyCrossRegionBackupPolicyRequest,
)

URL = os.environ["SIMULATOR_URL"]
KEY, SECRET = "AKLTExampleAccessKeyId0000000001", "RXhhbXBsZVNlY3JldEtleTAwMDAwMDAwMDAwMDAwMDE="
TEMPORARY, TOKEN = "AKTPExampleTempAccessKeyId000001", "STSeyJMVEFjY2Vzc0tleUlkIjoiQUtMVEV4YW1wbGUifQ=="
ID = "redis-cn0212gzmh2xs1234"
ACCOUNT, ROLE = "2100000000", "trn:iam::2100000000:role/redis-backup"
SUBJECT = "system:serviceaccount:backup:operator"
# The SDK adds the scheme that it is told.
STS = {"host": URL.removeprefix("http://"), "scheme": "http", "retry_interval": 0.001}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + "/admin" + path, data=data, method=method)
    with DIRECT.open(request) as answer:
        return json.load(answer)


def api(key=KEY, secret=SECRET, token="", region="cn-beijing"):
    configuration = volcenginesdkcore.Configuration()
    configuration.ak, configuration.sk, configuration.session_token = key, secret, token
    configuration.region = region
    configuration.host = URL
    # Waiting between tries is the SDK's affair, not what is tested.
    configuration.min_retry_delay_ms = 1
    configuration.max_retry_delay_ms = 2
    return REDISApi(volcenginesdkcore.ApiClient(configuration))


def assuming(provider):
    """A client that gets its keys by itself."""
    configuration = volcenginesdkcore.Configuration()
    configuration.credential_provider = provider
    configuration.region = "cn-beijing"
    configuration.host = URL
    return REDISApi(volcenginesdkcore.ApiClient(configuration))


def by_key(**options):
    return StsCredentialProvider(KEY, SECRET, "redis-backup", ACCOUNT, **STS, **options)


def jwt(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    usual = {"iss": "https://oidc-vke", "sub": SUBJECT, "aud": ["sts.volcengine.com"], "exp": int(time.time()) + 600}
    return f"{part({'alg': 'RS256'})}.{part({**usual, **claims})}.c2lnbmF0dXJl"


def policy(client):
    return client.describe_cross_region_backup_policy(DescribeCrossRegionBackupPolicyRequest(instance_id=ID))


def modify(client, active, region=None, token=None):
    return client.modify_cross_region_backup_policy(
        ModifyCrossRegionBackupPolicyRequest(
            instance_id=ID, active=active, cross_backup_region=region, client_token=token
        )
    )


def listed(client, **filters):
    return client.describe_cross_region_backups(DescribeCrossRegionBackupsRequest(**filters))


class OfficialSdk(unittest.TestCase):
    def setUp(self):
        admin("POST", "/reset")
        admin(
            "POST",
            "/seed",
            {
                "keys": [
                    {"accessKeyId": KEY, "secretAccessKey": SECRET},
                    {
                        "accessKeyId": TEMPORARY,
                        "secretAccessKey": "temporary",
                        "sessionToken": TOKEN,
                        "expiresInSeconds": 3600,
                    },
                ],
                "roles": [
                    {
                        "role": ROLE,
                        "maxDurationSeconds": 7200,
                        "oidc": {"issuer": "https://oidc-vke", "audience": "sts.volcengine.com", "subject": SUBJECT},
                    }
                ],
                "instances": [{"instanceId": ID, "instanceName": "orders", "region": "cn-beijing"}],
                "backups": [
                    {"backupPointId": f"b-{n}", "backupPointName": f"nightly-{n}", "instanceId": ID, "ageSeconds": n}
                    for n in range(1, 6)
                ],
            },
        )

    def refused(self, status, code, call):
        with self.assertRaises(ApiException) as caught:
            call()
        error = caught.exception
        self.assertEqual(error.status, status)
        told = error.body or error.reason
        self.assertIn(code, told.decode() if isinstance(told, bytes) else told)
        return error

    def test_a_policy_is_read_and_set(self):
        client = api()
        self.assertIs(policy(client).active, False)
        modify(client, True, "cn-shanghai", "token-1")
        found = policy(client)
        self.assertEqual(
            (found.instance_id, found.active, found.cross_backup_region, found.ttl), (ID, True, "cn-shanghai", 7)
        )
        self.assertEqual(found.metadata().service, "Redis")
        modify(client, False)
        self.assertIs(policy(client).active, False)
        self.assertEqual(admin("GET", "/counters")["modifiesApplied"], 2)

    def test_a_token_is_replayed(self):
        client = api()
        modify(client, True, "cn-shanghai", "token-1")
        modify(client, True, "cn-shanghai", "token-1")
        self.assertEqual(admin("GET", "/counters")["modifiesApplied"], 1)
        self.refused(400, "ParamError", lambda: modify(client, True, "cn-guangzhou", "token-1"))

    def test_backups_have_their_types(self):
        answer = listed(api(), instance_id=ID)
        self.assertEqual(answer.total, 5)
        backup = answer.backups[0]
        self.assertEqual(
            (backup.backup_point_id, backup.status, backup.size, backup.ttl), ("b-1", "Available", 486040, 7)
        )
        self.assertEqual((backup.source_region, backup.target_region), ("cn-beijing", "cn-shanghai"))
        info = backup.instance_info
        self.assertEqual((info.instance_name, info.account_id), ("orders", 2100000000))
        self.assertIsInstance(info.shard_capacity, float)
        self.assertEqual(info.zone_ids, ["cn-beijing-a"])

    def test_backups_are_paged_and_filtered(self):
        client = api()
        pages = [listed(client, scope="AccountInstances", page_size=2, page_number=n) for n in (1, 2, 3, 4)]
        self.assertEqual([len(page.backups) for page in pages], [2, 2, 1, 0])
        self.assertEqual({page.total for page in pages}, {5})
        named = listed(client, scope="AccountInstances", backup_point_name="ly-3", backup_strategy_list=["AutomatedBackup"])
        self.assertEqual([backup.backup_point_id for backup in named.backups], ["b-3"])
        self.refused(400, "ParamError", lambda: listed(client, instance_id=ID, page_size=10))
        self.refused(400, "MissingParameter", lambda: listed(client))

    def test_available_regions_and_instances(self):
        client = api()
        regions = client.describe_available_cross_region(DescribeAvailableCrossRegionRequest(instance_id=ID))
        self.assertEqual(regions.target_region_ids, ["cn-shanghai", "cn-guangzhou"])
        found = client.describe_db_instances(DescribeDBInstancesRequest(instance_name="ord"))
        self.assertEqual(found.total_instances_num, 1)
        instance = found.instances[0]
        self.assertEqual((instance.instance_id, instance.status, instance.private_port), (ID, "Running", "6379"))
        self.assertEqual(instance.capacity.total, 1024)

    def test_unknown_fields_and_values_are_no_obstacle(self):
        admin("PUT", "/settings", {"quirks": True})
        self.assertEqual(listed(api(), instance_id=ID).backups[0].backup_type, "Snapshot")
        self.assertIs(policy(api()).active, False)

    def test_a_region_is_asked_for_its_own_instances(self):
        self.refused(400, "InstanceNotExist", lambda: policy(api(region="cn-shanghai")))

    def test_temporary_keys(self):
        self.assertIs(policy(api(TEMPORARY, "temporary", TOKEN)).active, False)
        self.refused(401, "InvalidSecretToken", lambda: policy(api(TEMPORARY, "temporary", "another")))
        self.refused(401, "InvalidSecretToken", lambda: policy(api(TEMPORARY, "temporary")))

    def by_token(self, token, **options):
        file = tempfile.NamedTemporaryFile("w", suffix=".jwt")
        self.addCleanup(file.close)
        file.write(token)
        file.flush()
        return StsOidcCredentialProvider(role_trn=ROLE, oidc_token_file=file.name, **STS, **options)

    def test_a_role_is_assumed_by_key(self):
        provider = by_key()
        client = assuming(provider)
        self.assertIs(policy(client).active, False)
        policy(client)
        assumed, first, second = admin("GET", "/requests")
        self.assertEqual((assumed["action"], assumed["method"]), ("AssumeRole", "GET"))
        self.assertEqual((assumed["accessKeyId"], assumed["authentic"]), (KEY, True))
        # Once for both.
        self.assertTrue(first["accessKeyId"].startswith("AKTP"))
        self.assertEqual(first["accessKeyId"], second["accessKeyId"])
        self.assertTrue(first["securityToken"].startswith("STS"))
        self.assertTrue(first["authentic"] and second["authentic"])

    def test_a_role_is_assumed_by_token(self):
        # The newline that files end with is not sent by this SDK.
        client = assuming(self.by_token(jwt() + "\n"))
        self.assertIs(policy(client).active, False)
        assumed, looked = admin("GET", "/requests")
        self.assertEqual((assumed["action"], assumed["method"]), ("AssumeRoleWithOIDC", "POST"))
        self.assertEqual((assumed["accessKeyId"], assumed["authentic"]), (None, None))
        self.assertRegex(assumed["body"]["OIDCToken"], r"^\(\d+ characters\)$")
        self.assertTrue(looked["accessKeyId"].startswith("AKTP"))

    def test_an_hour_is_read_as_one(self):
        for provider in (by_key(duration_seconds=3600), self.by_token(jwt(), duration_seconds=3600)):
            provider.refresh()
            self.assertAlmostEqual(provider.expired_time, time.time() + 3600, delta=60)

    def test_a_key_that_runs_out_is_replaced(self):
        # The SDK takes a key for expired that ends within ten minutes.
        provider = by_key(duration_seconds=900, expired_buffer_seconds=600)
        provider.refresh()
        first = provider.retrieve().ak
        admin("PUT", f"/keys/{first}", {"secretAccessKey": "other", "sessionToken": "STS", "expiresInSeconds": 0})
        provider.expired_time = time.time() + 599
        self.assertIs(policy(assuming(provider)).active, False)
        self.refused(401, "InvalidSecretToken", lambda: policy(api(first, "other", "STS")))

    def test_roles_are_refused(self):
        self.refused(400, "InvalidParameter", by_key(duration_seconds=7201).refresh)
        admin("PUT", "/roles", {"role": ROLE, "trustedKeys": ["AKLTOther"]})
        self.refused(403, "AccessDenied", by_key().refresh)
        admin("DELETE", "/roles", {"role": ROLE})
        self.refused(404, "RoleNotExist", by_key().refresh)

    def test_tokens_are_refused(self):
        for token in (
            "no-jwt",
            jwt(exp=int(time.time()) - 1),
            jwt(aud="sts.other.com"),
            jwt(iss="https://other"),
            jwt(sub="system:serviceaccount:backup:default"),
        ):
            self.refused(400, "InvalidOIDCToken", self.by_token(token).refresh)

    def test_sts_down_for_a_moment_is_retried(self):
        effects = {"AssumeRole": {"type": "reset"}, "AssumeRoleWithOIDC": {"type": "error", "status": 503, "code": "X"}}
        for action, effect in effects.items():
            admin("POST", "/faults", {"action": action, "count": 2, "effect": effect})
        for provider in (by_key(), self.by_token(jwt())):
            self.assertIs(policy(assuming(provider)).active, False)
        counted = admin("GET", "/counters")["byActionAndOutcome"]
        self.assertEqual((counted["AssumeRole/reset"], counted["AssumeRole/ok"]), (2, 1))
        self.assertEqual((counted["AssumeRoleWithOIDC/X"], counted["AssumeRoleWithOIDC/ok"]), (2, 1))

    def test_bad_keys(self):
        self.refused(401, "SignatureDoesNotMatch", lambda: policy(api(secret="wrong")))
        error = self.refused(401, "InvalidAccessKey", lambda: policy(api(key="AKLTUnknown")))
        self.assertIn("AKLTUnknown", str(error.body))
        admin("POST", f"/keys/{KEY}/deny", {"actions": ["DescribeCrossRegionBackupPolicy"]})
        self.refused(403, "AccessDenied", lambda: policy(api()))

    def test_throttling_is_retried(self):
        admin("POST", "/faults", {"count": 3, "effect": {"type": "throttle"}})
        self.assertIs(policy(api()).active, False)
        tries = admin("GET", "/requests")
        self.assertEqual([one["outcome"] for one in tries], ["FlowLimitExceeded"] * 3 + ["ok"])
        self.assertTrue(all(one["authentic"] for one in tries))
        self.assertEqual(len({one["signature"] for one in tries}), 4)

    def test_errors_inside_a_success_are_raised(self):
        admin("POST", "/faults", {"effect": {"type": "throttle", "style": "account200"}})
        self.refused(200, "AccountFlowLimitExceeded", lambda: policy(api()))

    def test_a_lost_connection_is_retried(self):
        admin("POST", "/faults", {"count": 1, "effect": {"type": "lostResponse"}})
        modify(api(), True, "cn-shanghai", "token-1")
        counters = admin("GET", "/counters")
        self.assertEqual((counters["modifiesApplied"], counters["modifiesReplayed"]), (1, 1))


if __name__ == "__main__":
    unittest.main()
