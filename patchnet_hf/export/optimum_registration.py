"""Making optimum's ONNX exporter know PatchNet: `optimum-cli export onnx`, `main_export`, `export=True`."""

import functools

from transformers import PretrainedConfig

from ..models import PatchNetConfig, PatchNetPreTrainedModel


@functools.cache
def register_with_optimum() -> None:
    """
    Makes optimum's ONNX exporter know PatchNet, for the life of the process.

    `optimum-cli export onnx` does it by itself. In Python it comes before
    `optimum.exporters.onnx.main_export(...)` and `ORTModelForImageClassification.from_pretrained(..., export=True)`;
    loading what is exported doesn't need it.

    Raises:
        ImportError: optimum's exporter isn't installed, or can't run with the transformers that is.
    """
    # Registers the configuration of the export. Imported here, because it needs optimum.
    from ..models.onnx_patchnet import TasksManager

    infer_library = TasksManager._infer_library_from_model_or_model_class
    infer_task = TasksManager._infer_task_from_model_name_or_path

    @functools.wraps(infer_library)
    def infer_library_with_patchnet(model=None, model_class=None) -> str:
        # optimum goes by the name of the module that a class comes from, and refuses all but those of four libraries.
        # Remote code passes: transformers loads it into modules called `transformers_modules...`.
        if issubclass(model_class or type(model), PatchNetPreTrainedModel):
            return "transformers"
        return infer_library(model=model, model_class=model_class)

    @functools.wraps(infer_task)
    def infer_task_with_patchnet(model_name_or_path, library_name=None, **location) -> str:
        # For `--task auto`, the default, optimum asks the Hub; for a folder it gives up.
        try:
            settings, _ = PretrainedConfig.get_config_dict(model_name_or_path, **location)
        except OSError:
            settings = {}
        if settings.get("model_type") == PatchNetConfig.model_type:
            return "image-classification"
        return infer_task(model_name_or_path, library_name=library_name, **location)

    TasksManager._infer_library_from_model_or_model_class = staticmethod(infer_library_with_patchnet)
    TasksManager._infer_task_from_model_name_or_path = staticmethod(infer_task_with_patchnet)
