"""
Runs scripts one after the other in one process, which imports torch only once.

From stdin comes JSON, a list of `{"command": [script, argument...], "environment": {name: value or null}}`; to stdout
goes a list of `{"code", "out", "err"}`.
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback


def run(command: list[str], environment: dict[str, str | None]) -> dict:
    held = dict(os.environ)
    for name, value in environment.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    out, err, code = io.StringIO(), io.StringIO(), 0
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
    done = [run(case["command"], case["environment"]) for case in json.load(sys.stdin)]
    json.dump(done, sys.stdout)
