"""Commands that start warm: each in a process of its own, forked from one that has imported what is not ours.

Here: the process that forks them, and how one is run and waited for. Not here: which commands there are (``commands``).
A command's imports are 1 to 8 s of CPU, most of what a test over a small home costs; QuantLake itself is imported by each command.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

import psutil

SERVER = {"GX_ANALYTICS_ENABLED": "false", "OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}  # read at import
MORE = ("numba", "rich.markdown", "rich.progress", "typer.rich_utils")  # beside what the workers of runs are forked with
ROOT = Path(__file__).parents[2]
ANSWER = 20  # bytes of an answer: a number


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds)``, of a Python script."""
    answers, answering = os.pipe()
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err, os.fdopen(answers, "rb", buffering=0) as answered:
        request = json.dumps([list(command), dict(environment), str(folder)]).encode()
        socket.send_fds(_server(), [request], [out.fileno(), err.fileno(), answering])
        os.close(answering)
        pid = int(answered.read(ANSWER))
        ending = select.poll()  # select itself takes no file beyond the 1024th
        ending.register(answered)
        if not ending.poll(seconds * 1000):
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(command), seconds)
        status = int(answered.read(ANSWER))
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(command), status, out.read(), err.read())


@cache
def _server() -> socket.socket:
    """The channel to the one server of this process; it ends as the channel closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "quantlake_tests.e2e.warm", str(theirs.fileno())]
        process = subprocess.Popen(command, env=os.environ | SERVER, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    atexit.register(process.wait)
    atexit.register(ours.close)  # before it
    return ours


def serve(channel: socket.socket) -> tuple[list[str], dict[str, str], str]:
    """Fork a process for each request until the channel closes, and in that process return the request: command, environment, folder."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps those who wait for a command
    while True:
        request, files, _, _ = socket.recv_fds(channel, 1 << 18, 3)
        if not request:
            gc.unfreeze()  # or what is frozen is told as leaked
            sys.exit()
        if os.fork() == 0:
            break
        for file in files:
            os.close(file)
    channel.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, answer = files
    if pid := os.fork():
        os.write(answer, str(pid).encode().ljust(ANSWER))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(answer, str(status).encode().ljust(ANSWER))
        os._exit(0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for file in files:
        os.close(file)
    command, environment, folder = json.loads(request)
    return command, environment, folder


def preload() -> None:
    from quantlake.orchestration.launcher import PRELOAD

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in (*PRELOAD, *MORE):
            importlib.import_module(module)
    threads = psutil.Process().num_threads()
    assert threads == 1, f"{threads} threads, which a fork would lose"
    gc.freeze()


def command(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run a Python script as if it were this process's own, and end with its exit status."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.modules["numpy"].random.seed()  # or every command draws the same numbers
    sys.argv, status = arguments, 1

    def leave() -> None:
        """After what the command does at its exit: what the server's libraries would do is the server's, and modules are not torn down."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)
    try:
        runpy.run_path(arguments[0], run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)


if __name__ == "__main__":
    preload()
    command(*serve(socket.socket(fileno=int(sys.argv[1]))))
