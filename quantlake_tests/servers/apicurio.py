"""Apicurio Registry, for tests: its archive from Maven Central, schemas in an H2 file, one user with a password."""

import os
import re
import secrets
import shutil
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from quantlake.contract import QuantLakeError
from quantlake_tests.servers.maven import unpacked
from quantlake_tests.servers.processes import Server

VERSION = "3.3.3"
ARCHIVE = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
JAVA = 21  # the oldest that it runs on
USER = "quantlake"


@dataclass(kw_only=True)
class ApicurioServer(Server):
    """``password`` is that of the user ``quantlake``, who may do everything; nobody else may do anything."""

    name: ClassVar[str] = "apicurio"
    password: str = field(repr=False)

    @classmethod
    def start(cls, folder: Path) -> "ApicurioServer":
        folder.mkdir(parents=True, exist_ok=True)
        server = cls(folder=folder, password=secrets.token_urlsafe(24))
        server.run()
        return server

    @property
    def url(self) -> str:
        """Of the API that it shares with Confluent's registry."""
        return f"http://{self.address}/apis/ccompat/v7"

    def command(self) -> Sequence[str | Path]:
        jvm = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return [_java(), *jvm, "-jar", _program() / "quarkus-run.jar"]

    def environment(self) -> Mapping[str, str]:
        basic = "QUARKUS_HTTP_AUTH_PERMISSION_ALL_"
        return {
            **os.environ, "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(self.port),
            "QUARKUS_MANAGEMENT_HOST": "127.0.0.1", "QUARKUS_MANAGEMENT_PORT": "0",  # else 9000 of all addresses, which is one machine's once
            "APICURIO_STORAGE_KIND": "sql", "APICURIO_STORAGE_SQL_KIND": "h2",
            # H2 keeps what was committed for half a second before it writes it, unless told otherwise
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{self.folder}/h2/registry;WRITE_DELAY=0",
            "QUARKUS_HTTP_AUTH_BASIC": "true", f"{basic}PATHS": "/apis/*", f"{basic}POLICY": "authenticated",
            "QUARKUS_SECURITY_USERS_EMBEDDED_PLAIN_TEXT": "true",
            f"QUARKUS_SECURITY_USERS_EMBEDDED_USERS_{USER.upper()}": self.password,
            f"QUARKUS_SECURITY_USERS_EMBEDDED_ROLES_{USER.upper()}": "sr-admin",
        }  # fmt: skip

    def answers(self) -> bool:
        basic = b64encode(f"{USER}:{self.password}".encode()).decode()
        request = urllib.request.Request(f"{self.url}/subjects", headers={"Authorization": f"Basic {basic}"})
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except urllib.error.HTTPError as refused:  # not ready, or another's
            refused.close()
            return False
        except OSError:
            return False
        return True


def why_not() -> str | None:
    """Why Apicurio cannot be run here, if it cannot; fetches it where it is not in the cache yet."""
    try:
        _java()
        _program()
    except (RuntimeError, QuantLakeError) as error:
        return str(error)
    return None


def _program() -> Path:
    return unpacked(f"apicurio-registry-{VERSION}", ARCHIVE, SHA256)


def _java() -> Path:
    """A Java that is new enough. Raises ``RuntimeError``."""
    on_path = shutil.which("java")
    homes = [Path(os.environ.get("JAVA_HOME") or "/nowhere"), *sorted(Path("/usr/lib/jvm").glob("*"))]
    homes += [Path(on_path).resolve().parents[1]] if on_path else []
    for home in homes:
        release, program = home / "release", home / "bin" / "java"
        said = re.search(r'JAVA_VERSION="(\d+)', release.read_text()) if release.is_file() and program.is_file() else None
        if said and int(said[1]) >= JAVA:
            return program
    raise RuntimeError(f"Apicurio needs Java {JAVA} or newer: install one and set JAVA_HOME")
