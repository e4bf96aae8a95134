"""Each wing imports only what its row of the table allows, ROS stays in ros/, and heavy libraries load late."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ros2_actionnet"
# Which wings a wing may import; an arrow stands for the wing named and all that is below it.
ARROWS: dict[str, tuple[str, ...]] = {
    "system": (),
    "web": (),
    "images": (),
    "networks": ("system",),
    "backends": ("networks",),
    "recognition": ("backends", "images"),
    "live": ("recognition",),
    "media": ("recognition", "web"),
    "report": ("media",),
    "action_net": ("recognition",),
    "cli": ("report", "media", "action_net"),
    # media: video_publisher and the demo read video files.
    "ros": ("live", "action_net", "media", "web"),
}
FOR_EVERYBODY = ("errors", "settings", "load_monitor", "system")
# What stands under all wings, and what it may import.
BASE: dict[str, tuple[str, ...]] = {"errors": (), "settings": ("errors", "system"), "load_monitor": ("errors",)}
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
    "foxglove_msgs",
    "ffmpeg_image_transport_msgs",
    "yolo_msgs",
)
INFERENCE = (
    "openvino",
    "onnxruntime",
    "pycuda",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "tritonclient",
    "grpc",
)
# Libraries of an extra, which are imported when they are used.
LATE = ("aiohttp", "aiortc")

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


def wing_of(module: str) -> str:
    """The wing of a module: the first name under the package; "" is the package's public face itself."""
    return [*module.split("."), ""][1]


def is_in_graph(module: str) -> bool:
    return module.startswith("ros2_actionnet.networks.graph")


def below(wing: str) -> set[str]:
    """All wings that an arrow to `wing` stands for."""
    return {wing}.union(*(below(other) for other in ARROWS[wing]))


def allowed_for(wing: str) -> set[str]:
    """The wings that a module of `wing` may import."""
    if wing == "":
        return {*BASE, *below("action_net")}
    if wing in BASE:
        return {wing, *BASE[wing]}
    return below(wing).union(FOR_EVERYBODY)


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


def test_every_module_belongs_to_a_wing() -> None:
    homeless = [module for module in modules() if wing_of(module) not in ("", *BASE, *ARROWS)]
    assert not homeless, "add these to a wing of DESIGN's house, or a new wing to ARROWS"
    assert {wing_of(module) for module in modules()} == {"", *BASE, *ARROWS}, "ARROWS names a wing that has no module"


def test_the_table_has_no_circle() -> None:
    for wing in ARROWS:
        assert not any(wing in below(other) for other in ARROWS[wing]), wing
    assert "live" not in allowed_for("media")
    assert "media" not in allowed_for("live")


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_its_wing_may(module: str) -> None:
    wing = wing_of(module)
    names = imported(module)
    used = {wing_of(name) for name in names if name.startswith("ros2_actionnet.")}
    used.discard("__version__")
    if wing == "ros":
        used.discard("msg")  # the generated messages
    assert used <= allowed_for(wing), f"{module} imports {sorted(used - allowed_for(wing))}"
    libraries = {name.partition(".")[0] for name in names}
    if wing != "ros":
        assert not libraries & set(ROS)


@pytest.mark.parametrize("module", modules())
def test_onnx_is_imported_under_networks_graph_alone(module: str) -> None:
    at_module_level = {name.partition(".")[0] for name in imported(module, at_module_level=True)}
    assert not at_module_level & {*INFERENCE, *LATE}
    if not is_in_graph(module):
        assert "onnx" not in at_module_level
        assert not any(is_in_graph(name) for name in imported(module, at_module_level=True))


def test_no_two_modules_import_each_other() -> None:
    uses = {module: {name for name in imported(module) & set(modules()) if name != module} for module in modules()}
    packages = {module for module in modules() if any(other.startswith(f"{module}.") for other in modules())}
    circles = [
        (one, other)
        for one in uses
        for other in uses[one]
        if one < other and one in uses[other] and one not in packages and other not in packages
    ]
    assert not circles


def test_all_but_the_shell_imports_with_no_ros_on_the_machine_and_no_inference_library() -> None:
    core = [module for module in modules() if wing_of(module) != "ros" and not is_in_graph(module)]
    assert len(core) > len(ARROWS)
    loaded = loaded_after_importing(*core, forbidden=(*ROS, *INFERENCE, *LATE, "onnx"))
    assert "numpy" in loaded
    assert not set(loaded) & {*ROS, *INFERENCE, *LATE}


def test_a_classifier_runs_with_no_ros_on_the_machine(tmp_path: Path) -> None:
    from support.networks import save_brightness_network

    model = save_brightness_network(tmp_path, ("dark", "bright"))
    (tmp_path / "usage.py").write_text(
        "import numpy as np\n"
        "from ros2_actionnet import ActionNet\n"
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
def test_no_module_imports_an_inference_library_at_import() -> None:
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted({module.partition('.')[0] for module in sys.modules})))\n"
    )
    shell = [module for module in modules() if not is_in_graph(module)]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(shell)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert "rclpy" in loaded
    assert not loaded & {*INFERENCE, *LATE, "onnx"}


def imported(module: str, at_module_level: bool = False) -> set[str]:
    """The modules that a module imports in its file, dotted; of `from a import b` both a and a.b.

    Imports inside functions and under TYPE_CHECKING count, unless `at_module_level`.
    """
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in tree.body if at_module_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found
