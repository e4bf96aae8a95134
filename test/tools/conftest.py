from __future__ import annotations

from importlib.util import find_spec

# These need PyTorch, which the package does not.
collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
