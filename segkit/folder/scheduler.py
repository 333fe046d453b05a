"""The way to a dask.distributed scheduler: one that is there, or one of this machine's own for the length of a run.

What travels is pickled: whoever reaches a port of the cluster can run programs on it. So nothing but loopback and TLS is spoken.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from segkit.engines import choose_device
from segkit.errors import MissingExtraError, SettingsError

CONNECT_SECONDS = 30.0

THREADS_EACH = 4
"""Of a worker of `local`: more threads for one picture gain less than another picture at the same time."""

ALWAYS: Mapping[str, Any] = {"distributed.comm.retry.count": 0}
"""dask's settings for this process: with retries, the wait for a result hung when the worker that had it died."""

AT_HOME: Mapping[str, Any] = {
    "distributed.deploy.lost-worker-timeout": "1 day",  # a worker that takes longer than the usual 15 s to start again would be given up
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""dask's settings for `local`."""

DEAF_TO_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""It reaches all processes at the terminal; what ends, and when, is said here."""


@contextmanager
def client_of(address: str, device: str = "auto") -> Iterator[Any]:
    """A client of the scheduler at that address; for "local" of one of processes of this machine, there as long as the block.

    Raises
    ------
    SettingsError
        The address is neither loopback nor TLS, or nobody answers there.
    MissingExtraError
        dask.distributed is not installed.
    """
    if address != "local":
        address = require_safe(address, "--cluster")
    distributed = require_distributed()
    import dask

    with ExitStack() as stack:
        stack.enter_context(distributed.utils.silence_logging_cmgr(logging.CRITICAL))  # its lines would break the progress; what matters is raised
        stack.enter_context(dask.config.set(ALWAYS if address != "local" else {**ALWAYS, **AT_HOME}))
        where = address if address != "local" else stack.enter_context(_local(distributed, device)).scheduler_address
        yield stack.enter_context(_connect(distributed, where))


def require_safe(address: str, what: str) -> str:
    """The address, with its scheme.

    Raises
    ------
    SettingsError
        It is none, or one that others can reach and that is not encrypted.
    """
    scheme, _, place = address.rpartition("://")
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if scheme not in ("", "tcp", "tls") or not host or not port:
        raise SettingsError(f"{what} {address}: expected local, tcp://127.0.0.1:PORT or tls://HOST:PORT")
    if scheme != "tls" and not _is_loopback(host):
        raise SettingsError(f"{what} {address}: is neither loopback nor TLS: whoever reaches it can run programs there; use tls://{place}")
    return f"{scheme or 'tcp'}://{place}"


def require_distributed() -> Any:
    """The package dask.distributed.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError('--cluster needs dask.distributed: pip install "segkit[dist]"') from error
    return distributed


def local_size(processors: int, device: str) -> tuple[int, int]:
    """(processes, threads of each). A GPU has one process."""
    count = min(processors, max(2, processors // THREADS_EACH)) if device == "cpu" else 1
    return count, processors // count


def _is_loopback(host: str) -> bool:
    """Of names only localhost: what others stand for can change."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _local(distributed: Any, device: str) -> Any:
    """Processes on 127.0.0.1, without web pages; how much memory they take is the machine's affair, as in a run without them."""
    count, threads = local_size(os.cpu_count() or 1, choose_device(device).type)
    return distributed.LocalCluster(
        n_workers=count,
        threads_per_worker=threads,
        processes=True,
        host="127.0.0.1",
        protocol="tcp",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        preload=[DEAF_TO_CTRL_C],
    )


def _connect(distributed: Any, address: str) -> Any:
    security = distributed.Security()
    if address.startswith("tls://") and not (security.tls_ca_file and security.tls_client_cert):
        raise SettingsError(f"--cluster {address}: TLS needs distributed.comm.tls.ca-file and .client.cert (and .key) in dask's settings, which name no files")
    try:
        return distributed.Client(address, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise SettingsError(f"--cluster {address}: no scheduler answers there ({one_line(error)}); start one: dask scheduler --host 127.0.0.1") from error


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
