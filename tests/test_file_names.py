"""Names of a model's files are what transformers writes, and they stand at the bottom of the package."""

import ast

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.file_names import CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE


def test_they_are_what_is_saved(tmp_path):
    PatchNetForImageClassification(PatchNetConfig("test_resnet")).save_pretrained(tmp_path)
    PatchNetImageProcessor().save_pretrained(tmp_path)
    assert {CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE} <= {path.name for path in tmp_path.iterdir()}


def test_reading_old_checkpoints_needs_no_layer_above(project):
    """Cards, inference, training and scripts build on it, not the other way round."""
    allowed = {
        "errors",
        "file_names",
        "models",
        "text_table",
        "versions",
        "weights",
        "whole_folder",
        "yaml_files",
        None,
    }
    for path in (project / "patchnet_hf" / "legacy").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                assert {(node.module or "").split(".")[0] or None} <= allowed, (path.name, node.module)
