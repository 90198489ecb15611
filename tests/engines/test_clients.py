"""Clients that take an Executor take a Pool: tornado, gRPC, botocore's transfers, dask's local schedulers."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import Pool


def thread_name(_: object = None) -> str:
    return threading.current_thread().name


def process_id(_: object = None) -> int:
    return os.getpid()


# ------------------------------------------------------------------------------- tornado


def test_tornado_runs_blocking_calls_in_a_pool() -> None:
    """run_in_executor and run_on_executor take a pool."""
    ioloop: Any = pytest.importorskip("tornado.ioloop")
    concurrent: Any = pytest.importorskip("tornado.concurrent")
    pool = Pool(2, name="tornado")

    class Service:
        executor = pool

        @concurrent.run_on_executor  # type: ignore[untyped-decorator]  # tornado has no types for it
        def where(self) -> str:
            return thread_name()

    async def main() -> tuple[int, str]:
        loop = ioloop.IOLoop.current()
        return await loop.run_in_executor(pool, tasks.double, 21), await Service().where()

    with pool:
        value, where = asyncio.run(main())  # tornado's loop is asyncio's
    assert value == 42
    assert where.startswith("tornado-")


# ---------------------------------------------------------------------------------- gRPC


@pytest.mark.leaks_expected("gRPC keeps threads and descriptors of its own until the program ends")
def test_grpc_serves_from_a_pool() -> None:
    """grpc.server takes a pool, whose threads answer the calls."""
    grpc: Any = pytest.importorskip("grpc")
    seen: list[str] = []

    def answer(request: bytes, _: object) -> bytes:
        seen.append(thread_name())
        return request.upper()

    handler = grpc.method_handlers_generic_handler(
        "Echo", {"Shout": grpc.unary_unary_rpc_method_handler(answer)}
    )
    with Pool(4, name="grpc") as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                shout = channel.unary_unary("/Echo/Shout")
                replies = [shout(f"call {n}".encode(), timeout=DEADLINE) for n in range(20)]
        finally:
            server.stop(None).wait(DEADLINE)
    assert replies == [f"CALL {n}".encode() for n in range(20)]
    assert all(name.startswith("grpc-") for name in seen)


# ------------------------------------------------------------------- botocore's transfers


def test_s3_transfers_run_in_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """TransferManager makes its executors of the class it is given: Pool is one."""
    manager: Any = pytest.importorskip("s3transfer.manager")
    session: Any = pytest.importorskip("botocore.session")
    stub: Any = pytest.importorskip("botocore.stub")
    client = session.get_session().create_client(
        "s3",
        region_name="eu-central-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
    )
    with stub.Stubber(client) as stubbed:
        for key in ("a", "b", "c"):
            expected = {
                "Bucket": "box",
                "Key": key,
                "Body": stub.ANY,
                "ChecksumAlgorithm": stub.ANY,
            }
            stubbed.add_response("put_object", {}, expected)
        # One worker a stage, so that requests come in the order in which the answers were put up.
        config = manager.TransferConfig(max_request_concurrency=1, max_submission_concurrency=1)
        with manager.TransferManager(client, config, executor_cls=Pool) as transfers:
            futures = [transfers.upload(io.BytesIO(b"x" * 100), "box", key) for key in "abc"]
            for future in futures:
                future.result()
        stubbed.assert_no_pending_responses()


# ---------------------------------------------------------------------- dask on one machine


@pytest.mark.parametrize(
    ("backend", "scheduler"), [("thread", "threads"), ("process", "processes")]
)
def test_dask_computes_in_a_pool(backend: Any, scheduler: str) -> None:
    """dask.config.set(pool=...) makes dask's own schedulers use our workers."""
    dask: Any = pytest.importorskip("dask")
    with Pool(2, backend=backend, name="dask") as pool:
        with dask.config.set(pool=pool, scheduler=scheduler):
            parts = [dask.delayed(tasks.double)(n) for n in range(20)]
            assert dask.delayed(sum)(parts).compute() == 380
            where = dask.compute(*[dask.delayed(process_id)(n) for n in range(4)])
        assert pool.stats().done > 0
    assert (os.getpid() in where) is (backend == "thread")
