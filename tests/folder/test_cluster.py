"""A run on other processes: two real workers, one of them killed in the middle, a file that kills each that takes it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from toys import disc

from segkit.checkpoint import Card, load_model, save_model
from segkit.cli import main
from segkit.engines import Work
from segkit.errors import CrashError, MissingExtraError, SettingsError, WeightsError, WriteError
from segkit.folder import Extras, Options, Summary, cluster, predict_files, scheduler, worker
from segkit.folder.cluster import Batch, Queue, connected
from segkit.folder.ledger import Entry
from segkit.folder.scheduler import local_size, require_safe
from segkit.folder.worker import VERSIONS, Choice, Orders, make_ready
from segkit.io import Source, find_sources
from segkit.predict import Model, load

distributed = pytest.importorskip("distributed")

CHOICE = Choice("cpu", "fp32", "torch")

ON_THIS_MACHINE: dict[str, Any] = {
    "host": "127.0.0.1",
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
    "dashboard_address": None,
    "memory_limit": 0,
    "silence_logs": logging.CRITICAL,
}

HOOKS = """
import os
import signal
import time

from segkit.folder import procedure
from segkit.folder.outputs import write_all


def faulty():
    faulty()


def is_to_die(path):
    if path.name.startswith("deadly"):
        return True
    died = path.with_suffix(".died")
    if not path.name.startswith("once") or died.exists():
        return False
    died.touch()
    return True


def hooked(source, *given):
    path = source.files[0]
    if path.name.startswith("slow"):
        time.sleep(0.1)
    if path.name.startswith("faulty"):
        faulty()
    if is_to_die(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return write_all(source, *given)


procedure.write_all = hooked
"""
"""What a worker does differently here."""

Run = Callable[..., Summary]


@pytest.fixture(scope="module")
def model(disc_run: Path) -> Model:
    return load(disc_run, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two workers; a chunk may end two of them, not four as usual: to start one takes a while."""
    import dask

    with dask.config.set({**scheduler.AT_HOME, "distributed.scheduler.allowed-failures": 1}):
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, preload=[HOOKS], **ON_THIS_MACHINE) as started:
            yield started.scheduler_address


@contextmanager
def in_threads(workers: int = 1, **given: Any) -> Iterator[Any]:
    """A scheduler, and workers that are threads of this process: there at once."""
    with distributed.LocalCluster(n_workers=workers, processes=False, threads_per_worker=torch.get_num_threads(), **ON_THIS_MACHINE, **given) as started:
        yield started


@pytest.fixture
def run_at(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """All below in/ into out/, by the workers of an address, or here; by relative paths: the workers are in another folder."""
    monkeypatch.chdir(tmp_path)

    def work(address: str | None, out: str = "out", watch: Any = None, chosen: Model = model, **options: Any) -> Summary:
        more: dict[str, Any] = {} if watch is None else {"watch": watch}
        how = {"predict": chosen.run.predict, "read": chosen.run.data.read, "options": Options(**{"readers": 0, **options}), **more}
        with nullcontext() if address is None else connected(address, CHOICE) as elsewhere:
            return predict_files(find_sources(Path("in")).sources, chosen, Path(out), **how, elsewhere=elsewhere)

    return work


@pytest.fixture
def run(run_at: Run, address: str) -> Run:
    """By the two workers."""
    return partial(run_at, address)


def put(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        Pillow.fromarray(disc(seed, (33, 47) if seed % 2 else (47, 33))[0]).save(folder / name)


def counts(summary: Summary) -> tuple[int, int, int]:
    return summary.done, summary.failed, summary.skipped


def masks(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".png", ".tif")}


def times_told(out: Path) -> set[int]:
    """How many lines of the ledger a file has."""
    lines = map(json.loads, (out / ".segkit" / "ledger.jsonl").read_text().splitlines())
    return set(Counter(line["key"] for line in lines if "key" in line).values())


def at_the_first(act: Callable[[], object]) -> Callable[[Iterable[Entry], int, str], Iterable[Entry]]:
    """A watcher that does something when the first file is finished."""

    def watch(entries: Iterable[Entry], total: int, what: str) -> Iterable[Entry]:
        for number, entry in enumerate(entries):
            if number == 0:
                act()
            yield entry

    return watch


def test_two_workers_write_what_one_process_writes(run: Run, run_at: Run, address: str, tmp_path: Path) -> None:
    put(tmp_path / "in", ["a.png", "a.tif", "b.png", "c.tif", "d.png", "e.png", "f.png", "g.png"])
    (tmp_path / "in" / "b.png").write_bytes(b"")
    here, there = run_at(None, "here"), run("there", readers=1)
    assert counts(here) == counts(there) == (7, 1, 0)
    assert masks(tmp_path / "here") == masks(tmp_path / "there")
    assert {row.file: row.output for row in there.results} == {row.file: row.output.replace("here", "there") for row in here.results}
    assert {row.file: row.areas_px for row in there.results} == {row.file: row.areas_px for row in here.results}
    assert there.failures == here.failures
    assert [(row.path, row.code) for row in there.failures] == [(str(Path("in/b.png")), "E_EMPTY")]
    told = json.loads((tmp_path / "there" / "run.json").read_text())
    assert (told["cluster"], told["workers"], told["precision"], told["state"]) == (address, 2, "fp32", "finished")
    assert counts(run("there", resume=True)) == (0, 1, 7)


def test_a_worker_that_is_killed_costs_nothing(run: Run, run_at: Run, tmp_path: Path) -> None:
    put(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.png", "h.png", "once.png"])
    summary = run()
    assert (tmp_path / "in" / "once.died").exists()
    assert counts(summary) == (9, 0, 0)
    assert times_told(tmp_path / "out") == {1}
    run_at(None, "here")
    assert masks(tmp_path / "out") == masks(tmp_path / "here")


def test_a_file_that_ends_every_worker_costs_one_row(run: Run, run_at: Run, tmp_path: Path) -> None:
    put(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png", "deadly.png", "e.png", "f.png", "g.png"])
    assert counts(run_at(None)) == (8, 0, 0)                         # the mask of an earlier time must not be taken for a result
    summary = run()
    assert counts(summary) == (7, 1, 0)
    (failure,) = summary.failures
    assert (failure.path, failure.code) == (str(Path("in/deadly.png")), "E_CRASH")
    assert "ended the worker that was at it, 2 times" in failure.message
    assert sorted(masks(tmp_path / "out")) == ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.png"]
    assert times_told(tmp_path / "out") == {2}


def test_a_signal_lets_the_files_at_hand_be_finished_and_resume_does_the_rest(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "FILES_AT_ONCE", 1)
    put(tmp_path / "in", [f"{number:02d}.png" for number in range(12)])
    summary = run(watch=at_the_first(lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert summary.signal == signal.SIGINT
    assert 1 <= summary.done <= 2 * cluster.CHUNKS_EACH
    assert len(masks(tmp_path / "out")) == summary.done              # nothing is written that is not in the ledger
    again = run(resume=True)
    assert (again.signal, again.done, again.skipped) == (None, 12 - summary.done, summary.done)
    assert times_told(tmp_path / "out") == {1}


def test_a_run_that_ends_at_its_first_bad_file_leaves_nobody_at_work(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed_out, as_usual = set(), cluster._chunk_of

    def noting(sources: Iterable[Source], work: Any) -> Any:
        handed_out.update(source.files[0].name for source in sources)
        return as_usual(sources, work)

    monkeypatch.setattr(cluster, "FILES_AT_ONCE", 1)
    monkeypatch.setattr(cluster, "_chunk_of", noting)
    put(tmp_path / "in", ["bad.png", *(f"slow{number}.png" for number in range(6))])
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    assert run(stop_on_error=True).failed == 1
    assert set(masks(tmp_path / "out")) == handed_out - {"bad.png"}


def test_other_weights_at_the_workers_are_noticed_before_the_first_file(run: Run, disc_run: Path, tmp_path: Path) -> None:
    put(tmp_path / "in", ["a.png"])
    path = Path(shutil.copy(disc_run / "model.safetensors", tmp_path))
    chosen, file = load(path, device="cpu", precision="fp32"), load_model(path)
    save_model(path, file.run, {key: value + 1 if value.is_floating_point() else value for key, value in file.weights.items()}, Card())
    with pytest.raises(WeightsError, match=r"worker tcp://127.0.0.1:\d+: .*model.safetensors: holds other weights there than here"):
        run(chosen=chosen)
    assert masks(tmp_path / "out") == {}


def test_a_fault_of_the_program_ends_the_run_and_says_where_it_was(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "in", ["faulty.png"])
    with pytest.raises(RuntimeError, match=r"in _write_found(.|\n)*in faulty(.|\n)*RecursionError"):
        run()


def test_masks_that_are_not_to_be_seen_here_end_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "in", ["a.png"])
    monkeypatch.setattr(cluster, "is_there", lambda entry, out: False)
    monkeypatch.setattr(cluster, "SEEN_WITHIN_SECONDS", 0.1)
    with pytest.raises(WriteError, match=r"out: a worker wrote a.png, but what it wrote is not there; OUT must be one folder for all"):
        run()


def test_local_starts_workers_of_its_own(disc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "in", ["a.png", "b.png", "c.png"])
    given = ["predict", str(tmp_path / "in"), "-m", str(disc_run), "-o", str(tmp_path / "out"), "--precision", "fp32", "--device", "cpu"]
    assert main([*given, "--cluster", "local"]) == 0
    assert sorted(masks(tmp_path / "out")) == ["a.png", "b.png", "c.png"]
    told = capsys.readouterr().err.strip().splitlines()
    count, _ = local_size(os.cpu_count() or 1, "cpu")
    assert told[-1].startswith(f"3 files: 3 ok ({count} worker")
    assert told[-1].endswith(f", fp32, torch); table: {tmp_path / 'out' / 'results.csv'}")


@pytest.mark.parametrize(
    ("processors", "device", "expected"), [(1, "cpu", (1, 1)), (2, "cpu", (2, 1)), (6, "cpu", (2, 3)), (16, "cpu", (4, 4)), (16, "cuda", (1, 16))]
)
def test_processors_are_shared_among_the_workers(processors: int, device: str, expected: tuple[int, int]) -> None:
    assert local_size(processors, device) == expected


@pytest.mark.parametrize("address", ["tcp://10.0.0.5:8786", "10.0.0.5:8786", "tcp://0.0.0.0:8786", "tcp://localhost.example.org:8786", "tcp://[2001:db8::1]:8786"])
def test_an_address_that_others_reach_needs_tls(address: str) -> None:
    with pytest.raises(SettingsError, match=r"is neither loopback nor TLS: whoever reaches it can run programs there; use tls://"), connected(address):
        pass


def test_a_worker_that_others_reach_needs_tls_too() -> None:
    class Client:
        def nthreads(self) -> dict[str, int]:
            return {"tcp://127.0.0.1:40001": 1, "tcp://10.0.0.5:40002": 1}

    with pytest.raises(SettingsError, match=r"worker tcp://10\.0\.0\.5:40002: is neither loopback nor TLS"):
        cluster.Cluster(Client(), "", CHOICE)._look_for_workers()


@pytest.mark.parametrize("address", ["ucx://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://127.0.0.1:port", "LOCAL", "tls://:8786", "inproc://1/2/3"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"expected local, tcp://127\.0\.0\.1:PORT or tls://HOST:PORT"), connected(address):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786", "tcp://127.1.2.3:1", "tls://10.0.0.5:8786"])
def test_loopback_and_tls_are_allowed(address: str) -> None:
    assert require_safe(address, "--cluster") == address
    assert require_safe(address.removeprefix("tcp://"), "--cluster") == address


def test_tls_without_certificates_says_what_it_needs() -> None:
    with pytest.raises(SettingsError, match=r"TLS needs distributed\.comm\.tls\.ca-file and \.client\.cert"), connected("tls://127.0.0.1:8786"):
        pass


def test_where_no_scheduler_answers_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 0.2)
    with pytest.raises(SettingsError, match=r"--cluster tcp://127\.0\.0\.1:9: no scheduler answers there"), connected("tcp://127.0.0.1:9"):
        pass


def test_without_dask_it_is_told_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r'--cluster needs dask\.distributed: pip install "segkit\[dist\]"'), connected("local"):
        pass


class Worker:
    """As much of dask's as is asked for."""

    address = "tcp://127.0.0.1:1"

    class state:
        nthreads = torch.get_num_threads()


@pytest.fixture
def orders(model: Model, tmp_path: Path) -> Orders:
    predict, read = model.run.predict, model.run.data.read
    return Orders(model.name, model.fingerprint, CHOICE, Work(), model.run, predict, read, Extras(), tmp_path, 0, 1.0)


def test_a_worker_that_does_not_see_the_files_says_so(orders: Orders, tmp_path: Path) -> None:
    answer = asyncio.run(make_ready(orders, [tmp_path, tmp_path / "gone.png"], Worker()))
    assert str(answer) == f"worker {Worker.address}: does not see {tmp_path / 'gone.png'}; INPUT and OUT must lie where all workers see them, at the same place"


def test_a_worker_with_other_versions_says_so(orders: Orders) -> None:
    answer = asyncio.run(make_ready(replace(orders, versions="segkit 0.0.1, torch 1.0"), [], Worker()))
    assert isinstance(answer, SettingsError)
    assert str(answer) == f"worker {Worker.address}: has {VERSIONS}, here is segkit 0.0.1, torch 1.0; install the same everywhere"


def test_a_worker_that_comes_late_with_other_versions_ends_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "in", ["a.png", "b.png"])
    begin = cluster.Cluster.begin

    def late(self: Any, *given: Any) -> Any:
        told = begin(self, *given)
        self._orders = replace(self._orders, versions="segkit 0.0.1, torch 1.0")
        return told

    monkeypatch.setattr(cluster.Cluster, "begin", late)
    with pytest.raises(SettingsError, match=r"worker tcp://127.0.0.1:\d+: has segkit .*, here is segkit 0\.0\.1, torch 1\.0"):
        run()


def test_a_scheduler_that_goes_away_ends_the_run_in_words(run_at: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "FILES_AT_ONCE", 1)
    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 2.0)
    put(tmp_path / "in", [f"{number}.png" for number in range(12)])
    with in_threads(protocol="tcp") as brief, pytest.raises(CrashError, match=r"the scheduler is gone; start it again and go on with --resume"):
        run_at(brief.scheduler_address, watch=at_the_first(brief.close))
    assert run_at(None, resume=True).done < 12


def test_a_run_whose_workers_all_go_away_ends_in_words(run_at: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "FILES_AT_ONCE", 1)
    monkeypatch.setattr(cluster, "WORKERS_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(cluster, "WORKERLESS_SECONDS", 0.5)
    monkeypatch.setattr(cluster, "RESULT_SECONDS", 0.5)
    put(tmp_path / "in", [f"{number}.png" for number in range(12)])
    with in_threads(protocol="tcp") as brief, pytest.raises(CrashError, match=r"all its workers are gone; start some and go on with --resume"):
        run_at(brief.scheduler_address, watch=at_the_first(lambda: brief.scale(0)))


def test_a_scheduler_without_workers_is_told_how_to_start_some(run_at: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WORKERLESS_SECONDS", 0.2)
    put(tmp_path / "in", ["a.png"])
    with in_threads(workers=0, protocol="tcp") as empty, pytest.raises(SettingsError, match=r"has no workers; start some: dask worker tcp://127"):
        run_at(empty.scheduler_address)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_over_tls_a_run_is_as_any_other(run_at: Run, tmp_path: Path) -> None:
    import dask

    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, capture_output=True)
    tls = {f"distributed.comm.tls.{who}.{what}": file for who in ("scheduler", "worker", "client") for what, file in (("cert", certificate), ("key", key))}
    put(tmp_path / "in", ["a.png", "b.png"])
    with dask.config.set({**tls, "distributed.comm.tls.ca-file": certificate}), in_threads(protocol="tls", security=distributed.Security()) as secret:
        assert secret.scheduler_address.startswith("tls://")
        assert counts(run_at(secret.scheduler_address)) == (2, 0, 0)


def sources(*names: str) -> list[Source]:
    return [Source((Path(name),), PurePath(name).with_suffix("")) for name in names]


def test_pictures_that_share_an_output_stay_together() -> None:
    given = sources("a.png", "b.png", "a.tif", "c.png")
    queue = Queue(given, {PurePath("a")}, workers=1)
    a, b, also_a, c = given
    assert [queue.take(0, 4), queue.take(1, 4), queue.take(2, 4)] == [Batch([a, also_a]), Batch([b, c]), None]


def test_a_suspect_waits_until_it_is_alone() -> None:
    a, b, c = given = sources("a.png", "b.png", "c.png")
    queue = Queue(given, (), workers=2)                              # one file a chunk
    assert [queue.take(0, 2), queue.take(1, 2), queue.take(2, 2)] == [Batch([a]), Batch([b]), None]
    queue.suspect([a])
    queue.put_back([b])
    assert [queue.take(0, 2), queue.take(1, 2)] == [Batch([b]), Batch([c])]
    assert queue.take(1, 2) is None
    assert queue.take(0, 2) == Batch([a], alone=True)
    assert queue.take(0, 2) is None


class Lost:
    """A future whose result went with its worker."""

    def __init__(self, status: str) -> None:
        self.status = status

    def result(self, seconds: float) -> None:
        raise TimeoutError


@pytest.mark.parametrize("status", ["finished", "pending", "lost"])
def test_a_result_that_went_with_its_worker_is_waited_for_again(status: str) -> None:
    (a,), future = sources("a.png"), Lost(status)
    running: dict[Any, Batch] = {future: Batch([a])}
    assert list(cluster.Cluster(None, "", CHOICE)._settle(future, running, Queue([], (), workers=1))) == []
    assert running == {future: Batch([a])}


def test_a_worker_whose_time_is_up_still_does_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = sources("a.png", "b.png")
    assert list(worker._in_time([a, b])) == [a, b]
    monkeypatch.setattr(worker, "SECONDS_AT_ONCE", -1.0)
    assert list(worker._in_time([a, b])) == [a]
