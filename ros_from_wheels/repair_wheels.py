"""Makes the installed ROS 2 wheels fit to build messages with. Run it with the Python of the venv that they are in.

They name headers by the paths of the machine that they were built on, and the message generator exports the path of
NumPy's headers, which CMake refuses where the venv lies in the folder of the package that is built, as ours does.
They would also build each message for C++, which nothing here uses and which takes a third of the building.
A second run changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

_FOR_CPP = r"rosidl_generator_cpp|rosidl_typesupport_(?:cpp|fastrtps_cpp|introspection_cpp)"
REPLACEMENTS = {
    r'/opt/python/[^;"]*/numpy/_core/include': np.get_include(),
    r'/opt/python/[^;"/]*/include/python[0-9.]+': sysconfig.get_paths()["include"],
    rf'ament_register_extension\(\s*"rosidl_generate_idl_interfaces"\s*"(?:{_FOR_CPP})"\s*"[^"]*"\)': "",
    r"PUBLIC (\$\{Python3_INCLUDE_DIRS\}) (\$\{Python3_NumPy_INCLUDE_DIRS\})\)": r'PUBLIC "$<BUILD_INTERFACE:\1;\2>")',
}


def main() -> None:
    """Repairs every CMake file under the environment's share/."""
    for path in sorted(Path(sys.prefix).glob("share/*/cmake/*.cmake")):
        text = path.read_text(encoding="utf-8")
        if (repaired := repair(text)) != text:
            path.write_text(repaired, encoding="utf-8")


def repair(text: str) -> str:
    """Return the text of a CMake file as it must be here."""
    for pattern, replacement in REPLACEMENTS.items():
        text = re.sub(pattern, replacement, text)
    return text


if __name__ == "__main__":
    main()
