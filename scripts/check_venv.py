"""Says, by its exit code, whether every file that pip installed into this environment is still there."""

import csv
import os
import sys
import sysconfig
from pathlib import Path


def main() -> int:
    """Looks for each file of each RECORD; compiled files may go and come."""
    site_packages = sysconfig.get_paths()["purelib"]
    records = list(Path(site_packages).glob("*.dist-info/RECORD"))
    for record in records:
        with record.open(encoding="utf-8", newline="") as lines:
            for name, *_ in csv.reader(lines):
                if not name.endswith(".pyc") and not os.path.lexists(f"{site_packages}/{name}"):
                    return 1
    return 0 if records else 1


if __name__ == "__main__":
    sys.exit(main())
