"""Reports to Telegram: what people read, that a bad server does nothing to a run, and where the token never shows."""

import importlib.util
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import datasets
import httpx
import pytest
from transformers import TrainerCallback

from patchnet_hf.errors import InputError
from patchnet_hf.training.telegram import TelegramCallback
from patchnet_hf.training.telegram import sender as telegram_sender
from patchnet_hf.training.telegram.credentials import TelegramCredentials, read_credentials
from patchnet_hf.training.telegram.messages import Block, html_parts, rates_table, seconds_left
from patchnet_hf.training.telegram.sender import Patience, TelegramSender, check_credentials

pytestmark = pytest.mark.filterwarnings("ignore:.*attribute `retry_after` will be")


def load(name: str):
    """A module that lies beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up.
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


bot_api = load("bot_api")
test_trainer = load("test_trainer")
TOKEN = bot_api.TOKEN
SECRET = TOKEN.split(":")[1]
# Fast where a test provokes a failure, patient where none should be.
QUICK = Patience(first_pause=0.01, longest_pause=0.05, flush=60)


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    server = bot_api.BotApi()
    yield server
    server.open.set()
    server.stop()


def credentials(api, *chats) -> TelegramCredentials:
    return TelegramCredentials(TOKEN, chats or (1,), api.url)


def sender(api, *chats, patience=QUICK) -> TelegramSender:
    return TelegramSender(credentials(api, *chats), patience)


def tiny_run(folder, callback, **options):
    options = {"epochs": 2, "eval_strategy": "epoch", "save_strategy": "no", "load_best_model_at_end": False} | options
    trainer = test_trainer.small_trainer(folder, **options)
    trainer.add_callback(callback)
    return trainer


class DrawsPicture(TrainerCallback):
    """Leaves a picture when training ends, as the learning curve does."""

    def on_train_end(self, args, state, control, **kwargs):
        (Path(args.output_dir) / "learning_curve.png").write_bytes(b"\x89PNG a curve")


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A small run of two epochs and two sets, its trainer, final metrics and what the server got."""
    api = bot_api.BotApi(chats=("1", "-2"))
    callback = TelegramCallback(credentials(api, 1, -2), "outputs/<b>&", QUICK)
    trainer = tiny_run(tmp_path_factory.mktemp("reported"), callback)
    trainer.add_callback(DrawsPicture())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        with callback.reporting():
            trainer.train()
            metrics = trainer.evaluate()
    api.stop()
    return api, trainer, metrics


def test_a_run_reports_its_start_each_evaluation_and_its_end(reported):
    api, _, _ = reported
    titles = [text.splitlines()[0] for text in api.texts()]
    expected = ["training started", "evaluation", "evaluation", "training done"]
    assert titles == [f"outputs/<b>&: {title}" for title in expected]
    start = api.texts()[0]
    assert "resnet18" in start and "24 captures, batch 8, 2 epochs, 6 steps" in start and "phone/print" in start


def test_every_chat_gets_every_message_in_order(reported):
    api, _, _ = reported
    assert api.texts("1") == api.texts("-2") and len(api.texts("1")) == 4


def test_an_evaluation_is_one_message_with_a_monospaced_table_of_all_sets(reported):
    api, trainer, _ = reported
    logs = trainer.state.log_history
    for epoch, message in enumerate([m for m in api.delivered if m.chat == "1"][1:3], start=1):
        table = message.html.split("<pre>")[1].split("</pre>")[0]
        header, _, *rows = [line.split() for line in table.splitlines()]
        assert header[1:] == ["ACER", "APCER", "BPCER", "AUC"]
        assert [row[0] for row in rows] == ["near", "far", "total"]
        for name, *shown in rows:
            log = next(log for log in logs if f"eval_{name}_acer" in log and log["epoch"] == epoch)
            rates = [log[f"eval_{name}_{rate}"] for rate in ("acer", "apcer", "bpcer", "auc")]
            assert [float(value) for value in shown] == pytest.approx([100 * rate for rate in rates], abs=0.0051)
        assert f"epoch {epoch} of 2, step {3 * epoch} of 6" in message.text


def test_an_evaluation_tells_the_best_so_far_and_the_time_left_until_the_last_step(reported):
    api, trainer, _ = reported
    values = [log["eval_total_acer"] for log in trainer.state.log_history if "eval_total_acer" in log][:2]
    best = values.index(min(values)) + 1
    first, second = api.texts()[1:3]
    assert f"best so far: ACER {100 * values[0]:.2f} % (epoch 1)" in first and "time left: about " in first
    assert f"best so far: ACER {100 * min(values):.2f} % (epoch {best})" in second and "time left" not in second


def test_the_end_reports_the_model_that_is_kept_and_sends_the_learning_curve(reported):
    api, _, metrics = reported
    assert f"{100 * metrics['eval_total_acer']:.2f}" in api.texts()[3].split("the model that is kept:")[1]
    photos = [message for message in api.delivered if message.method == "sendPhoto"]
    assert [photo.chat for photo in photos] == ["1", "-2"]
    assert {photo.photo for photo in photos} == {b"\x89PNG a curve"}
    assert photos[0].fields["caption"] == "outputs/<b>&: learning curve", "a caption is not markup"
    assert api.delivered[-2:] == photos, "the picture is drawn when training ends, and sent after that"


@pytest.mark.slow
def test_a_resumed_run_says_so_remembers_the_best_and_sends_no_old_picture(api, tmp_path):
    first = TelegramCallback(credentials(api), "run", QUICK)
    trainer = tiny_run(tmp_path, first, save_strategy="epoch", eval_strategy="epoch", save_total_limit=None)
    with first.reporting():
        trainer.train()
    (tmp_path / "learning_curve.png").write_bytes(b"of another run")
    logs = [log for log in trainer.state.log_history if "eval_total_acer" in log]
    api.delivered.clear()
    second = TelegramCallback(credentials(api), "run", QUICK)
    resumed = tiny_run(tmp_path, second, save_strategy="no")
    with second.reporting():
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    start, evaluation, end = api.texts()
    assert "goes on from step 3" in start
    best = min(logs, key=lambda log: log["eval_total_acer"])
    expected = f"best so far: ACER {100 * best['eval_total_acer']:.2f} % (epoch {best['epoch']:g})"
    assert expected in evaluation and expected in end
    assert all(message.method == "sendMessage" for message in api.delivered)


def test_one_unnamed_set_is_one_message_and_no_block_is_needed_for_the_end(api, tmp_path):
    callback = TelegramCallback(credentials(api), "run", QUICK)
    trainer = tiny_run(tmp_path, callback, epochs=1, metric_for_best_model="eval_acer")
    trainer.eval_dataset = trainer._as_views(test_trainer.captures(6, 3), trainer.processing_class)
    trainer.train()
    assert [text.splitlines()[0] for text in api.texts()] == [
        "run: training started",
        "run: evaluation",
        "run: training done",
    ]
    assert "best so far: ACER" in api.texts()[1]


def test_training_goes_on_while_the_server_holds_the_first_message(api, tmp_path):
    api.open.clear()
    callback = TelegramCallback(credentials(api), "run", QUICK)
    trainer = tiny_run(tmp_path, callback)
    with callback.reporting():
        trainer.train()
        assert trainer.state.global_step == 6 and api.delivered == []
        api.wait_for(lambda: api.requests)
        assert len(api.requests) == 1, "the first message is still held, the others wait behind it"
        api.open.set()
    assert len(api.texts()) == 4


def test_a_server_that_fails_for_a_while_gets_each_message_once_and_in_order(api):
    api.failures = [(500, "<html>"), (502, {"ok": False}), (500, "")]
    messages = sender(api)
    for text in ("one", "two", "three"):
        messages.send([Block(text)])
    messages.close()
    assert api.texts() == ["one", "two", "three"]
    assert len(api.requests) == 6


def test_the_pause_that_the_server_asks_for_is_kept(api):
    api.failures = [bot_api.too_many_requests(1)]
    messages = sender(api)
    messages.send([Block("one")])
    messages.close()
    refused, accepted = api.requests
    assert accepted.time - refused.time >= 1
    assert api.texts() == ["one"]


def test_a_server_that_goes_and_comes_back_gets_what_was_written_meanwhile(api):
    messages = sender(api, patience=Patience(attempts=10**6, first_pause=0.01, longest_pause=0.05, flush=60))
    messages.send([Block("before")])
    api.wait_for(lambda: api.delivered)
    api.stop()
    messages.send([Block("meanwhile")])
    api.start()
    messages.send([Block("after")])
    messages.close()
    assert api.texts() == ["before", "meanwhile", "after"]


def test_a_slow_server_gets_the_end_of_a_run_before_what_it_has_not_taken_yet(api):
    api.open.clear()
    messages = sender(api)
    messages.send([Block("evaluation 1")])
    api.wait_for(lambda: api.requests)
    for number in (2, 3, 4):
        messages.send([Block(f"evaluation {number}")])
    messages.send([Block("done")], first=True)
    messages.send_photo(b"picture", "curve.png", "curve", first=True)
    api.open.set()
    messages.close()
    assert api.texts() == ["evaluation 1", "done", "evaluation 2", "evaluation 3", "evaluation 4"]
    assert [message.method for message in api.delivered].index("sendPhoto") == 2


def test_a_report_that_cannot_be_made_is_one_line(api, caplog):
    callback = TelegramCallback(credentials(api), "run", QUICK)
    callback.on_train_begin(args=None, state=None, control=None)
    assert "on_train_begin could not report (AttributeError" in caplog.text


def test_the_end_of_a_run_cuts_a_long_pause_short(api):
    messages = sender(api, patience=Patience(first_pause=3600, flush=60))
    api.failures = [(500, "")]
    messages.send([Block("one")])
    api.wait_for(lambda: api.requests)
    messages.close()
    assert api.texts() == ["one"]


def test_a_server_that_never_answers_is_given_up_with_one_line(api, caplog):
    api.open.clear()
    messages = sender(api, patience=Patience(flush=0.05))
    messages.send([Block("one")])
    messages.send([Block("two")])
    api.wait_for(lambda: api.requests)
    messages.close()
    assert [record.getMessage() for record in caplog.records] == [
        "Telegram: gave up on 2 unsent messages after 0.05 s"
    ]
    api.open.set()


def test_a_server_that_stays_away_costs_a_run_two_lines(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        away = TelegramCredentials(TOKEN, (1,), f"http://127.0.0.1:{unused.getsockname()[1]}")
        patience = Patience(first_pause=0.01, flush=0.2)
        check_credentials(away, patience)
        callback = TelegramCallback(away, "run", patience)
        trainer = tiny_run(tmp_path, callback, epochs=1)
        with callback.reporting():
            trainer.train()
    lines = [record.getMessage() for record in caplog.records if record.name == telegram_sender.__name__]
    assert trainer.state.global_step == 3
    assert "could not be asked" in lines[0] and "ConnectError" in lines[0] and "gave up" in lines[-1]
    assert SECRET not in caplog.text


def test_failing_too_often_loses_a_message_with_one_line_for_each_reason(api, caplog):
    api.failures = [(500, "<html>\n" * 1000)] * 6
    messages = sender(api, patience=Patience(attempts=3, first_pause=0.01, flush=60))
    messages.send([Block("one")])
    messages.send([Block("two")])
    api.wait_for(lambda: len(api.requests) >= 6)
    messages.send([Block("three")])
    api.wait_for(lambda: api.delivered)
    messages.close()
    assert api.texts() == ["three"]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 and "could not be sent" in lines[0] and "\n" not in lines[0] and len(lines[0]) < 500


def test_of_too_many_waiting_messages_the_oldest_are_lost(api, caplog):
    api.open.clear()
    messages = sender(api, patience=Patience(waiting_messages=2, flush=60))
    messages.send([Block("0")])
    api.wait_for(lambda: api.requests)
    for number in range(1, 6):
        messages.send([Block(str(number))])
    api.open.set()
    messages.close()
    assert api.texts() == ["0", "4", "5"]
    assert caplog.text.count("the oldest are lost") == 1


def test_a_chat_that_refuses_does_not_keep_messages_from_the_others(api, caplog):
    api.chats, api.refusing = {"1", "2", "@channel"}, {"1"}
    messages = sender(api, 1, 2, "@channel")
    messages.send([Block("one")])
    messages.send([Block("two")])
    messages.close()
    assert api.texts("1") == [] and api.texts("2") == api.texts("@channel") == ["one", "two"]
    assert caplog.text.count("blocked by the user") == 1


def test_a_group_that_moved_is_followed(api):
    api.chats.add("-1002")
    api.failures = [(400, {"ok": False, "description": "moved", "parameters": {"migrate_to_chat_id": -1002}})]
    messages = sender(api)
    messages.send([Block("one")])
    messages.send([Block("two")])
    messages.close()
    assert api.texts("-1002") == ["one", "two"]


@pytest.mark.parametrize("answer", ["no JSON", "[]", "{}", '{"ok": true, "result": 5}'])
def test_an_answer_that_is_no_answer_ends_neither_the_run_nor_the_thread(api, caplog, answer):
    api.failures = [(200, answer)]
    messages = sender(api)
    messages.send([Block("one")])
    messages.send([Block("two")])
    messages.close()
    assert api.texts()[-1] == "two"
    assert all(record.name == telegram_sender.__name__ for record in caplog.records)


def test_a_long_message_arrives_whole_in_parts_that_end_at_line_ends(api):
    metrics = {}
    for index in range(150):
        for rate in ("acer", "apcer", "bpcer", "auc"):
            metrics[f"eval_a_set_<{index}>_{rate}"] = index / 1000
    table = rates_table(metrics, [f"a_set_<{index}>" for index in range(150)])
    messages = sender(api)
    messages.send([Block("title & more", "b"), Block(table, "pre"), Block("the end")])
    messages.close()
    assert "\n".join(api.texts()) == f"title & more\n{table}\nthe end"
    assert len(api.texts()) == 2
    assert all("<pre>" in message.html and "</pre>" in message.html for message in api.delivered)


@pytest.mark.parametrize("text", ["😀" * 5000, "<&>" * 3000, "a" * 4095 + "😀" + "b" * 4095, "x\n" * 5000])
def test_no_character_and_no_escape_is_cut_apart(api, text):
    messages = sender(api)
    messages.send([Block(text, "pre")])
    messages.close()
    assert "".join(api.texts()).replace("\n", "") == text.replace("\n", "")
    lengths = [len(part.encode("utf-16-le")) // 2 for part in api.texts()]
    assert max(lengths) <= 4096 and min(lengths[:-1]) >= 4095, "parts are as long as may be"


def test_lines_of_blanks_alone_are_no_message():
    assert html_parts([Block("a\n" + "\n" * 20 + "b")], limit=5) == ["a\n\n\n\n", "\n\n\n\nb"]
    assert html_parts([Block(" \n")]) == []


def test_an_undecodable_file_name_can_be_sent(api):
    messages = sender(api)
    messages.send([Block(os.fsdecode(b"caf\xe9.jpg"))])
    messages.close()
    assert api.texts() == ["caf?.jpg"]


def test_a_crash_is_reported_scrubbed_and_raised_as_it_was(api, tmp_path):
    class Breaks(TrainerCallback):
        error = ValueError(f"<b>&: GET /bot{TOKEN}/x and {SECRET}")

        def on_step_end(self, args, state, control, **kwargs):
            raise self.error

    callback = TelegramCallback(credentials(api), "run", QUICK)
    trainer = tiny_run(tmp_path, callback)
    trainer.add_callback(Breaks())
    with pytest.raises(ValueError) as raised, callback.reporting():
        trainer.train()
    assert raised.value is Breaks.error and TOKEN in str(raised.value)
    crash = api.texts()[-1]
    assert crash.startswith("run: crashed\n")
    assert "ValueError: <b>&: GET /bot[TELEGRAM_TOKEN]/x and [TELEGRAM_TOKEN]" in crash
    assert "step 1 of 6" in crash
    assert SECRET not in str(api.delivered)


def test_a_crash_before_the_first_step_and_a_keyboard_interrupt_are_reported(api):
    callback = TelegramCallback(credentials(api), "run", QUICK)
    with pytest.raises(RuntimeError, match="too early"), callback.reporting():
        raise RuntimeError("too early" + "!" * 10_000)
    with pytest.raises(KeyboardInterrupt), callback.reporting():
        raise KeyboardInterrupt
    crash, stop = api.texts()
    assert "RuntimeError: too early!!!" in crash and len(crash) < 4096
    assert stop.startswith("run: stopped\n") and "KeyboardInterrupt" in stop


def test_a_token_that_the_server_does_not_know_is_an_input_error_without_it(api, monkeypatch, tmp_path, caplog):
    wrong = "987654321:" + SECRET[::-1]
    monkeypatch.chdir(tmp_path)
    for name, value in (("TOKEN", wrong), ("CHAT_ID", "1"), ("API_URL", api.url)):
        monkeypatch.setenv(f"TELEGRAM_{name}", value)
    with pytest.raises(InputError, match="TELEGRAM_TOKEN is not accepted") as refused:
        TelegramCallback.checked("run")
    error = refused.value
    assert error.__context__ is None and error.__cause__ is None, "the library's own error quotes the token"
    assert wrong not in str(error) + caplog.text and "\n" not in str(error)
    assert api.delivered == []


def test_a_chat_that_the_bot_cannot_write_to_is_an_input_error(api):
    check_credentials(credentials(api, 1))
    with pytest.raises(InputError, match=r"TELEGRAM_CHAT_ID: the bot can't write to 77: Chat not found"):
        check_credentials(credentials(api, 1, 77))
    api.refusing = {"1"}
    with pytest.raises(InputError, match=r"TELEGRAM_CHAT_ID: .*blocked by the user"):
        check_credentials(credentials(api, 1))
    assert api.delivered == []


def test_a_server_that_answers_too_late_is_not_waited_for(caplog, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = TelegramCredentials(TOKEN, (1,), f"http://127.0.0.1:{silent.getsockname()[1]}")
        check_credentials(there, Patience(check=0.05))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no answer" in caplog.text


def test_variables_come_from_the_environment_before_the_file(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text(f'# mine\nTELEGRAM_TOKEN="{TOKEN}"\nTELEGRAM_CHAT_ID= 1, -100200 ,@channel,1\n')
    assert read_credentials(tmp_path, {}) == TelegramCredentials(TOKEN, (1, -100200, "@channel"))
    given = {"TELEGRAM_CHAT_ID": "7", "TELEGRAM_API_URL": "http://127.0.0.1:8081/"}
    assert read_credentials(tmp_path, given) == TelegramCredentials(TOKEN, (7,), "http://127.0.0.1:8081")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "8")
    found = read_credentials()
    assert found.chats == (8,) and "TELEGRAM_TOKEN" not in os.environ and SECRET not in repr(found)


def test_the_template_names_the_variables_and_git_ignores_the_real_file(project):
    template = (project / ".env.template").read_text()
    assert all(f"TELEGRAM_{name}=" in template for name in ("TOKEN", "CHAT_ID", "API_URL"))
    assert ".env" in (project / ".gitignore").read_text().split()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs TELEGRAM_TOKEN"),
        ({"TELEGRAM_TOKEN": TOKEN}, "needs TELEGRAM_CHAT_ID"),
        ({"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": "  "}, "needs TELEGRAM_CHAT_ID"),
        ({"TELEGRAM_TOKEN": SECRET, "TELEGRAM_CHAT_ID": "1"}, "TELEGRAM_TOKEN is no bot token"),
        ({"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": f"1,{TOKEN}"}, "TELEGRAM_CHAT_ID: item 2 of 2"),
        ({"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": "1,"}, "TELEGRAM_CHAT_ID: item 2 of 2"),
        *(
            (
                {"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": "1", "TELEGRAM_API_URL": url},
                "TELEGRAM_API_URL is no address",
            )
            for url in (f"bot{TOKEN}", "http://", "ftp://host", "http://host:port", "http://a b", f"http://h/?{TOKEN}")
        ),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_and_never_shown(tmp_path, given, message):
    with pytest.raises(InputError, match=message) as error:
        read_credentials(tmp_path, given)
    assert SECRET not in str(error.value) and "\n" not in str(error.value)


def test_what_the_library_logs_in_the_senders_threads_is_dropped_and_nothing_else(api, caplog):
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in telegram_sender.LIBRARY_LOGGERS]
    before = {id(each) for logger in loggers for each in logger.filters}
    check_credentials(credentials(api))
    api.failures = [(502, f"<html>/bot{TOKEN}/sendMessage"), (400, {"ok": False, "description": f"no {TOKEN}"})]
    messages = sender(api)
    messages.send([Block("one")])
    api.wait_for(lambda: len(api.requests) >= 4)
    httpx.post(f"{api.url}/botother/getMe")
    messages.close()
    assert SECRET not in caplog.text
    assert "[TELEGRAM_TOKEN]" in caplog.text, "the sender's own line is scrubbed"
    assert f"{api.url}/botother/getMe" in caplog.text, "another user of the HTTP client still logs"
    after = {id(each) for logger in loggers for each in logger.filters}
    assert after <= before, "nothing is left behind"


def test_names_are_looked_up_where_the_interpreter_does_not_wait_for_them(api, monkeypatch):
    threads = []
    original = socket.getaddrinfo

    def recorded(*args, **kwargs):
        threads.append(threading.current_thread())
        return original(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", recorded)
    messages = TelegramSender(TelegramCredentials(TOKEN, (1,), api.url.replace("127.0.0.1", "localhost")), QUICK)
    messages.send([Block("one")])
    messages.close()
    assert api.texts() == ["one"]
    assert threads and all(thread.daemon and thread.name == "telegram" for thread in threads)


@pytest.mark.slow
def test_a_process_whose_messages_are_held_ends_without_waiting(api, project):
    api.open.clear()
    script = (
        "from patchnet_hf.training.telegram.sender import *\n"
        f"credentials = TelegramCredentials({TOKEN!r}, (1,), {api.url!r})\n"
        "sender = TelegramSender(credentials, Patience(flush=0.05, answer=1e6))\n"
        "sender.send([Block('one')])\n"
        "sender.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr.splitlines()[-1].startswith("Telegram: gave up"), done.stderr
    assert SECRET not in done.stderr


def test_time_left_is_at_the_pace_of_this_process():
    assert seconds_left(100.0, first_step=900, step=910, last_step=1000) == pytest.approx(900.0)
    assert seconds_left(1.0, 0, 0, 10) is None and seconds_left(1.0, 0, 10, 10) is None


def training_process(project, folder, *, api_url, launcher=()):
    """`scripts/train.py --telegram true`, started in a new `folder` that holds its `.env` and all it writes."""
    folder.mkdir()
    sets = {
        "train": test_trainer.captures(24, 0),
        "near": test_trainer.captures(13, 1),
        "far": test_trainer.captures(8, 2),
    }
    datasets.DatasetDict(sets).save_to_disk(folder / "data")
    (folder / ".env").write_text(f"TELEGRAM_TOKEN={TOKEN}\nTELEGRAM_CHAT_ID=1\nTELEGRAM_API_URL={api_url}\n")
    command = [sys.executable, *launcher, project / "scripts" / "train.py", "--telegram", "true", "--use_cpu", "true"]
    command += ["--dataset", "data", "--output_dir", "out", "--patch_size", 32, "--grid", 1, "--logging_steps", 1]
    command += ["--backbone", "test_resnet", "--num_train_epochs", 2, "--log_level", "debug"]
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("TELEGRAM_")}
    environment = {**hidden, "PYTHONPATH": str(project), "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
        words = [str(word) for word in command]
        return subprocess.Popen(words, cwd=folder, env=environment, stdout=stdout, stderr=stderr)


# What no user can mend: a script whose third step fails.
WITH_A_DEFECT = """
import runpy, sys
from patchnet_hf.training.trainer import PatchNetTrainer

step = PatchNetTrainer.training_step

def training_step(self, *arguments, **options):
    if self.state.global_step == 2:
        raise RuntimeError("a defect")
    return step(self, *arguments, **options)

PatchNetTrainer.training_step = training_step
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory, project):
    """Real runs side by side: two processes that end well; a crash; a server that is away; a wrong server."""
    folder = tmp_path_factory.mktemp("processes")
    apis = {"done": bot_api.BotApi(), "crashed": bot_api.BotApi()}
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    running = {}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{unused.getsockname()[1]}"
        try:
            running["done"] = training_process(project, folder / "done", api_url=apis["done"].url, launcher=two)
            defect = ["-c", WITH_A_DEFECT]
            running["crashed"] = training_process(
                project, folder / "crashed", api_url=apis["crashed"].url, launcher=defect
            )
            running["away"] = training_process(project, folder / "away", api_url=away)
            running["refused"] = training_process(
                project, folder / "refused", api_url=apis["done"].url + "/elsewhere", launcher=two
            )
            statuses = {name: process.wait(300) for name, process in running.items()}
        finally:
            for process in running.values():
                if process.poll() is None:
                    process.kill()
    for api in apis.values():
        api.stop()
    return folder, apis, statuses


@pytest.mark.slow
def test_of_two_processes_one_reports(processes):
    folder, apis, statuses = processes
    assert statuses["done"] == 0, (folder / "done" / "stderr").read_text()
    titles = [text.splitlines()[0] for text in apis["done"].texts()]
    expected = ["training started", "evaluation", "evaluation", "training done"]
    assert titles == [f"out: {title}" for title in expected]


@pytest.mark.slow
def test_a_process_that_crashes_says_so_and_keeps_its_traceback(processes):
    folder, apis, statuses = processes
    assert statuses["crashed"] not in (0, 2)
    stderr = (folder / "crashed" / "stderr").read_text()
    assert "Traceback" in stderr
    last = apis["crashed"].texts()[-1]
    assert last.startswith("out: crashed\n")
    assert last.splitlines()[2] in stderr.splitlines(), "the exception of the message is that of the traceback"


@pytest.mark.slow
def test_a_process_whose_server_is_away_trains_as_ever(processes):
    folder, _, statuses = processes
    assert statuses["away"] == 0
    lines = [line for line in (folder / "away" / "stderr").read_text().splitlines() if "Telegram" in line]
    assert len(lines) == 2 and "could not be asked" in lines[0] and "gave up on" in lines[1]
    assert (folder / "away" / "out" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("run", ["done", "crashed", "away"])
def test_the_token_is_in_nothing_that_a_run_wrote(processes, run):
    folder, _, _ = processes
    written = [path for path in (folder / run).rglob("*") if path.is_file() and path.name != ".env"]
    names = {path.name for path in written}
    assert {"stdout", "stderr"} <= names and any("tfevents" in name for name in names)
    if run != "crashed":
        assert {"training_args.json", "optimizer.safetensors", "trainer_state.json", "metrics.json"} <= names
    assert SECRET.encode() in (folder / run / ".env").read_bytes(), "what is looked for can be found"
    for path in written:
        assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_token_that_is_refused_ends_a_run_before_it_writes_anything(processes):
    folder, _, statuses = processes
    stderr = (folder / "refused" / "stderr").read_text()
    assert statuses["refused"] != 0
    said = "TELEGRAM_TOKEN is not accepted by the server, or TELEGRAM_API_URL is no Bot API server"
    assert stderr.count(said) == 1 and SECRET not in stderr
    # The launcher tells how each process ended: the first by the line, with exit code 2, the other likewise, unless
    # the launcher, which ends what is left once one has failed, was faster (SIGTERM).
    ended = re.findall(r"exitcode  : (-?\d+)", stderr)
    assert len(ended) == 2 and "2" in ended and set(ended) <= {"2", "-15"}, stderr
    assert "Traceback" not in stderr.split("torch/distributed")[0]
    assert not (folder / "refused" / "out").exists()
