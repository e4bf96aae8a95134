"""What a machine is, as far as TensorRT on it depends on that: lines for a report. Needs nothing but Python 3.8.

python3 scripts/machine_facts.py [--missing]     with it, only what is missing to run the checks, and how to install it
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# What the checks import, and how it is installed.
NEEDED = {
    "numpy": "apt install python3-numpy, or pip install numpy",
    "yaml": "apt install python3-yaml, or pip install PyYAML",
    "cv2": "apt install python3-opencv, or pip install opencv-python-headless",
    "PIL": "apt install python3-pil, or pip install pillow",
    "onnx": "pip install onnx",
    "pytest": "apt install python3-pytest, or pip install pytest",
}
OLDEST_PYTHON = (3, 10)


def facts() -> Iterator[tuple[str, str]]:
    """What there is, name and value, as soon as it is known; what is not there says so."""
    found: dict[str, Callable[[], str | None]] = {
        "machine": _machine,
        "system": _system,
        "JetPack": _jetpack,
        "power mode": lambda: " ".join(_run("nvpmodel", "-q").split()) or None,
        "memory available": lambda: _available_memory(Path("/proc/meminfo").read_text()),
        "groups of this user": lambda: _run("id", "-nG").strip() or None,
        "driver": _driver,
        "CUDA toolkit": lambda: _first_match(_run("nvcc", "--version"), r"release [\d.]+, V([\d.]+)"),
        "Python": lambda: f"{platform.python_version()} ({sys.executable})",
        "TensorRT": _tensorrt,
        "TensorRT's packages": _tensorrt_packages,
        "pycuda": _pycuda,
        "GPUs": _gpus,
        "numpy, onnx, OpenCV": lambda: ", ".join(_version(name) for name in ("numpy", "onnx", "cv2")),
        "references": lambda: ", ".join(f"{name} {_version(name)}" for name in ("openvino", "onnxruntime")),
        "ROS 2": _ros,
        "commit": lambda: _run("git", "-C", str(Path(__file__).parent), "log", "-1", "--format=%h %cs").strip() or None,
    }
    for name, ask in found.items():
        try:
            answer = ask() or "not found"
        except Exception as error:  # a report must come whatever is broken
            answer = f"cannot be told: {type(error).__name__}: {error}"
        yield name, answer


def missing() -> list[str]:
    """What keeps the checks from running, each with how to install it."""
    lines = []
    if sys.version_info < OLDEST_PYTHON:
        lines.append(f"Python {platform.python_version()} is too old: 3.10 or newer is needed (set PYTHON to one)")
    for name, remedy in NEEDED.items():
        try:
            importlib.import_module(name)
        except Exception as error:
            lines.append(f"{name} cannot be imported ({error}): {remedy}")
    return lines


def _machine() -> str:
    model = Path("/proc/device-tree/model")
    name = model.read_text().strip("\0\n") if model.exists() else platform.processor()
    gpus = _run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader").strip().replace("\n", "; ")
    memory = _first_match(Path("/proc/meminfo").read_text(), r"MemTotal: +(\d+) kB")
    parts = [name, platform.machine(), f"{int(memory or 0) / 2**20:.0f} GiB of memory", gpus]
    return ", ".join(part for part in parts if part)


def _system() -> str:
    release = Path("/etc/os-release")
    name = _first_match(release.read_text(), r'PRETTY_NAME="(.*)"') if release.exists() else None
    return f"{name or platform.system()}, kernel {platform.release()}"


def _jetpack() -> str | None:
    release = Path("/etc/nv_tegra_release")
    if not release.exists():
        return "not a Jetson"
    package = _run("dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack").strip()
    return (
        f"{package or 'package nvidia-jetpack is not installed'}; L4T {release.read_text().splitlines()[0].strip('# ')}"
    )


def _driver() -> str | None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"not found ({error})"
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    proc = Path("/proc/driver/nvidia/version")
    kernel = kernel_module(proc.read_text()) if proc.exists() else None
    return f"{kernel or 'version unknown'}, for CUDA up to {number.value // 1000}.{number.value % 1000 // 10}"


def kernel_module(text: str) -> str | None:
    """Return the driver's version as /proc/driver/nvidia/version has it.

    It is the first number with a point after "Kernel Module": "UNIX x86_64 Kernel Module  535.183.01  Sun May 12" or
    "UNIX Open Kernel Module for aarch64  540.4.0  Release Build".
    """
    return _first_match(text, r"Kernel Module\b.*?\s(\d+\.[\d.]*\d)\b")


def _available_memory(meminfo: str) -> str | None:
    kib = _first_match(meminfo, r"MemAvailable: +(\d+) kB")
    swap = _first_match(meminfo, r"SwapTotal: +(\d+) kB")
    return f"{int(kib) / 2**20:.1f} GiB, {int(swap or 0) / 2**20:.1f} GiB of swap" if kib else None


def _tensorrt_packages() -> str | None:
    """The versions of apt's packages, each with the packages that have it."""
    lines = _run("dpkg-query", "-W", "-f", "${Package} ${Version}\n", "*nvinfer*", "*nvonnxparser*").splitlines()
    versions: dict[str, list[str]] = {}
    for package, _, version in (line.partition(" ") for line in lines):
        if version:  # else it is known to dpkg, and not installed
            versions.setdefault(version, []).append(package)
    return "; ".join(f"{version} ({', '.join(packages)})" for version, packages in versions.items()) or None


def _gpus() -> str | None:
    """What engines depend on, of each GPU, as CUDA tells it."""
    try:
        driver = importlib.import_module("pycuda.driver")
    except ModuleNotFoundError:
        return "not asked, for lack of pycuda"
    driver.init()
    attributes = driver.device_attribute
    found = []
    for number in range(driver.Device.count()):
        gpu = driver.Device(number)
        major, minor = gpu.compute_capability()
        kind = "integrated" if gpu.get_attribute(attributes.INTEGRATED) else "discrete"
        count = gpu.get_attribute(attributes.MULTIPROCESSOR_COUNT)
        found.append(f"{number}: {gpu.name()}, SM {major}.{minor}, {count} multiprocessors, {kind}")
    return "; ".join(found) or None


def _tensorrt() -> str | None:
    found = []
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            found.append(f"{name} {importlib.import_module(name).__version__}")
        except ModuleNotFoundError:
            continue
        except Exception as error:
            found.append(f"{name} cannot be imported: {error}")
    return "; ".join(found) or None


def _pycuda() -> str | None:
    try:
        version: str = importlib.import_module("pycuda").VERSION_TEXT
    except ModuleNotFoundError:
        return None
    try:
        built = importlib.import_module("pycuda.driver").get_version()
    except Exception as error:
        return f"{version}, which cannot be imported: {error}"
    return f"{version}, built for CUDA {'.'.join(map(str, built))}"


def _ros() -> str | None:
    distribution = os.environ.get("ROS_DISTRO")
    try:
        importlib.import_module("rclpy")
    except Exception as error:
        return f"{distribution or 'not sourced'}; rclpy cannot be imported: {error}"
    return distribution or "from wheels"


def _version(module: str) -> str:
    try:
        return str(importlib.import_module(module).__version__)
    except Exception:
        return "not found"


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _first_match(text: str, pattern: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        print("\n".join(missing()))
    else:
        for fact, answer in facts():
            print(f"- {fact}: {answer}", flush=True)
