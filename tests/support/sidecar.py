"""A real sidecar process, driven from outside: config in, sockets and exit code out."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.waiting import eventually

# For a machine with other work: where nothing is wrong, none of it is waited for.
READY_WITHIN_S = 45.0
STOP_WITHIN_S = 30.0


class Sidecar:
    """``tlsidecar run`` on a config file. Its log is in ``log_text``; its listeners bind port 0."""

    def __init__(
        self,
        directory: Path,
        config: str,
        *,
        env: Mapping[str, str] | None = None,
        most_descriptors: int | None = None,
        under: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        """``most_descriptors`` is its RLIMIT_NOFILE; ``under`` a command that runs it in its own process."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.socket_path = directory / "run" / "admin.sock"
        self.config_path = directory / "tlsidecar.toml"
        self.config_path.write_text(f'[admin]\nsocket = "{self.socket_path}"\n' + config)
        self._log_path = directory / "log"
        self._env = {**os.environ, **(env or {})}
        self.workers = int(self._env.get("TLSIDECAR_WORKERS", "1"))  # no test's config says it
        self._arguments = list(arguments)
        self.pass_descriptors: Sequence[int] = ()
        self._before = list(under)
        if most_descriptors is not None:
            self._before = ["prlimit", f"--nofile={most_descriptors}:{most_descriptors}", "--"]
        self.process: subprocess.Popen[bytes] | None = None
        self._descriptors_at_rest = 0

    def start(self, *, wait: bool = True, until: str = "/readyz") -> Sidecar:
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self._before,
                    sys.executable,
                    "-m",
                    "tlsidecar",
                    "run",
                    "--config",
                    str(self.config_path),
                    *self._arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self.directory,
                pass_fds=self.pass_descriptors,
            )
        if wait:
            self.answers(until)
        return self

    def answers(self, path: str = "/readyz") -> None:
        """Wait until it says 200 to ``path``. Raises RuntimeError with its log when it ends instead."""
        eventually(lambda: self._answers(path), READY_WITHIN_S)
        self._descriptors_at_rest = self._descriptors_now()

    def _answers(self, path: str) -> bool:
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            raise RuntimeError(f"the sidecar ended with {code}:\n{self.log_text}")
        try:
            return self.get(path, expect=None)[0] == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log_text(self) -> str:
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    @property
    def whole_lines(self) -> list[str]:
        """Of the log: the last one may be half written."""
        return self.log_text.rpartition("\n")[0].splitlines()

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.whole_lines if line.startswith("{")]

    def access_lines(self) -> list[dict[str, Any]]:
        return [line for line in self.log_lines if "access" in line]

    def last_access(self, **wanted: object) -> dict[str, Any]:
        """Wait until the newest access line has these values: lines are written a moment after the fact. Each worker
        writes in its own time: of several, the newest line need not be the last, and two may be equally new."""

        def look() -> dict[str, Any] | None:
            lines = self.access_lines()
            assert lines, "no access line yet"
            newest = lines[-1:]
            if self.workers > 1:
                at = max(line["time"] for line in lines)
                newest = list({line["connection"]: line for line in lines if line["time"] == at}.values())
            fitting = [line for line in newest if all(line[key] == value for key, value in wanted.items())]
            assert fitting, (wanted, newest)
            return fitting[0]

        found = eventually(look)
        assert found is not None
        return found

    # The admin socket, by nothing but the standard library.

    def request(self, method: str, path: str, body: object | None = None) -> tuple[int, str]:
        return asked(self.socket_path, method, path, body)

    def get(self, path: str, *, expect: int | None = 200) -> tuple[int, str]:
        status, text = self.request("GET", path)
        assert expect is None or status == expect, (status, text)
        return status, text

    def json(self, path: str) -> Any:
        return json.loads(self.get(path)[1])

    def call(self, method: str, path: str, body: object | None = None) -> tuple[int, Any]:
        status, text = self.request(method, path, body)
        return status, json.loads(text)

    def status(self) -> Any:
        return self.json("/v1/status")

    def problems(self) -> list[dict[str, Any]]:
        """But that a worker lags, which a busy machine may make of any test."""
        return [problem for problem in self.status()["problems"] if problem["code"] != "worker_lag"]

    def listener(self, name: str | None = None) -> Any:
        listeners = self.status()["listeners"]
        return listeners[0] if name is None else next(entry for entry in listeners if entry["name"] == name)

    def port(self, name: str | None = None) -> int:
        return int(self.listener(name)["bound"].split(",")[0].rpartition(":")[2])

    def refusals(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("/v1/refusals")["refusals"]
        return found

    def refusal(self, **wanted: object) -> dict[str, Any]:
        """Wait for the newest refusal that has these values."""

        def look() -> dict[str, Any] | None:
            for refusal in self.refusals():
                if all(refusal[key] == value for key, value in wanted.items()):
                    return refusal
            raise AssertionError(f"no refusal with {wanted} in {self.refusals()}")

        found = eventually(look)
        assert found is not None
        return found

    def newest_refusal(self, number: int) -> dict[str, Any]:
        """Wait until so many were refused; the last of them."""

        def look() -> dict[str, Any]:
            refusals = self.refusals()
            assert [each["seq"] for each in refusals[:1]] == [number], refusals
            return refusals[0]

        return eventually(look)

    def failures(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("/v1/failures")["failures"]
        return found

    def failure(self, **wanted: object) -> dict[str, Any]:
        """Wait for failures that have these values, counted together."""

        def look() -> dict[str, Any] | None:
            for failure in self.failures():
                if all(failure[key] == value for key, value in wanted.items()):
                    return failure
            raise AssertionError(f"no failure with {wanted} in {self.failures()}")

        found = eventually(look)
        assert found is not None
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of ``name`` that carry these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            match = re.fullmatch(rf"{re.escape(name)}(?:\{{(.*)\}})? (\S+)", line)
            if match is None:
                continue
            found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[1] or ""))
            if all(found.get(key) == value for key, value in labels.items()):
                total += float(match[2])
        return total

    def counts(self, count: float, name: str, **labels: str) -> None:
        """Wait until ``name`` with these labels is ``count``: what a client has seen the end of may be counted a moment
        later."""

        def look() -> bool:
            found = self.metric(name, **labels)
            assert found == count, f"{name} {labels} is {found:g}, not {count:g}"
            return True

        eventually(look)

    # Its life.

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def was_ended(self) -> bool:
        """Whether the test has waited for its end."""
        assert self.process is not None
        return self.process.returncode is not None

    def wait(self, within_s: float = STOP_WITHIN_S) -> int:
        assert self.process is not None
        return self.process.wait(within_s)

    def stop(self) -> int:
        """TERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def settles(self) -> None:
        """Every connection is gone, and with it what it held: gauges are at zero, descriptors as at the start."""

        def look() -> bool:
            status = self.status()
            assert status["totals"]["connections_active"] == 0, status["totals"]
            idle = 0
            for listener in status["listeners"]:
                assert listener["handshakes_active"] == 0, listener
                assert all(upstream["active"] == 0 for upstream in listener["upstreams"]), listener
                # Behind the listener of [metrics] is the sidecar itself, which holds the other end, too.
                ends = 2 if listener["name"] == "metrics" else 1
                idle += ends * sum(upstream["idle"] for upstream in listener["upstreams"])
            left = self._descriptors_now() - self._descriptors_at_rest - idle
            assert left <= 0, f"{left} descriptors are left over"
            return True

        eventually(look)

    def _descriptors_now(self) -> int:
        """How many it holds, without those of calls of the admin socket: a call that is over is let go of a moment
        later, so it is counted while one is open, by whose answer those before it are gone."""
        with contextlib.closing(_UnixConnection(str(self.socket_path))) as connection:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return self.descriptors() - 1

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_s(self) -> float:
        """Processor time used so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def asked(admin_socket: Path, method: str, path: str, body: object | None = None) -> tuple[int, str]:
    """Whoever listens there. Raises OSError when nobody does."""
    with contextlib.closing(_UnixConnection(str(admin_socket))) as connection:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextlib.contextmanager
def running(
    directory: Path,
    config: str,
    *,
    env: Mapping[str, str] | None = None,
    most_descriptors: int | None = None,
    until: str = "/readyz",
    under: Sequence[str] = (),
) -> Iterator[Sidecar]:
    """A sidecar that is ready, or for which ``until`` is answered 200. Afterwards, unless the test itself ended it, it
    must be alive with everything back at rest, and end in order; in any case it has logged no traceback."""
    sidecar = Sidecar(directory, config, env=env, most_descriptors=most_descriptors, under=under)
    try:
        sidecar.start(until=until)
        yield sidecar
        assert sidecar.process is not None
        if not sidecar.was_ended:
            assert sidecar.process.poll() is None, f"it ended by itself, with {sidecar.process.poll()}"
            if sidecar.status()["state"] != "draining":
                sidecar.settles()
            sidecar.stop()
        assert "Traceback" not in sidecar.log_text, sidecar.log_text
    except BaseException:
        sys.stderr.write(f"--- the sidecar's log\n{sidecar.log_text[-8000:]}\n")
        raise
    finally:
        sidecar.kill()
