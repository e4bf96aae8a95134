"""A real Triton server on the CPU: the binary of the wheel nvidia-pytriton, with its Python backend.

As a program, for scripts/demo: `python -m support.triton_server REPOSITORY COMMAND...` runs the command while a server
runs, with its address in place of the word SERVER.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.triton.repository import ExportOptions, export_repository
from ros2_actionnet.networks import PreparedNetwork

# Made by scripts/setup --for-tests.
VENV = Path(os.environ.get("ACTIONNET_TRITON_VENV") or Path(sys.prefix) / "triton")
_START = 60.0  # s; generous, for a busy machine

# A model that does what the file `behavior` of the repository says: sleeps so many seconds, or gives too many scores.
_MISBEHAVING = """
import time
from pathlib import Path
import numpy as np
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        self.file = Path(args["model_repository"]).parent / "behavior"

    def execute(self, requests):
        behavior = self.file.read_text()
        responses = []
        for request in requests:
            frames = triton.get_input_tensor_by_name(request, "frames").as_numpy()
            classes = CLASSES
            if behavior == "shape":
                classes += 3
            elif behavior == "nan":
                pass
            else:
                time.sleep(float(behavior or 0))
            scores = np.full((len(frames), classes), 1 / classes, np.float32)
            if behavior == "nan":
                scores[:] = np.nan
            responses.append(triton.InferenceResponse([triton.Tensor("scores", scores)]))
        return responses
"""


def why_no_server() -> str:
    """Why no server can be started here; "" if one can."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return f"the wheel nvidia-pytriton, with Triton's binary, is for Linux on x86-64, not {platform.machine()}"
    version = [int(part) for part in platform.libc_ver()[1].split(".")]
    if version < [2, 35]:
        return (
            f"the wheel nvidia-pytriton, with Triton's binary, needs glibc 2.35, and here is {platform.libc_ver()[1]}"
        )
    return ""


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class TritonServer:
    """A server of the models in `repository`, on a port of its own that it keeps over restarts.

    With `certificates` (ca.pem, server.pem, server.key and the client's), connections are encrypted, and clients need a
    certificate too.
    """

    def __init__(self, repository: Path, certificates: Path | None = None) -> None:
        self.repository = repository
        self.port = unused_port()
        self.address = f"127.0.0.1:{self.port}"
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None
        self._log = repository.with_name(f"{repository.name}.log")

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until its models are ready."""
        package = next(VENV.glob("lib/python3*/site-packages/pytriton/tritonserver"), None)
        assert package is not None, f"there is no Triton in {VENV}: run scripts/setup --for-tests"
        # The libpython of the Python that made the venv, not another one of the system's.
        libraries = f"{sysconfig.get_config_var('LIBDIR')}:{package.parents[1] / 'nvidia_pytriton.libs'}"
        backends = self._python_backend(package)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(package / "bin" / "tritonserver", "--model-repository", self.repository),
                    *("--backend-directory", backends, "--grpc-address", "127.0.0.1", "--grpc-port", str(self.port)),
                    *("--allow-http", "false", "--allow-metrics", "false", "--exit-on-error", "false"),
                    *("--model-control-mode", "explicit", "--load-model", "*", *self._tls),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                    "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
                    "LD_LIBRARY_PATH": libraries,
                },
            )
        if wait:
            self.wait_until_ready()

    @property
    def _tls(self) -> list[str | Path]:
        folder = self._certificates
        if folder is None:
            return []
        files = {"server-cert": "server.pem", "server-key": "server.key", "root-cert": "ca.pem"}
        arguments = [word for flag, file in files.items() for word in (f"--grpc-{flag}", folder / file)]
        return ["--grpc-use-ssl-mutual", "true", *arguments]

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START
        while not self._is_ready():
            assert self._process is not None
            assert self._process.poll() is None, f"the server ended:\n{self._log.read_text(errors='replace')[-3000:]}"
            assert time.monotonic() < deadline, f"no server:\n{self._log.read_text(errors='replace')[-3000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it and its models, as a power failure would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop all its processes: its connections stay open, and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def client(self) -> Any:
        from tritonclient import grpc

        folder = self._certificates
        if folder is None:
            return grpc.InferenceServerClient(self.address)
        return grpc.InferenceServerClient(
            self.address,
            ssl=True,
            root_certificates=str(folder / "ca.pem"),
            certificate_chain=str(folder / "client.pem"),
            private_key=str(folder / "client.key"),
        )

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _is_ready(self) -> bool:
        from tritonclient.utils import InferenceServerException

        client = self.client()
        try:
            return bool(client.is_server_ready(client_timeout=1.0))
        except InferenceServerException:
            return False
        finally:
            client.close()

    def _python_backend(self, package: Path) -> Path:
        """A folder with the Python backend and the process for the venv's Python, which the wheel keeps apart."""
        folder = self.repository.with_name(f"{self.repository.name}_backends")
        backend = folder / "python"
        if not backend.exists():
            backend.mkdir(parents=True)
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            stub = package / "python_backend_stubs" / version / "triton_python_backend_stub"
            stub.chmod(0o755)
            for file in (*(package / "backends" / "python").glob("*triton_python*"), stub):
                (backend / file.name).symlink_to(file)
        return folder


def export(network: PreparedNetwork, repository: Path, *, stateful: bool = False, again: bool = False) -> None:
    """Write `network` into `repository`, for the Python backend."""
    export_repository(network, repository, ExportOptions(platform="python", stateful=stateful), again=again)


def export_misbehaving(network: PreparedNetwork, repository: Path) -> Path:
    """Write a model in place of `network` that does what the file says which is returned: seconds, `shape` or `nan`."""
    export(network, repository)
    (program,) = (repository / network.name).glob("*/model.py")
    program.write_text(_MISBEHAVING.replace("CLASSES", str(network.num_classes)))
    behavior = repository / "behavior"
    behavior.write_text("")
    return behavior


def grey_frame(network: PreparedNetwork, level: int) -> NDArray[np.uint8]:
    return np.full((network.height, network.width, 3), level, np.uint8)


def main(repository: str, *command: str) -> int:
    if reason := why_no_server():
        sys.stderr.write(f"there is no server: {reason}\n")
        return 1
    with TritonServer(Path(repository)) as server:
        sys.stderr.write(f"a Triton server is at {server.address}\n")
        return subprocess.run(
            [server.address if word == "SERVER" else word for word in command], check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
