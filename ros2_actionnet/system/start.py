"""Starts a program whose modules take a while to import."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from ros2_actionnet.system.imports import import_remedy
from ros2_actionnet.system.terminal import open_standard_streams
from ros2_actionnet.system.text import printable


def run(module: str) -> int:
    """Return the result of main() of `module`; Ctrl-C while that is imported ends the process without a traceback.

    If a package that it needs cannot be imported, the message says what to type.
    """
    open_standard_streams()
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        main = import_module(module).main
    except ImportError as error:
        remedy = import_remedy(error, "install what the section Install of the README names")
        sys.stderr.write(f"{error.name or module} cannot be imported: {printable(error, 1000)}; {remedy}\n")
        return 1
    # Python itself never begins with SIG_DFL: then it was set by the program that called this, for its own imports.
    signal.signal(signal.SIGINT, signal.default_int_handler if before is signal.SIG_DFL else before)
    code = int(main())
    # While the interpreter takes itself down there is nothing left to interrupt, but another code would be returned.
    if before in (signal.SIG_DFL, signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code
