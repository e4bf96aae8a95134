"""Installs the data beside the modules; everything else about the package is in pyproject.toml."""

from pathlib import Path

from setuptools import setup

# The same places as under ROS 2: <prefix>/share/ros2_actionnet/{config,media,msg,networks,ros_from_wheels}.
root = Path(__file__).parent
data_files: dict[str, list[str]] = {}
for directory in ("config", "media", "msg", "networks", "ros_from_wheels/vision_msgs/msg"):
    for path in sorted(root.glob(f"{directory}/**/*")):
        if path.is_file():
            relative = path.relative_to(root)
            data_files.setdefault(f"share/ros2_actionnet/{relative.parent.as_posix()}", []).append(relative.as_posix())

setup(data_files=list(data_files.items()))
