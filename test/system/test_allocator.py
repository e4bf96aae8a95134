"""What it is for: large blocks that are reused without page faults. Each in a process of its own, which it changes."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from typing import Any

import pytest

from ros2_actionnet.system import allocator

ON_GLIBC = platform.libc_ver()[0] == "glibc"
FAULTS = """
import json, resource, sys
from ros2_actionnet.system import allocator
kept = allocator.keep_large_blocks() if sys.argv[1] == "keep" else None
def faults(turns):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(turns):
        # 1080p images: as received, deserialized and drawn on. Alone, glibc would learn to keep one.
        blocks = [bytearray(6_220_800) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(3)
print(json.dumps({"kept": kept, "faults": faults(20)}))
"""
TRIM = """
import ctypes, json, psutil
from ros2_actionnet.system import allocator
allocator.keep_large_blocks()
block = bytearray(b"x") * 60_000_000
full = psutil.Process().memory_info().rss
del block
held = psutil.Process().memory_info().rss
allocator.give_back_free_memory()
print(json.dumps({"full": full, "held": held, "after": psutil.Process().memory_info().rss}))
"""


def run(program: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not ON_GLIBC, reason="not glibc")
def test_images_that_come_and_go_cost_no_page_faults() -> None:
    kept, plain = run(FAULTS, "keep"), run(FAULTS, "as it comes")
    assert kept["kept"] is True
    pages = 6_220_800 // 4096
    assert plain["faults"] > 10 * pages, "then there is nothing to gain here"
    assert kept["faults"] < pages


@pytest.mark.skipif(not ON_GLIBC, reason="not glibc")
def test_free_memory_can_be_given_back() -> None:
    memory = run(TRIM)
    assert memory["full"] - memory["held"] < 30_000_000, "it is kept"
    assert memory["held"] - memory["after"] > 50_000_000


def test_without_glibc_it_does_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    assert allocator.keep_large_blocks() is False
    allocator.give_back_free_memory()
