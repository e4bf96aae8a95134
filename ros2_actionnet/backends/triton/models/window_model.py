"""Runs the prepared ONNX beside this file by OpenVINO or ONNX Runtime, whichever the server has, on the CPU.

For a server without Triton's own backends of them, such as that of the Python package nvidia-pytriton.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


class TritonPythonModel:
    """What Triton's Python backend runs: `frames` uint8 [B, T, H, W, 3] to `scores` float32 [B, classes]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network; Triton calls this once."""
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._largest = json.loads(args["model_config"])["max_batch_size"] or 1
        self._run = load(str(file))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all `requests`, in one batch where they fit into one."""
        import triton_python_backend_utils as triton

        given = [triton.get_input_tensor_by_name(request, "frames").as_numpy() for request in requests]
        frames = np.concatenate(given)
        parts = [self._run(frames[i : i + self._largest]) for i in range(0, len(frames), self._largest)]
        ends = np.cumsum([len(windows) for windows in given])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("scores", np.ascontiguousarray(scores))])
            for scores in np.split(np.concatenate(parts), ends)
        ]


def load(file: str) -> Any:
    """Return what scores a batch of windows by the network in `file`, in float32."""
    try:
        import openvino
    except ImportError:
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda windows: session.run(["scores"], {"frames": windows})[0]
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda windows: compiled(windows)[0]
