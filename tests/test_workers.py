"""Jobs by several processes: in order, each once, whatever happens to a process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import pytest

from mnv2_engine.errors import InputError, MnvError
from mnv2_engine.many import workers
from mnv2_engine.many.workers import AHEAD, MOST_DEATHS, WAITING, in_order

METHODS = ["fork", "spawn"] if sys.platform == "linux" else ["spawn"]
quick = pytest.mark.parametrize("method", METHODS[:1])  # a spawned process imports everything anew


def doubled(job: int) -> tuple[int, int]:
    time.sleep(0.002 * (job % 3))  # later jobs overtake earlier ones
    return 2 * job, os.getpid()


def lost(job: int, reason: str) -> tuple[int, str]:
    return job, reason


def failing(job: int) -> int:
    if job == 5:
        raise InputError("job 5 is refused")
    return job


def killing(folder: Path, bad: int, times: int, job: int) -> tuple[int, str]:
    """Ends its process upon job `bad`, the first `times`."""
    if job == bad and len(list(folder.iterdir())) < times:
        (folder / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.001)
    return job, "done"


def ending(job: int) -> tuple[int, str]:
    os._exit(7)


@pytest.mark.parametrize("method", METHODS)
def test_answers_come_in_order_from_several_processes(method):
    found = list(in_order(range(40), doubled, 3, lost, method=method))
    assert [answer for answer, _ in found] == [2 * job for job in range(40)]
    processes = {process for _, process in found}
    assert 1 < len(processes) <= 3
    assert os.getpid() not in processes


@quick
def test_as_many_processes_as_there_is_work_for(method):
    assert list(in_order([], doubled, 8, lost, method=method)) == []
    found = list(in_order([3, 4], doubled, 8, lost, method=method))
    assert [answer for answer, _ in found] == [6, 8]
    assert len({process for _, process in found}) == 2


@quick
def test_own_jobs_stay_in_this_process(method):
    found = list(in_order(range(9), doubled, 2, lost, own=lambda job: job % 4 == 1, method=method))
    assert [answer for answer, _ in found] == [2 * job for job in range(9)]
    own = [job for job, (_, process) in enumerate(found) if process == os.getpid()]
    assert own == [1, 5]


@quick
def test_jobs_are_taken_shortly_before_their_turn(method):
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        for number in count(1):
            taken = number
            yield number

    answers = in_order(endless(), doubled, 2, lost, method=method)
    for number, _ in enumerate(islice(answers, 300), 1):
        assert taken <= number + 2 * AHEAD
    answers.close()  # type: ignore[attr-defined]


@quick
@pytest.mark.parametrize("bad", [0, 4, 29])
def test_a_killed_worker_is_replaced_and_its_jobs_are_done_again(method, bad, tmp_path):
    said: list[str] = []
    answer = partial(killing, tmp_path, bad, 1)
    found = list(in_order(range(30), answer, 2, lost, say=said.append, method=method))
    assert found == [(job, "done") for job in range(30)]
    (told,) = said
    (pid,) = (each.name for each in tmp_path.iterdir())
    assert f"process {pid} ended by SIGKILL" in told


def test_a_killed_worker_that_was_spawned(tmp_path):
    answer = partial(killing, tmp_path, 1, 1)
    found = list(in_order(range(4), answer, 1, lost, method="spawn"))
    assert found == [(job, "done") for job in range(4)]


@quick
def test_a_job_that_kills_each_worker_is_given_up(method, tmp_path):
    answer = partial(killing, tmp_path, 7, 99)
    found = list(in_order(range(30), answer, 2, lost, method=method))
    assert len(list(tmp_path.iterdir())) == MOST_DEATHS
    job, reason = found[7]
    assert job == 7
    assert f"{MOST_DEATHS} processes" in reason
    assert "SIGKILL" in reason
    assert found[:7] + found[8:] == [(job, "done") for job in range(30) if job != 7]


@quick
def test_workers_killed_from_outside_at_any_time(method):
    """Nothing is lost and nothing comes twice, however often."""
    killed, last = 0, 0
    found = []
    for answer, process in in_order(range(400), doubled, 2, lost, method=method):
        found.append(answer)
        if len(found) % 80 == 0 and process != last:
            os.kill(process, signal.SIGKILL)
            killed, last = killed + 1, process
    assert found == [2 * job for job in range(400)]
    assert killed >= 2


@quick
def test_an_error_of_ours_ends_all(method):
    answers = in_order(range(50), failing, 2, lost, method=method)
    with pytest.raises(InputError, match="job 5 is refused"):
        list(answers)


@quick
def test_workers_that_cannot_start(method):
    with pytest.raises(MnvError, match="--workers 1"):
        list(in_order(range(50), ending, 2, lost, method=method))


@quick
def test_no_process_is_left_behind(method):
    answers = in_order(range(100), doubled, 2, lost, method=method)
    seen = {process for _, process in islice(answers, 50)}
    answers.close()  # type: ignore[attr-defined]
    for process in seen:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_few_jobs_wait_in_a_pipe():
    # A worker's pipe must take them without the parent waiting: names of 4096 bytes at most.
    assert WAITING * 3 * 4096 < 1 << 16
    assert workers.start_method() in ("fork", "spawn")
