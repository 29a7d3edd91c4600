"""Ctrl-C waits for a moment in which nothing is held."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from PIL import Image

from patchnet_hf.late_interrupt import late_interrupt

# Presses Ctrl-C where functions of a name have taken locks of a pool that often, and no `with` would give it back yet.
WITHIN_A_LOCK = """
import runpy, signal, sys, threading
import patchnet_hf.data.shards
takes_it, count = sys.argv[1], int(sys.argv[2])
patchnet_hf.data.shards.ROWS_PER_SHARD = 4 if takes_it == "wait" else 1000
usual, times = threading.Condition.__enter__, []
def enter(condition):
    entered = usual(condition)
    in_main_thread = threading.get_ident() == threading.main_thread().ident
    if in_main_thread and sys._getframe(1).f_code.co_name == takes_it:
        times.append(1)
        if len(times) == count:
            signal.raise_signal(signal.SIGINT)
    return entered
threading.Condition.__enter__ = enter
sys.argv = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(autouse=True)
def pythons_own_handler():
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.signal(signal.SIGINT, earlier)
    assert left is signal.default_int_handler, "it was put back"


def test_it_is_raised_when_the_block_ends():
    looked = []
    with pytest.raises(KeyboardInterrupt), late_interrupt() as asked:
        looked.append(asked())
        signal.raise_signal(signal.SIGINT)
        looked.append(asked())
    assert looked == [False, True]


def test_it_takes_the_place_of_the_error_that_ends_the_block():
    with pytest.raises(KeyboardInterrupt) as stop, late_interrupt():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("given up")
    assert stop.value.__suppress_context__


def test_the_same_one_again_changes_nothing_and_another_one_is_raised_at_once(monkeypatch):
    with pytest.raises(KeyboardInterrupt), late_interrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr("patchnet_hf.late_interrupt.SAME_REQUEST_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_block_within_another_one_is_told_and_the_outer_one_raises_it():
    ended = []
    with pytest.raises(KeyboardInterrupt), late_interrupt() as asked:
        with late_interrupt() as asked_within:
            signal.raise_signal(signal.SIGINT)
            ended.append((asked(), asked_within()))
        ended.append("inner")
    assert ended == [(True, True), "inner"]


def test_without_it_a_block_ends_as_ever():
    with late_interrupt():
        pass
    with pytest.raises(ValueError), late_interrupt():
        raise ValueError


def test_another_handler_is_left_in_place():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append("once"))
    with late_interrupt() as asked:
        signal.raise_signal(signal.SIGINT)
        assert not asked()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert heard == ["once"]


def test_another_thread_can_have_it():
    told = []

    def work():
        with late_interrupt() as asked:
            told.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [False]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixty pictures and a list of them."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "live").mkdir()
    names = [f"live/{number}.jpg" for number in range(60)]
    for number, name in enumerate(names):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / name)
    (folder / "all.csv").write_text("image_name,label\n" + "".join(f"{name},1\n" for name in names))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taken_in", "count", "command"),
    [
        ("acquire", 3, ["convert_dataset.py", "--csv", "{}/all.csv", "--output", "out", "--num-proc", 2]),
        ("wait", 1, ["convert_dataset.py", "--csv", "{}/all.csv", "--output", "out", "--num-proc", 2]),
        ("acquire", 3, ["prepare_dataset.py", "--input", "{}", "--output", "out", "--live", "live", "--workers", 2]),
        ("result", 3, ["make_demo_data.py", "--output", "out", "--train", 40, "--val", 4, "--size", 64]),
    ],
    ids=["threads of a conversion", "processes of a conversion", "preparation", "simulation"],
)
def test_a_command_ends_wherever_it_is_interrupted(project, pictures, tmp_path, taken_in, count, command):
    script, *options = (str(word).format(pictures) for word in command)
    command = [sys.executable, "-c", WITHIN_A_LOCK, taken_in, str(count), str(project / "scripts" / script), *options]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"{script}: stopped") and "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="the system can't hold signals back")
def test_processes_that_are_just_being_started_say_nothing(project, tmp_path):
    command = [sys.executable, project / "scripts" / "make_demo_data.py", "--output", tmp_path / "out"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(psutil.Process(process.pid).children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    # As a terminal does: to all of them.
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert messages.splitlines()[-1] == "make_demo_data.py: stopped" and "Traceback" not in messages
    assert not (tmp_path / "out").exists()
