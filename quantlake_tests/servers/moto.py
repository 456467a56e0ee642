"""moto's server, for tests: S3 and Glue on loopback, in a process of its own.

It keeps everything in memory: a restart loses it, and gives an empty server on the same port. moto does not look at the version that
an update of a Glue table names, which is Glue's optimistic lock; here it does, as AWS does.
"""

import importlib.util
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from quantlake_tests.servers.processes import free_port

REGION = "eu-west-1"
KEY, SECRET = "quantlake-tests", "quantlake-tests-secret"  # any are taken, unless `enforce` was called
PLAIN = {"Content-Type": "text/plain"}
ROOT = Path(__file__).parents[2]


@dataclass
class MotoServer:
    """The server that runs now. Errors are ``RuntimeError`` naming its log."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def s3(self) -> dict[str, str]:
        """The properties of pyiceberg's and Iceberg's own S3 clients."""
        return {
            "s3.endpoint": self.url, "s3.region": REGION, "client.region": REGION, "s3.access-key-id": KEY, "s3.secret-access-key": SECRET,
        }  # fmt: skip

    @property
    def glue(self) -> dict[str, str]:
        """The properties of pyiceberg's Glue client."""
        return {"glue.endpoint": self.url, "glue.region": REGION, "glue.access-key-id": KEY, "glue.secret-access-key": SECRET}

    @classmethod
    def start(cls, folder: Path, port: int = 0) -> "MotoServer":
        """Start an empty server (port 0: a free one), whose output goes to ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        server = cls(_process(folder, port), folder, port)
        server._wait()
        return server

    def stop(self) -> None:
        """It has nothing to end in order."""
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """An empty server on the same port."""
        self.kill()
        self.process = _process(self.folder, self.port)
        self._wait()

    def client(self, service: str) -> Any:
        """A boto3 client of "s3", "glue" or "iam"."""
        import boto3

        return boto3.client(service, endpoint_url=self.url, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET)

    def bucket(self, name: str) -> None:
        """Make a bucket."""
        client = self.client("s3")
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        client.close()

    def empty(self, bucket: str) -> None:
        """Delete all that is in a bucket."""
        client = self.client("s3")
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            if found := [{"Key": o["Key"]} for o in page.get("Contents", [])]:
                client.delete_objects(Bucket=bucket, Delete={"Objects": found})
        client.close()

    def enforce(self, enforced: bool) -> None:
        """Whether keys and signatures are checked from now on, as AWS checks them; none is known but those made with IAM."""
        with urlopen(Request(f"{self.url}/moto-api/reset-auth", data=b"0" if enforced else b"inf", headers=PLAIN, method="POST"), timeout=10):
            pass

    def _wait(self, seconds: float = 60.0) -> None:
        deadline, log = time.monotonic() + seconds, self.folder / "moto.log"
        try:
            while self.process.poll() is None:
                try:
                    with urlopen(f"{self.url}/moto-api/data.json", timeout=5):
                        return
                except (URLError, ConnectionError, TimeoutError):
                    pass
                if time.monotonic() > deadline:
                    raise RuntimeError(f"moto did not answer at {self.url} in {seconds:.0f} s; its output is in {log}")
                time.sleep(0.05)
            raise RuntimeError(f"moto ended with status {self.process.returncode}; its output is in {log}")
        except BaseException:  # an interrupted wait too must not leave a server behind
            self.kill()
            raise


def why_not() -> str | None:
    """Why moto cannot be run here, if it cannot."""
    missing = [name for name in ("moto", "flask", "boto3") if importlib.util.find_spec(name) is None]
    return f"the packages {', '.join(missing)} are not installed: uv sync --all-groups" if missing else None


def _process(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", __name__, str(port)]
    with (folder / "moto.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)


def _lock_glue() -> None:
    """Let an update of a table be refused that names another version than the table's."""
    from moto.glue.exceptions import GlueClientError
    from moto.glue.responses import GlueResponse

    theirs, lock = GlueResponse.update_table, threading.Lock()

    def update_table(self: GlueResponse) -> Any:
        asked = self.parameters
        with lock:
            table = self.glue_backend.get_table(asked["DatabaseName"], asked["TableInput"]["Name"])
            if asked.get("VersionId", table.as_dict()["VersionId"]) != table.as_dict()["VersionId"]:
                raise GlueClientError("ConcurrentModificationException", "Update table failed due to concurrent modifications.")
            return theirs(self)

    GlueResponse.update_table = update_table


if __name__ == "__main__":
    from moto.server import main

    _lock_glue()
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
