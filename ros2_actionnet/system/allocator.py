"""What glibc's malloc keeps, and what it gives back to the system."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_KEPT = 64 << 20  # bytes: two 4K images of 4 bytes a pixel
_KEPT_FREE = 128 << 20  # bytes of freed memory held for the next image before the system gets any back


def keep_large_blocks() -> bool:
    """Has malloc serve images from memory that it keeps; False where the C library is not glibc.

    A fresh block of 6 MB costs a page fault every 4 KB: more than receiving the image that goes into it.
    """
    libc = _glibc()
    if libc is None:
        return False
    settings = {_M_MMAP_THRESHOLD: _LARGEST_KEPT, _M_TRIM_THRESHOLD: _KEPT_FREE, _M_TOP_PAD: 16 << 20}
    return all(libc.mallopt(parameter, value) for parameter, value in settings.items())


def give_back_free_memory() -> None:
    """Gives memory that is free back to the system, after work that needed much for once; nothing where not glibc."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
