"""
Runs scripts one after the other, as many as it is asked to, in one process that imports torch only once.

A line of stdin is JSON, `{"command": [script, argument...], "environment": {name: value or null}, "folder": path}`;
the answer is a line of stdout, `{"code", "out", "err"}`.
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback


def run(command: list[str], environment: dict[str, str | None], folder: str) -> dict:
    held = dict(os.environ)
    for name, value in environment.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    out, err, code = io.StringIO(), io.StringIO(), 0
    os.chdir(folder)
    sys.argv = command
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
    os.environ.clear()
    os.environ.update(held)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    # Whatever a library writes to the descriptor itself must not get among the answers.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            print(json.dumps(run(**json.loads(line))), file=answers, flush=True)
