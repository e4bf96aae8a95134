"""What to type where a package is missing or cannot be imported."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

# In the messages of extension modules that were compiled for another major version of NumPy.
_SIGNS = ("_ARRAY_API", "multiarray", "numpy._core", "compiled using NumPy", "numpy.dtype size changed")


KEEP_NUMPY_1 = '"numpy<2"'
"""For pip: keeps the NumPy that apt's modules (OpenCV, cv_bridge, messages) are compiled for."""


def pip_install(*packages: str, numpy: str | None = None, is_managed: bool | None = None) -> str:
    """Return the command that installs `packages` and breaks none of apt's, which are compiled for NumPy 1.

    Args:
        packages: as pip takes them.
        numpy: the version of NumPy, "" for none; None: the installed one.
        is_managed: whether pip must be told to install into the system's Python; None: as it is here.
    """
    keep = [KEEP_NUMPY_1] if (_installed_numpy() if numpy is None else numpy).startswith("1.") else []
    managed = _is_managed() if is_managed is None else is_managed
    return " ".join(["PIP_BREAK_SYSTEM_PACKAGES=1 pip install" if managed else "pip install", *keep, *packages])


def import_remedy(error: ImportError, otherwise: str, numpy: str | None = None) -> str:
    """Return what to type after `error`: `otherwise`, unless NumPy is of a version that a module is not compiled for.

    Args:
        error: the failed import.
        otherwise: how to install what was imported.
        numpy: the version of NumPy; None: the installed one.
    """
    if not any(sign in str(cause) for cause in _chain(error) for sign in _SIGNS):
        return otherwise
    version = _installed_numpy() if numpy is None else numpy
    if version.startswith(("0.", "1.")):
        return f"{otherwise} (it needs a newer NumPy than {version})"
    return (
        f"it is compiled for NumPy 1, and NumPy is {version or 'not installed'}: {pip_install(KEEP_NUMPY_1, numpy='')}"
    )


def _installed_numpy() -> str:
    from importlib import metadata  # takes 20 ms

    try:
        return metadata.version("numpy")
    except metadata.PackageNotFoundError:
        return ""


def _is_managed() -> bool:
    """Return True for the Python of a system that keeps pip out of it, such as Ubuntu 24.04 (PEP 668)."""
    return sys.prefix == sys.base_prefix and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file()


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
