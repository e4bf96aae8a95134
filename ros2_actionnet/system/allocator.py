"""Controls which memory glibc's malloc keeps and which it returns to the system."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_KEPT = 64 << 20  # bytes: two 4K images of 4 bytes a pixel
_KEPT_FREE = 128 << 20  # bytes of freed memory kept for the next image before any is returned to the system


def keep_large_blocks() -> bool:
    """Make malloc serve images from memory that it keeps; return False if the C library is not glibc.

    A fresh block of 6 MB costs a page fault every 4 KB: more than receiving the image itself.
    """
    libc = _glibc()
    if libc is None:
        return False
    settings = {_M_MMAP_THRESHOLD: _LARGEST_KEPT, _M_TRIM_THRESHOLD: _KEPT_FREE, _M_TOP_PAD: 16 << 20}
    return all(libc.mallopt(parameter, value) for parameter, value in settings.items())


def give_back_free_memory() -> None:
    """Return free memory to the system, after work with a high peak; does nothing if the C library is not glibc."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
