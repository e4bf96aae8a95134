"""Entry points of the commands as pip installs them."""

from ros2_actionnet.system.start import run


def actionnet() -> int:
    """Run the command `actionnet`."""
    return run("ros2_actionnet.cli.actionnet")


def actionnet_networks() -> int:
    """Run the command `actionnet-networks`."""
    return run("ros2_actionnet.cli.networks")


def actionnet_engine() -> int:
    """Run the command `actionnet-engine`."""
    return run("ros2_actionnet.cli.engine")
