"""Reads captures by all processes; the first one leaves their digests in the folder given."""

import importlib.util
import json
import sys
from pathlib import Path

from accelerate import PartialState

from patchnet_hf.training.run_record import digests_by_all
from patchnet_hf.training.synchronization import leave_processes

spec = importlib.util.spec_from_file_location("test_trainer", Path(__file__).with_name("test_trainer.py"))
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)


def main(folder: Path):
    state = PartialState(cpu=True)
    digests = digests_by_all(test_trainer.captures(7, 0))
    if state.is_main_process:
        (folder / "digests.json").write_text(json.dumps([digest.hex() for digest in digests.captures]))
    leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
