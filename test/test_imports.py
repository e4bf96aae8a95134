"""The core works with no ROS on the machine, nothing imports an inference library early, and the arrows run one way."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ros2_actionnet"
CORE = (
    "annotator",
    "backends",
    "classifier",
    "compressed",
    "encodings",
    "errors",
    "events",
    "frame_header",
    "inference_worker",
    "lane",
    "load_monitor",
    "media",
    "network_loader",
    "networks",
    "overlay",
    "preprocess",
    "report",
    "settings",
    "temporal_buffer",
)
ROS = (
    "ament_index_python",
    "builtin_interfaces",
    "diagnostic_msgs",
    "launch",
    "launch_ros",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rclpy",
    "rosidl_runtime_py",
    "rpyutils",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "vision_msgs",
)
INFERENCE = ("openvino", "onnxruntime", "pycuda", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")

# Imports the modules it is given from the source folder, with others made unimportable; prints what is loaded.
PROGRAM = """
import importlib, json, sys
root, forbidden, names = json.loads(sys.argv[1])
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ModuleNotFoundError(f"No module named {name!r} (made unimportable)", name=name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, root)
for name in names:
    importlib.import_module(name)
print(json.dumps(sorted({module.partition(".")[0] for module in sys.modules})))
"""


def modules() -> list[str]:
    """Every module of the package, by its dotted name."""
    files = sorted(PACKAGE.rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def is_core(module: str) -> bool:
    return [*module.split("."), ""][1] in CORE


def loaded_after_importing(*names: str, forbidden: tuple[str, ...]) -> list[str]:
    """The top-level modules that are loaded once `names` are, in a process of its own, off the install space."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, json.dumps([str(ROOT), forbidden, names])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [str(name) for name in json.loads(done.stdout)]


def test_the_core_imports_with_no_ros_on_the_machine_and_no_inference_library() -> None:
    core = [module for module in modules() if is_core(module) or module == "ros2_actionnet.errors"]
    # preparation and its helpers need onnx, which is imported when a network is loaded.
    core = [module for module in core if not imports_onnx(module)]
    assert len(core) >= len(CORE)
    loaded = loaded_after_importing(*core, forbidden=(*ROS, *INFERENCE, "onnx"))
    assert "numpy" in loaded
    assert not set(loaded) & {*ROS, *INFERENCE}


def test_a_classifier_runs_with_no_ros_on_the_machine(tmp_path: Path) -> None:
    from support.networks import save_brightness_network

    model = save_brightness_network(tmp_path, ("dark", "bright"))
    (tmp_path / "usage.py").write_text(
        "import numpy as np\n"
        "from ros2_actionnet.recognition.window_classifier import ActionNet\n"
        f"with ActionNet(model={str(model)!r}, skip_frames=0) as net:\n"
        "    for _ in range(4):\n"
        "        prediction = net.classify(np.full((20, 30, 3), 250, np.uint8))\n"
        "assert prediction.label == 'bright', prediction\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            PROGRAM.replace("importlib.import_module(name)", "exec(open(name).read())"),
            json.dumps([str(ROOT), ROS, [str(tmp_path / "usage.py")]]),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "openvino" in json.loads(done.stdout)


@pytest.mark.ros
def test_no_module_of_the_shell_imports_an_inference_library_at_import() -> None:
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted({module.partition('.')[0] for module in sys.modules})))\n"
    )
    shell = [module for module in modules() if not imports_onnx(module)]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(shell)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert "rclpy" in loaded
    assert not loaded & {*INFERENCE, "onnx"}


def imported(module: str) -> set[str]:
    """The modules that a module imports anywhere in its file, dotted; of `from a import b` both a and a.b."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def imports_onnx(module: str) -> bool:
    """Whether a module needs onnx to be imported, by itself or through another of its package."""
    return module.startswith("ros2_actionnet.networks.") and any(
        name.split(".")[0] == "onnx" or name.rpartition(".")[2] in ("onnx_graph",) for name in imported(module)
    )


OURS = set(modules())


@pytest.mark.parametrize("module", [module for module in modules() if is_core(module)])
def test_the_core_never_imports_the_shell_nor_ros(module: str) -> None:
    names = imported(module)
    shell = {name for name in names & OURS if name != "ros2_actionnet" and not is_core(name)}
    # Both are without ROS, and stand under the core.
    assert shell <= {"ros2_actionnet.system.resources", "ros2_actionnet.system.allocator"}
    assert not {name.partition(".")[0] for name in names} & set(ROS)


LAYERS = ("settings", "encodings", "preprocess", "temporal_buffer", "networks", "backends", "classifier")


@pytest.mark.parametrize("module", [module for module in modules() if is_core(module)])
def test_within_the_core_the_arrows_run_one_way(module: str) -> None:
    name = module.split(".")[1]
    if name not in LAYERS:
        return
    above = set(LAYERS[LAYERS.index(name) + 1 :]) | {"lane", "inference_worker", "network_loader", "annotator"}
    used = {other.split(".")[1] for other in imported(module) & OURS if other != "ros2_actionnet"}
    assert not used & above


def test_no_module_imports_the_node_or_the_commands() -> None:
    for module in modules():
        if module != "ros2_actionnet.ros.node" and not module.startswith("ros2_actionnet.cli"):
            assert not any(
                name == "ros2_actionnet.ros.node" or name.startswith("ros2_actionnet.cli") for name in imported(module)
            ), module
