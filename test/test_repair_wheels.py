"""What is corrected in the CMake files of ROS 2's wheels."""

from __future__ import annotations

import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

_FILE = Path(__file__).parents[1] / "ros_from_wheels" / "repair_wheels.py"
_SPEC = spec_from_file_location("repair_wheels", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
repair_wheels = module_from_spec(_SPEC)
_SPEC.loader.exec_module(repair_wheels)

REGISTER = """find_package(ament_cmake_core QUIET REQUIRED)
ament_register_extension(
  "rosidl_generate_idl_interfaces"
  "NAME"
  "NAME_generate_interfaces.cmake")
set(NAME_BIN "x")
"""


@pytest.mark.parametrize(
    "name",
    [
        "rosidl_generator_cpp",
        "rosidl_typesupport_cpp",
        "rosidl_typesupport_fastrtps_cpp",
        "rosidl_typesupport_introspection_cpp",
    ],
)
def test_messages_are_not_built_for_cpp(name: str) -> None:
    text = REGISTER.replace("NAME", name)
    repaired = repair_wheels.repair(text)
    assert repaired.split() == ["find_package(ament_cmake_core", "QUIET", "REQUIRED)", f"set({name}_BIN", '"x")']
    assert repair_wheels.repair(repaired) == repaired


# Fast DDS registers a type by what introspection_c says of it.
@pytest.mark.parametrize(
    "name",
    [
        "rosidl_generator_c",
        "rosidl_generator_py",
        "rosidl_generator_type_description",
        "rosidl_typesupport_c",
        "rosidl_typesupport_fastrtps_c",
        "rosidl_typesupport_introspection_c",
    ],
)
def test_messages_are_built_for_c_and_python(name: str) -> None:
    text = REGISTER.replace("NAME", name)
    assert repair_wheels.repair(text) == text


def test_headers_are_those_of_this_machine() -> None:
    python = "/opt/python/cp311-cp311"
    built_on = f"{python}/lib/python3.11/site-packages/numpy/_core/include;{python}/include/python3.11"
    assert repair_wheels.repair(built_on) == f"{np.get_include()};{sysconfig.get_paths()['include']}"


@pytest.mark.skipif(not list(Path(sys.prefix).glob("share/rosidl_*/cmake")), reason="needs ROS 2 from wheels")
def test_the_wheels_still_say_it_so() -> None:
    """The files that are corrected are there, under names and in words that the patterns know."""
    for name in ("typesupport_cpp", "typesupport_fastrtps_cpp", "typesupport_introspection_cpp"):
        (path,) = Path(sys.prefix).glob(f"share/rosidl_{name}/cmake/rosidl_{name}-extras.cmake")
        assert "ament_register_extension" not in repair_wheels.repair(path.read_text(encoding="utf-8"))
