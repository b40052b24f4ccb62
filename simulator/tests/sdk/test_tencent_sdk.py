"""Tencent Cloud's official SDK as a client of the simulator at $SIMULATOR_URL."""

import json
import os
import unittest
import urllib.request

from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.redis.v20180412 import models, redis_client

URL = os.environ["SIMULATOR_URL"]
KEY, SECRET = "AKIDEXAMPLE0000000000000000000000000", "exampleSecretKey0123456789abcdef"
TEMPORARY, TOKEN = "AKIDtmp0000000000000000000000000000", "exampleSessionToken-0123456789abcdef=="
ID = "crs-ei43p3gr"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + "/admin" + path, data=data, method=method)
    with DIRECT.open(request) as answer:
        return json.load(answer)


def api(key=KEY, secret=SECRET, token=None, region="ap-guangzhou", unsigned_payload=False):
    http = HttpProfile(protocol="http", endpoint=URL.removeprefix("http://"), reqTimeout=20)
    profile = ClientProfile(httpProfile=http)
    profile.unsignedPayload = unsigned_payload
    return redis_client.RedisClient(credential.Credential(key, secret, token), region, profile)


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
