"""What an installation holds, and what it does to `optimum-cli` before that is asked to export anything."""

import subprocess
import sys
import zipfile

import pytest
from setuptools import find_packages

from patchnet_hf.export.optimum_registration import register_with_optimum

pytestmark = pytest.mark.slow

REGISTRATION = "optimum/commands/register/register_patchnet.py"


def test_a_wheel_holds_all_packages_and_one_file_of_optimums_namespace(sources, tmp_path):
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=sources, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    packages = find_packages(sources, include=["patchnet_hf", "patchnet_hf.*"])
    folders = [sources / package.replace(".", "/") for package in packages]
    modules = {str(path.relative_to(sources)) for folder in folders for path in folder.glob("*.py")}
    assert {name for name in held if name.endswith(".py")} == modules | {REGISTRATION}
    assert {name for name in held if not name.startswith("patchnet_hf/")} == {REGISTRATION}
    assert "patchnet_hf/evaluation/report.html.jinja" in held


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_help_finds_the_registration_and_imports_nothing_heavy_for_it(installed, kind):
    pytest.importorskip("optimum.commands.optimum_cli")
    code = (
        "import sys\n"
        "from optimum.commands.optimum_cli import main\n"
        "sys.argv = ['optimum-cli', '--help']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sys.modules)\n"
    )
    done = installed(kind).run("-c", code)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.splitlines()[-1].split()
    assert "optimum.commands.register.register_patchnet" in modules
    assert not {"torch", "transformers", "timm", "numpy", "patchnet_hf"}.intersection(modules)


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_uninstalling_leaves_no_file(install, kind):
    environment = install("bare")
    before = environment.files()
    environment = install(kind)
    assert (REGISTRATION in environment.files()) == (kind == "wheel")
    environment.pip("uninstall", "--yes", "patchnet_hf")
    assert environment.files() == before


def test_the_registration_does_nothing_where_optimum_cannot_export(installed):
    code = (
        "import sys\n"
        "sys.modules['optimum.commands.export.onnx'] = None  # As where optimum-onnx isn't installed.\n"
        "import optimum.commands.register.register_patchnet\n"
        "print(*sys.modules)\n"
    )
    done = installed("wheel").run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "patchnet_hf" not in done.stdout.split()


def test_where_optimum_cannot_export_its_user_is_told_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "optimum.exporters.onnx.config", None)
    monkeypatch.delitem(sys.modules, "patchnet_hf.models.onnx_patchnet", raising=False)
    with pytest.raises(ImportError, match=r"it needs transformers 4\.57 and optimum-onnx 0\.1"):
        register_with_optimum.__wrapped__()
