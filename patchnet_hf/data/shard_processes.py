"""Processes that write the shards of a dataset side by side."""

import itertools
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.synchronize import Event

from ..child_processes import serve_parent, started_out_of_reach
from ..whole_folder import Unfinished
from .shards import ShardResult, ShardSettings, ShardTask, Stopped, write_shard

_SECONDS_BETWEEN_LOOKS = 0.2
_ROWS_BETWEEN_REPORTS = 20


class _Shared:
    """What the processes of a conversion tell each other."""

    def __init__(self, context):
        self.rows_done = context.Value("q", 0)
        self.stop: Event = context.Event()
        self.found_bad: Event = context.Event()


# Set in each process when it begins: a pool hands such objects over in no other way.
_shared: _Shared | None = None


def write_shards(
    tasks: Iterable[ShardTask],
    settings: ShardSettings,
    num_proc: int,
    advance: Callable[[int], object],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[ShardResult]:
    """
    Writes shards by up to `num_proc` processes, or by as many threads where there is but one shard.

    Args:
        tasks, settings: what to write, and how.
        advance: told how many rows are done.
        stop: asked now and then whether to give up.

    Yields:
        Their results, as they are finished.

    Raises:
        Stopped: `stop` said so.
        Unfinished: a process was killed.
        OSError: a shard can't be written.
    """
    tasks = iter(tasks)
    first = list(itertools.islice(tasks, num_proc))
    processes = len(first)
    tasks = itertools.chain(first, tasks)
    settings = replace(settings, threads=-(-num_proc // max(processes, 1)))
    if processes < 2:
        yield from _write_here(tasks, settings, advance, stop)
        return
    # Forked, processes share the memory of what is imported. There are no threads yet that a fork could break.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    shared = _Shared(context)
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(shared,))
    try:
        yield from _results(pool, tasks, settings, shared, processes, advance, stop)
    except BrokenProcessPool as error:
        raise Unfinished(
            "a process of the conversion was killed, perhaps because memory ran out; what is done so far is kept, and "
            "the same command goes on: give --num-proc a smaller number"
        ) from error
    finally:
        shared.stop.set()
        pool.shutdown(cancel_futures=True)


def _write_here(
    tasks, settings: ShardSettings, advance: Callable[[int], object], stop: Callable[[], bool]
) -> Iterator[ShardResult]:
    found_bad = threading.Event()
    for task in tasks:
        result = write_shard(task, settings, advance, stop, found_bad.is_set)
        if result.bad:
            found_bad.set()
        yield result


def _results(pool, tasks, settings, shared: _Shared, processes: int, advance, stop) -> Iterator[ShardResult]:
    running: set[Future] = set()
    reported = 0
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < 2 * processes:
            task = next(tasks, None)
            exhausted = task is None
            if task is not None:
                with started_out_of_reach():
                    running.add(pool.submit(_write, task, settings))
        done, running = wait(running, _SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
        advance(shared.rows_done.value - reported)
        reported = shared.rows_done.value
        if stop():
            raise Stopped
        for future in done:
            result = future.result()
            if result.bad:
                shared.found_bad.set()
            yield result
    advance(shared.rows_done.value - reported)


def _begin(shared: _Shared) -> None:
    global _shared
    _shared = shared
    serve_parent()


def _write(task: ShardTask, settings: ShardSettings) -> ShardResult | None:
    waiting = 0

    def advance(rows: int) -> None:
        nonlocal waiting
        waiting += rows
        if waiting >= _ROWS_BETWEEN_REPORTS:
            report()

    def report() -> None:
        nonlocal waiting
        with _shared.rows_done.get_lock():
            _shared.rows_done.value += waiting
        waiting = 0

    try:
        return write_shard(task, settings, advance, _shared.stop.is_set, _shared.found_bad.is_set)
    except Stopped:
        return None
    finally:
        report()
