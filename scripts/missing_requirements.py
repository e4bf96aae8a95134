"""Prints what pip must add to an installed ROS 2: the requirements of pyproject.toml that are not met yet.

    missing_requirements.py [--dev]     also those of the tests

NumPy keeps the major version that is there, because the message packages of that ROS 2 were compiled against it.
"""

import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def is_met(requirement: Requirement) -> bool:
    """Whether the environment has it in a version that will do."""
    if requirement.name == "opencv-python-headless":
        # apt's OpenCV does not go by this name, or by any that pip knows.
        return importlib.util.find_spec("cv2") is not None
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def main() -> None:
    """Prints one requirement a line, as pip takes it."""
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    dev = extras["dev"] if "--dev" in sys.argv[1:] else []
    for line in [*project["dependencies"], *extras["openvino"], *extras["media"], *dev]:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        if not is_met(requirement):
            print(requirement)
        elif requirement.name == "numpy":
            print(f"numpy<{int(importlib.metadata.version('numpy').partition('.')[0]) + 1}")
    if shutil.which("colcon") is None:
        print("colcon-bash", "colcon-ros", sep="\n")


if __name__ == "__main__":
    main()
