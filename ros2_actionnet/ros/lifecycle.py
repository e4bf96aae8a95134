"""A lifecycle node that refuses impossible transitions and logs why a transition failed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.system.text import printable


class GuardedLifecycleNode(LifecycleNode):
    """rclpy's lifecycle node, mended in two places.

    A request for a transition that the state does not allow raises in rclpy's service callback, which ends the process;
    here it is refused. An exception in a transition is swallowed by rclpy; here it is logged, and an ActionNetError,
    which is the user's to mend, leaves the node in the state it was in.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        service = self._service_change_state
        answer = service.callback

        def guarded(request: Any, response: Any) -> Any:
            try:
                return answer(request, response)
            except Exception as error:
                wanted = request.transition.label or request.transition.id
                self.get_logger().error(
                    f"transition '{printable(wanted)}' is not possible in state '{self.state}': {error}"
                )
                response.success = False
                return response

        service.callback = guarded

    @property
    def state(self) -> str:
        """The name of the lifecycle state: unconfigured, inactive, active, finalized or one in between."""
        label: str = self._state_machine.current_state[1]
        return label

    def attempt(self, transition: str, work: Callable[[], None]) -> TransitionCallbackReturn:
        """Do the work of a transition and return its result; failures are logged."""
        try:
            work()
        except ActionNetError as error:
            self.get_logger().error(f"cannot {transition}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"cannot {transition}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS


__all__ = ["GuardedLifecycleNode", "LifecycleState", "TransitionCallbackReturn"]
