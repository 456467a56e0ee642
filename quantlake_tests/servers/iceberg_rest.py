"""An Iceberg REST catalogue, for tests: Iceberg's own Java handlers over its JDBC catalogue, on loopback, jars from Maven Central.

Here: starting it. Not here: its routes, which are one Java file beside this one (``IcebergRest.java``), run from its source.
Tables' pointers are kept in SQLite on disk and survive a kill; the metadata and data files lie in the warehouse (S3).
Not to be had from Maven Central, which is why it is this: Iceberg's test fixtures and test jar (``iceberg-open-api``,
``iceberg-core:tests``), Nessie's and Polaris' servers (``nessie-quarkus`` runner, ``polaris-server``, ``polaris-runtime-service``),
Gravitino's ``iceberg-rest-server``.
"""

import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from quantlake.contract import QuantLakeError
from quantlake_tests.servers.maven import jars
from quantlake_tests.servers.processes import free_port

VERSION = "1.12.0"
TOKEN = "quantlake-tests-token"  # the bearer token that it asks for


@dataclass
class IcebergRestServer:
    """The catalogue that runs now and its files. Errors are ``RuntimeError`` naming its log."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    properties: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def start(cls, folder: Path, warehouse: str, s3: Mapping[str, str], port: int = 0) -> "IcebergRestServer":
        """Start a catalogue whose database lies in ``folder``; ``s3`` are the S3 properties (endpoint, keys) of its own file access."""
        folder.mkdir(parents=True, exist_ok=True)
        properties = {
            "uri": f"jdbc:sqlite:{folder / 'catalog.db'}", "warehouse": warehouse, "clients": "1", "jdbc.schema-version": "V1",
            "io-impl": "org.apache.iceberg.aws.s3.S3FileIO", "s3.path-style-access": "true", **s3,
        }  # fmt: skip
        port = port or free_port()
        server = cls(_process(folder, port, properties), folder, port, properties)
        server._wait()
        return server

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again, stopped first if it runs, on the same data and port."""
        self.stop()
        self.process = _process(self.folder, self.port, self.properties)
        self._wait()

    def _wait(self, seconds: float = 90.0) -> None:
        deadline, log = time.monotonic() + seconds, self.folder / "iceberg-rest.log"
        asked = Request(f"{self.url}/v1/config", headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            while self.process.poll() is None:
                try:
                    with urlopen(asked, timeout=5):
                        return
                except (URLError, ConnectionError, TimeoutError):
                    pass
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the Iceberg REST catalogue did not answer at {self.url} in {seconds:.0f} s; its output is in {log}")
                time.sleep(0.05)
            raise RuntimeError(f"the Iceberg REST catalogue ended with status {self.process.returncode}; its output is in {log}")
        except BaseException:  # an interrupted wait too must not leave a server behind
            self.kill()
            raise


def why_not() -> str | None:
    """Why it cannot be run here, if it cannot; fetches its jars where they are not in the cache yet."""
    if shutil.which("javac") is None:
        return "there is no JDK (17 or newer): apt-get install openjdk-17-jdk-headless"
    try:
        _jars()
    except (RuntimeError, QuantLakeError) as error:
        return str(error)
    return None


def _process(folder: Path, port: int, properties: Mapping[str, str]) -> subprocess.Popen[bytes]:
    jvm = ("java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{_jars()}/*")
    arguments = (str(port), TOKEN, *(f"{name}={value}" for name, value in properties.items()))
    with (folder / "iceberg-rest.log").open("ab") as log:
        command = [*jvm, str(Path(__file__).with_name("IcebergRest.java")), *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _jars() -> Path:
    iceberg = [f"org.apache.iceberg:{name}:{VERSION}" for name in ("iceberg-core", "iceberg-aws", "iceberg-aws-bundle")]
    return jars(f"iceberg-rest-{VERSION}", [*iceberg, "org.xerial:sqlite-jdbc:3.50.3.0", "org.slf4j:slf4j-simple:2.0.17"])
