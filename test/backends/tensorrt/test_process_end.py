"""The end of a process whose worker is inside CUDA: `close` says so, and Python is not taken down under the driver."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT = 60.0
TEST = Path(__file__).parents[2]

# A worker whose session waits for an event that does not come, in C and without the interpreter's lock. As with the
# real driver, a process that runs its exit handlers meanwhile dies of it.
PROGRAM = """
import ctypes, os, sys, threading
from contextlib import nullcontext
from functools import partial
import numpy as np
import pytest
from ros2_actionnet.backends import Choice
from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.loading import load
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.settings import Settings
from support.fakes import RecordingListener, make_network
from support.tensorrt_rig import TensorRTRig

rig, inside, libc = TensorRTRig(), threading.Event(), ctypes.CDLL(None)
rig.install(pytest.MonkeyPatch())
listener = RecordingListener()
choose = lambda name, device: Choice(TensorRTBackend(), "here")
prepare = lambda request, monitor: nullcontext(make_network("tiny"))
worker = InferenceWorker(listener, partial(load, prepare=prepare, choose=choose))
stream = worker.open_stream(Settings(network="tiny"), listener)
worker.request_network(Settings(network="tiny"))
listener.wait_for(lambda: listener.networks, "take-over")

def wait_in_cuda(handle):
    libc.on_exit(libc.abort, None)
    inside.set()
    libc.usleep(30_000_000)

rig.cuda._finish = wait_in_cuda
stream.submit(RawImage.from_array(np.zeros((16, 16, 3), np.uint8), "rgb8"), Sample(), FrameHeader(0, 0, ""), 0, 0)
assert inside.wait(10)
ended = worker.close(timeout=0.2)
print(ended, flush=True)
if not ended and sys.argv[1] == "as the node":
    os._exit(0)
"""


@pytest.mark.parametrize(("how", "code"), [("as the node", 0), ("as Python by itself", -signal.SIGABRT)])
def test_a_worker_inside_cuda_outlasts_its_close_and_ends_with_the_process(how: str, code: int) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TEST)!r})\n{PROGRAM}", how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (code, "False\n"), done.stderr
