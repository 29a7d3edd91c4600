"""`optimum-cli` imports this at each start, as `optimum.commands.register.register_patchnet`: nothing heavy here."""

import functools

try:
    from optimum.commands.export.onnx import ONNXExportCommand
except ImportError:
    # optimum without optimum-onnx: there is no such command, and nothing to add to.
    pass
else:
    export = ONNXExportCommand.run

    @functools.wraps(export)
    def export_with_patchnet(command):
        from patchnet_hf.export.optimum_registration import register_with_optimum

        register_with_optimum()
        return export(command)

    # optimum-cli lets packages add commands, not models to the commands there are, and a second command called "onnx"
    # is an error. So this one gets to know PatchNet when it runs; what it does then is its own.
    ONNXExportCommand.run = export_with_patchnet
