"""What real servers are made of, from Maven Central: fetched once a machine into a cache, whole or not at all, with checksums.

The cache is ``~/.cache/quantlake``, or ``QUANTLAKE_TEST_CACHE``. Maven checks every file against the registry's own checksum; an
archive is pinned by its SHA-256 here too.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from quantlake.adapters.locks import file_lock

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
PROJECT = "<project><modelVersion>4.0.0</modelVersion><groupId>quantlake</groupId><artifactId>{}</artifactId><version>1</version><dependencies>{}</dependencies></project>"
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
LOCK_SECONDS = 900.0


def jars(name: str, dependencies: Sequence[str]) -> Path:
    """The folder with the jars of some ``group:artifact:version`` and of all that they need at run time.

    ``name`` (with the version in it) is the cache's name of them. Raises ``RuntimeError`` naming Maven's output.
    """

    def fetch(work: Path) -> Path:
        Path(work, "pom.xml").write_text(PROJECT.format(name, "".join(DEPENDENCY.format(*d.split(":")) for d in dependencies)))
        _maven(name, work, f"{PLUGIN}:copy-dependencies", f"-DoutputDirectory={work}/jars", "-DincludeScope=runtime")
        return work / "jars"

    return cached(name, fetch)


def unpacked(name: str, coordinates: str, sha256: str) -> Path:
    """The unpacked folder of a ``group:artifact:version:tar.gz:classifier``. Raises ``RuntimeError``, also for another content."""

    def fetch(work: Path) -> Path:
        _maven(name, work, f"{PLUGIN}:copy", f"-Dartifact={coordinates}", f"-DoutputDirectory={work}")
        (archive,) = work.glob("*.tar.gz")
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise RuntimeError(f"{coordinates} has the SHA-256 {found}, expected {sha256}")
        with tarfile.open(archive) as packed:
            packed.extractall(work / "unpacked", filter="data")
        return work / "unpacked"

    return cached(name, fetch)


def cached(name: str, fetch: Callable[[Path], Path]) -> Path:
    """The cache's folder ``name``; where it is not there, what ``fetch`` makes in the working folder it is given."""
    cache = cache_folder()
    place = cache / name
    if place.is_dir():
        return place
    with file_lock(cache / f"{name}.lock", what=f"the fetch of {name}", wait_seconds=LOCK_SECONDS), tempfile.TemporaryDirectory(dir=cache) as work:
        if not place.is_dir():  # else another process has fetched it meanwhile
            fetch(Path(work)).rename(place)
    return place


def cache_folder() -> Path:
    return Path(os.environ.get("QUANTLAKE_TEST_CACHE") or Path.home() / ".cache" / "quantlake")


def _maven(name: str, work: Path, *arguments: str) -> None:
    if shutil.which("mvn") is None:
        raise RuntimeError(f"there is no `mvn` to fetch {name} with: install Maven and Java 17")
    log = cache_folder() / f"{name}.log"
    with log.open("wb") as output:
        command = ["mvn", "--batch-mode", "--strict-checksums", *arguments]
        if subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode != 0:
            raise RuntimeError(f"Maven could not fetch {name}; its output is in {log}")
