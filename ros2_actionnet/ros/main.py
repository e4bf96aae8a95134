"""The executable `actionnet_node`."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    import sys

    from ros2_actionnet.system import start

    sys.exit(start.run("ros2_actionnet.ros.main"))

import os
import sys
import threading

import cv2
import rclpy
from rclpy.exceptions import InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.ros.command_line import answer
from ros2_actionnet.ros.mailbox import Mailbox
from ros2_actionnet.ros.node import ActionNetNode
from ros2_actionnet.ros.ros_logging import log_to_ros
from ros2_actionnet.system.allocator import keep_large_blocks
from ros2_actionnet.system.termination import on_termination
from ros2_actionnet.system.text import printable

RCLError = rclpy_implementation.RCLError


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end; return its exit code."""
    instead = answer(sys.argv[1:] if args is None else args)
    if instead is not None:
        text, code = instead
        (sys.stderr if code else sys.stdout).write(text)
        return code
    keep_large_blocks()
    # A thumbnail is too little work to share: waking a second thread for it costs 0.7 ms of CPU a 1080p frame.
    cv2.setNumThreads(1)
    mailboxes: list[Mailbox] = []
    ended = threading.Event()
    on_termination(lambda: mailboxes[0].post(ended.set) if mailboxes else os._exit(0))
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = ActionNetNode()
    # RCLError: an invalid argument, such as a topic's name with a dash.
    except (ActionNetError, InvalidParameterValueException, RCLError) as error:
        hint = "; names of topics have letters, digits, _ and / alone" if isinstance(error, RCLError) else ""
        sys.stderr.write(f"actionnet_node: {printable(error, 4000)}{hint}\n")
        rclpy.try_shutdown()
        return 1
    log_to_ros(node.get_logger())
    mailboxes.append(node.mailbox)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # Not spin_until_future_complete: it hangs another callback on the future each time round, for as long as it runs.
    while not ended.is_set():
        executor.spin_once()
    finished = node.close()
    rclpy.try_shutdown()
    if not finished:
        # A library that compiles a network cannot be interrupted, and would crash if Python took itself down under it.
        sys.stdout.flush()
        os._exit(0)
    return 0
