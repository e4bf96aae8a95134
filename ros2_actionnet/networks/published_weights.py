"""Converts weights that torchvision publishes to a network folder, in a subprocess, with PyTorch.

PyTorch is needed for this alone: the folder is used without it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.download import Progress
from ros2_actionnet.system.child_process import run_module

NEEDED = ("torch", "torchvision")
# Not imported: it is the main module of the subprocess.
_CONVERTER = "ros2_actionnet.networks.torchvision_export"


def check_converter(name: str, folder: Path) -> None:
    """Raise NetworkError if PyTorch is missing, which converts the network `name` and puts it into `folder`."""
    missing = [module for module in NEEDED if find_spec(module) is None]
    if missing:
        raise NetworkError(
            f"{name} is published as weights of PyTorch, which have to be converted once; that needs "
            f"{' and '.join(missing)}. Type `pip install {' '.join(NEEDED)}`, then `actionnet-networks fetch {name}`; "
            f"afterwards neither is needed. Or type both on another machine, and copy {folder} from there"
        )


def convert(name: str, weights: str, file: Path, folder: Path, progress: Progress) -> None:
    """Write the files of a network into `folder`: model.onnx, labels.txt and network.yaml.

    Args:
        name: the network's name, as displayed.
        weights: torchvision's name of the weights, such as "R3D_18_Weights.KINETICS400_V1".
        file: the .pth file with them.
        folder: an empty folder.
        progress: is told of the conversion, and can cancel it.

    Raises:
        NetworkError: the file does not hold these weights, or PyTorch cannot convert them.
        LoadCancelled: the load has been cancelled; the subprocess has been killed.
    """
    progress.say(f"converting {name} with PyTorch")
    ended = run_module(_CONVERTER, (weights, file, folder), lambda _: progress.check())
    if ended.code != 0:
        raise NetworkError(f"the process that converts {name} {ended.reason}; see whether there is enough memory")
