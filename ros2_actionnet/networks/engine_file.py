"""A ready engine of TensorRT as a model: what only TensorRT could read from it is in the network.yaml beside it."""

from __future__ import annotations

from dataclasses import replace

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.labels import read_labels
from ros2_actionnet.networks.spec import INPUT_NAME, NORMALIZED_INSIDE, OUTPUT_NAME, NetworkSpec, PreparedNetwork
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.text import printable


def check_described(spec: NetworkSpec) -> None:
    """Raise NetworkError unless frames, height, width and labels of an engine are known."""
    stated = {"frames": spec.frames, "height": spec.height, "width": spec.width, "labels": spec.labels}
    missing = [key for key, value in stated.items() if not value]
    if missing:
        raise NetworkError(
            f"the model {printable(spec.model)} is an engine of TensorRT, which runs with one version on one kind of "
            "GPU; set `model` to the .onnx file that it was built from. Its engine is built and kept at the first "
            "start, or ahead by `actionnet-engine build --model net.onnx`. An engine is taken as it is if it was built "
            "of what `actionnet-engine build --model net.onnx --onnx-only FILE` writes, and the network.yaml beside it "
            f"states {', '.join(missing)}"
        )


def prepare_engine(spec: NetworkSpec) -> PreparedNetwork:
    """Implement `ros2_actionnet.networks.prepare` for an engine: nothing is read from it."""
    check_described(spec)
    labels = spec.labels
    assert labels is not None
    digest = sha256_of(spec.model)
    if spec.sha256 and digest != spec.sha256.lower():
        raise NetworkError(
            f"the model {printable(spec.model)} is not the one that its network.yaml describes: its sha256 is "
            f"{digest}, not {spec.sha256}. Copy it again; if you changed it on purpose, correct the network.yaml"
        )
    spec = replace(
        spec,
        **NORMALIZED_INSIDE,
        layout="NTHWC",
        input_blob=INPUT_NAME,
        output_blob=OUTPUT_NAME,
        scores=spec.scores or "probabilities",
        mean_from="the engine, which normalizes the frames itself",
    )
    return PreparedNetwork(spec, read_labels(labels), model=b"", max_batch=1, file=spec.model, digest=digest)
