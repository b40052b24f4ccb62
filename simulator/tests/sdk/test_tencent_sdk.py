"""Tencent Cloud's official SDK as a client of the simulator at $SIMULATOR_URL."""

import base64
import json
import os
import tempfile
import time
import unittest
import urllib.request
from unittest import mock

from tencentcloud.common import credential
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.redis.v20180412 import models, redis_client

URL = os.environ["SIMULATOR_URL"]
KEY, SECRET = "AKIDEXAMPLE0000000000000000000000000", "exampleSecretKey0123456789abcdef"
TEMPORARY, TOKEN = "AKIDtmp0000000000000000000000000000", "exampleSessionToken-0123456789abcdef=="
ID = "crs-ei43p3gr"
HOST = URL.removeprefix("http://")
ROLE = "qcs::cam::uin/100000000001:roleName/redis-backup"
PROVIDER, SUBJECT = "cls-abcdefgh", "system:serviceaccount:backup:operator"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + "/admin" + path, data=data, method=method)
    with DIRECT.open(request) as answer:
        return json.load(answer)


def api(key=KEY, secret=SECRET, token=None, region="ap-guangzhou", unsigned_payload=False):
    return client_of(credential.Credential(key, secret, token), region, unsigned_payload)


def plain_profile(unsigned_payload=False):
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=HOST, reqTimeout=20))
    profile.unsignedPayload = unsigned_payload
    return profile


def client_of(keys, region="ap-guangzhou", unsigned_payload=False):
    return redis_client.RedisClient(keys, region, plain_profile(unsigned_payload))


def by_key(**options):
    return credential.STSAssumeRoleCredential(KEY, SECRET, ROLE, "backup", endpoint=HOST, **options)


def by_token(token, **options):
    return credential.OIDCRoleArnCredential("ap-guangzhou", PROVIDER, token, ROLE, "backup", endpoint=HOST, **options)


def jwt(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    usual = {"iss": "https://oidc-tke", "sub": SUBJECT, "aud": ["sts.cloud.tencent.com"], "exp": int(time.time()) + 600}
    return f"{part({'alg': 'RS256'})}.{part({**usual, **claims})}.c2lnbmF0dXJl"


def filled(request, fields):
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def listed(client, **fields):
    return client.DescribeInstanceBackups(filled(models.DescribeInstanceBackupsRequest(), fields))


def detail(client, **fields):
    return client.DescribeBackupDetail(filled(models.DescribeBackupDetailRequest(), fields))


def instances(client, **fields):
    return client.DescribeInstances(filled(models.DescribeInstancesRequest(), fields))


class TencentSdk(unittest.TestCase):
    def setUp(self):
        # The credentials that ask STS themselves can be told where it is, but not that it speaks plain HTTP.
        plain = mock.patch.object(credential, "HttpProfile", lambda: HttpProfile(protocol="http"))
        plain.start()
        self.addCleanup(plain.stop)
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
                        "oidc": {
                            "providerId": PROVIDER,
                            "issuer": "https://oidc-tke",
                            "audience": "sts.cloud.tencent.com",
                            "subject": SUBJECT,
                        },
                    }
                ],
                "tencent": {
                    "instances": [{"instanceId": ID, "instanceName": "orders", "region": "ap-guangzhou"}],
                    "backups": [
                        {"backupId": f"1-1-{n}", "instanceId": ID, "ageSeconds": n, "encrypted": n == 1}
                        for n in range(1, 6)
                    ]
                    + [{"backupId": "1-1-6", "instanceId": ID, "ageSeconds": 6, "status": 1, "running": True}],
                },
            },
        )

    def refused(self, code, call):
        with self.assertRaises(TencentCloudSDKException) as caught:
            call()
        self.assertEqual(caught.exception.get_code(), code)
        return caught.exception

    def test_backups_have_their_types(self):
        answer = listed(api(), InstanceId=ID)
        self.assertEqual(answer.TotalCount, 5)
        backup = answer.BackupSet[0]
        self.assertEqual(
            (backup.BackupId, backup.InstanceId, backup.InstanceName, backup.Region),
            ("1-1-1", ID, "orders", "ap-guangzhou"),
        )
        self.assertEqual((backup.Status, backup.BackupType, backup.BackupSize, backup.Locked), (2, "1", 537, 0))
        self.assertIs(backup.Encrypted, True)
        self.assertTrue(answer.RequestId)

    def test_backups_are_paged_and_filtered(self):
        client = api()
        pages = [listed(client, Limit=2, Offset=offset) for offset in (0, 2, 4, 6)]
        self.assertEqual([len(page.BackupSet) for page in pages], [2, 2, 1, 0])
        self.assertEqual({page.TotalCount for page in pages}, {5})
        running = listed(client, Status=[1])
        self.assertEqual([backup.EndTime for backup in running.BackupSet], ["0000-00-00 00:00:00"])
        start = pages[0].BackupSet[1].StartTime
        self.assertEqual(listed(client, BeginTime=start, EndTime=start).TotalCount, 1)
        self.refused("InvalidParameter.InvalidParameter", lambda: listed(client, Limit=20, Offset=30))
        self.refused("InvalidParameter", lambda: listed(client, Limit="20"))
        self.refused("ResourceNotFound.InstanceNotExists", lambda: listed(client, InstanceId="crs-nowhere"))

    def test_a_detail_tells_the_key(self):
        client = api()
        found = detail(client, InstanceId=ID, BackupId="1-1-1")
        self.assertEqual((found.BackupId, found.MemSize, found.ShardNum, found.ReplicasNum), ("1-1-1", 2048, 3, 1))
        self.assertEqual((found.Encrypted, found.DecryptKey, found.KeyAlgorithm), (True, "exampleDecryptKey", "AES-256-CBC"))
        self.refused("InvalidParameterValue.BackupNotExists", lambda: detail(client, InstanceId=ID, BackupId="x"))
        self.refused("MissingParameter", lambda: detail(client, InstanceId=ID))

    def test_instances_have_their_types(self):
        answer = instances(api(), InstanceId=ID)
        self.assertEqual(answer.TotalCount, 1)
        instance = answer.InstanceSet[0]
        self.assertEqual((instance.InstanceName, instance.Type, instance.Size), ("orders", 16, 6144.0))
        self.assertEqual((instance.CloseTime, instance.OfflineTime), ("0000-00-00 00:00:00", ""))
        self.assertEqual(instances(api(), InstanceId="crs-nowhere").InstanceSet, [])
        self.assertEqual(instances(api(region="ap-singapore")).TotalCount, 0)

    def test_unsigned_payloads(self):
        self.assertEqual(listed(api(unsigned_payload=True), InstanceId=ID).TotalCount, 5)
        self.assertIs(admin("GET", "/requests")[-1]["authentic"], True)

    def test_temporary_keys(self):
        self.assertEqual(listed(api(TEMPORARY, "temporary", TOKEN)).TotalCount, 5)
        self.refused("AuthFailure.TokenFailure", lambda: listed(api(TEMPORARY, "temporary", "another")))
        self.refused("AuthFailure.TokenFailure", lambda: listed(api(TEMPORARY, "temporary")))

    def test_a_role_is_assumed_by_key(self):
        client = client_of(by_key())
        self.assertEqual(listed(client).TotalCount, 5)
        records = admin("GET", "/requests")
        assumed, looked = records[0], records[-1]
        self.assertEqual((assumed["action"], assumed["accessKeyId"]), ("AssumeRole", KEY))
        self.assertTrue(assumed["authentic"] and looked["authentic"])
        self.assertTrue(looked["accessKeyId"].startswith("AKID") and looked["accessKeyId"] != KEY)
        self.assertTrue(looked["securityToken"].startswith("STS"))
        self.assertEqual([record["action"] for record in records].count("AssumeRole"), 1)

    def test_a_role_is_assumed_by_token(self):
        client = client_of(by_token(jwt()))
        self.assertEqual(listed(client).TotalCount, 5)
        records = admin("GET", "/requests")
        assumed, looked = records[0], records[-1]
        self.assertEqual((assumed["action"], assumed["region"]), ("AssumeRoleWithWebIdentity", "ap-guangzhou"))
        self.assertEqual((assumed["accessKeyId"], assumed["authentic"]), (None, None))
        self.assertRegex(assumed["body"]["WebIdentityToken"], r"^\(\d+ characters\)$")
        self.assertTrue(looked["accessKeyId"].startswith("AKID") and looked["authentic"])

    def in_tke(self, token):
        """What a pod of TKE finds, with STS at the simulator."""
        file = tempfile.NamedTemporaryFile("w", suffix=".jwt")
        self.addCleanup(file.close)
        file.write(token)
        file.flush()
        environment = {
            "TKE_REGION": "ap-guangzhou",
            "TKE_PROVIDER_ID": PROVIDER,
            "TKE_WEB_IDENTITY_TOKEN_FILE": file.name,
            "TKE_ROLE_ARN": ROLE,
        }
        patched = mock.patch.dict(os.environ, environment)
        patched.start()
        self.addCleanup(patched.stop)
        keys = credential.DefaultTkeOIDCRoleArnProvider().get_credential()
        keys.endpoint = HOST
        return keys

    def test_a_pods_identity_assumes_a_role(self):
        self.assertEqual(listed(client_of(self.in_tke(jwt()))).TotalCount, 5)
        assumed = admin("GET", "/requests")[0]
        self.assertTrue(assumed["body"]["RoleSessionName"].startswith("tencentcloud-python-sdk-"))

    def test_the_sdk_sends_a_token_file_with_its_newline(self):
        error = self.refused("InvalidParameter.WebIdentityTokenError", self.in_tke(jwt() + "\n").refresh)
        self.assertIn("newline", error.get_message())

    def test_an_unsigned_call_by_hand(self):
        client = CommonClient("sts", "2018-08-13", None, "ap-guangzhou", profile=plain_profile())
        parameters = {"ProviderId": PROVIDER, "WebIdentityToken": jwt(), "RoleArn": ROLE, "RoleSessionName": "by-hand"}
        answer = client.call_json("AssumeRoleWithWebIdentity", parameters, options={"SkipSign": True})["Response"]
        self.assertAlmostEqual(answer["ExpiredTime"], time.time() + 7200, delta=60)
        made = answer["Credentials"]
        self.assertEqual(listed(api(made["TmpSecretId"], made["TmpSecretKey"], made["Token"])).TotalCount, 5)

    def test_a_key_that_runs_out_is_replaced(self):
        keys = by_key(duration_seconds=1)
        first = keys.get_credential_info()
        self.assertEqual(listed(api(*first)).TotalCount, 5)
        deadline = time.time() + 20
        while keys.get_credential_info() == first:
            self.assertLess(time.time(), deadline)
            time.sleep(0.02)
        while time.time() < deadline:
            try:
                listed(api(*first))
                time.sleep(0.02)
            except TencentCloudSDKException as error:
                self.assertEqual(error.get_code(), "AuthFailure.TokenFailure")
                return
        self.fail("the first key did not run out")

    def test_roles_are_refused(self):
        self.refused("InvalidParameter.OverTimeError", by_key(duration_seconds=7201).get_credential_info)
        admin("PUT", "/roles", {"role": ROLE, "trustedKeys": ["AKIDOther"]})
        self.refused("UnauthorizedOperation", by_key().get_credential_info)
        admin("DELETE", "/roles", {"role": ROLE})
        self.refused("ResourceNotFound.RoleNotFound", by_key().get_credential_info)

    def test_tokens_are_refused(self):
        for token in (
            "no-jwt",
            jwt(exp=int(time.time()) - 1),
            jwt(aud="sts.other.com"),
            jwt(iss="https://other"),
            jwt(sub="system:serviceaccount:backup:default"),
        ):
            self.refused("InvalidParameter.WebIdentityTokenError", by_token(token).refresh)

    def test_sts_down(self):
        effects = {"AssumeRole": "InternalError.GetRoleError", "AssumeRoleWithWebIdentity": "InternalError"}
        for action, code in effects.items():
            effect = {"type": "error", "status": 200, "code": code}
            admin("POST", "/faults", {"action": action, "count": 1, "effect": effect})
        for keys, code in ((by_key(), "InternalError.GetRoleError"), (by_token(jwt()), "InternalError")):
            self.refused(code, keys.get_credential_info)
            self.assertEqual(listed(client_of(keys)).TotalCount, 5)

    def test_bad_keys(self):
        self.refused("AuthFailure.SignatureFailure", lambda: listed(api(secret="wrong")))
        self.refused("AuthFailure.SecretIdNotFound", lambda: listed(api(key="AKIDunknown")))
        admin("POST", f"/keys/{KEY}/deny", {"actions": ["DescribeInstanceBackups"]})
        self.refused("UnauthorizedOperation.NoCAMAuthed", lambda: listed(api()))

    def test_the_servers_clock(self):
        admin("POST", "/faults", {"effect": {"type": "clockSkew", "seconds": 400}})
        self.refused("AuthFailure.SignatureExpire", lambda: listed(api()))

    def test_throttling(self):
        for style, code in [
            ("requestLimit", "RequestLimitExceeded"),
            ("uinLimit", "RequestLimitExceeded.UinLimitExceeded"),
            ("ipLimit", "RequestLimitExceeded.IPLimitExceeded"),
        ]:
            admin("POST", "/faults", {"count": 1, "effect": {"type": "throttle", "style": style}})
            self.refused(code, lambda: listed(api()))
        # The account's limit, which does not refill while the test runs.
        limit = {"perSecond": 0.001, "burst": 1}
        admin("PUT", "/accounts/2100000000", {"rateLimit": limit})
        self.assertEqual(listed(api()).TotalCount, 5)
        self.refused("RequestLimitExceeded.UinLimitExceeded", lambda: listed(api()))

    def test_an_error_beside_http_500(self):
        error = {"type": "error", "status": 500, "code": "InternalError"}
        admin("POST", "/faults", {"count": 1, "effect": error})
        self.refused("ServerNetworkError", lambda: listed(api()))
        admin("POST", "/faults", {"count": 1, "effect": {**error, "status": 200}})
        self.refused("InternalError", lambda: listed(api()))

    def test_unknown_fields_and_values_are_no_obstacle(self):
        admin("PUT", "/settings", {"quirks": True})
        self.assertEqual(listed(api(), InstanceId=ID).BackupSet[0].BackupType, "9")

    def test_the_sdk_misses_the_list_of_the_old_sample(self):
        admin("PUT", "/settings", {"tencent": {"backupSetKey": "RedisBackupSet"}})
        answer = listed(api(), InstanceId=ID)
        self.assertEqual((answer.TotalCount, answer.BackupSet), (5, None))


if __name__ == "__main__":
    unittest.main()
