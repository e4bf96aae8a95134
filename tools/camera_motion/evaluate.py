"""Print how good the exported network is: held-out clips, the demo clip, real video, other runtimes, time."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import torch

from .images import all_sources, load_video
from .labels import LABELS
from .make_demo_clip import RATE, SECONDS, SEGMENTS
from .motion import FRAMES, PROMISED, SIZE
from .network import CameraMotionNet
from .pool import Frames, Labels, build_pool
from .real_video import evaluate_moved_window, evaluate_shots
from .windows import SKIP_FRAMES, Classifier, network_input

CLIPS = 2000
EVALUATION_SEED = 3

Confusion = npt.NDArray[np.int64]


def held_out_clips(photos: Path, work: Path, count: int) -> tuple[Frames, Labels]:
    """Return clips made from photographs and video that training never saw."""
    unseen = [source for source in all_sources() if source.held_out]
    return build_pool(work / "evaluation.u8", unseen, photos, count, EVALUATION_SEED, PROMISED)


def confusion_of(labels: Labels, predicted: Labels) -> Confusion:
    """Return how often each true class (row) was called each class (column)."""
    confusion = np.zeros((len(LABELS), len(LABELS)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return confusion


def evaluate_clips(classifier: Classifier, frames: Frames, labels: Labels) -> dict[str, Any]:
    """Return accuracy, recall and precision of every class, and the confusion matrix."""
    logits = classifier.logits(frames)
    confusion = confusion_of(labels, logits.argmax(axis=1))
    right = np.diag(confusion)
    return {
        "clips": len(labels),
        "accuracy": round(float(right.sum() / confusion.sum()), 4),
        "recall": dict(zip(LABELS, np.round(right / confusion.sum(axis=1), 4).tolist(), strict=True)),
        "precision": dict(zip(LABELS, np.round(right / np.maximum(1, confusion.sum(axis=0)), 4).tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }


def evaluate_demo(classifier: Classifier, clip: Path) -> dict[str, Any]:
    """Return the part of the windows wholly inside a segment of the demo clip that are right."""
    classes = classifier.classes(load_video(clip, width=4096))
    length, span = round(SECONDS * RATE), (FRAMES - 1) * (SKIP_FRAMES + 1) + 1
    parts = {}
    total = right = 0
    for index, segment in enumerate(SEGMENTS):
        inside = classes[index * length : (index + 1) * length - span + 1]
        hits = inside.count(segment.label)
        parts[segment.label] = round(hits / len(inside), 4)
        total, right = total + len(inside), right + hits
    return {"windows": total, "right": round(right / total, 4), "segments": parts}


def _openvino(model: Path, threads: int) -> openvino.CompiledModel:
    """Return the network in OpenVINO, batch 1, f32, for the shortest time of one window."""
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape([1, 3, FRAMES, SIZE, SIZE])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": str(threads),
    }
    return core.compile_model(network, "CPU", settings)


def compare_runtimes(classifier: Classifier, model: Path, weights: Path | None, frames: Frames) -> dict[str, Any]:
    """Return the largest difference of the logits between the runtimes, and OpenVINO's time for a window."""
    request = _openvino(model, 2).create_infer_request()
    inputs = [network_input(frames[index : index + 1]) for index in range(32)]
    ours = classifier.logits(frames[:32])
    openvinos = np.concatenate([np.array(request.infer([window])[0]) for window in inputs])
    result: dict[str, Any] = {"openvino_minus_onnxruntime": float(np.abs(openvinos - ours).max())}
    if weights is not None:
        network = CameraMotionNet(len(LABELS)).eval()
        network.load_state_dict(torch.load(weights, weights_only=True))
        with torch.inference_mode():
            torchs = network(torch.from_numpy(np.concatenate(inputs))).numpy()
        result["pytorch_minus_onnxruntime"] = float(np.abs(torchs - ours).max())
    times = []
    for repeat in range(400):
        start = time.perf_counter()
        request.infer([inputs[repeat % 32]])
        times.append(1e3 * (time.perf_counter() - start))
    result["openvino_ms"] = {
        "fastest": round(min(times), 2),
        "median": round(float(np.median(times)), 2),
        "p90": round(float(np.quantile(times, 0.9)), 2),
    }
    return result


def draw_confusion(confusion: Confusion, accuracy: float, path: Path) -> None:
    """Draw the confusion matrix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shares = confusion / confusion.sum(axis=1, keepdims=True)
    figure, axes = pyplot.subplots(figsize=(7.2, 6.4), dpi=110)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(LABELS)):
        for column in range(len(LABELS)):
            if confusion[row, column]:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(len(LABELS)), LABELS, rotation=40, ha="right")
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set_xlabel("what the network says")
    axes.set_ylabel("what the camera does")
    axes.set_title(f"camera_motion: {confusion.sum()} held-out clips, {accuracy:.2%} right")
    figure.tight_layout()
    figure.savefig(path)


def _print_clips(result: dict[str, Any]) -> None:
    """Print the numbers of the held-out clips."""
    print(f"{result['clips']} held-out clips: {result['accuracy']:.2%} right")
    for label, row in zip(LABELS, result["confusion"], strict=True):
        counts = " ".join(f"{count:4d}" for count in row)
        print(f"  {label:22} recall {result['recall'][label]:.3f} precision {result['precision'][label]:.3f}  {counts}")


def main() -> None:
    """Evaluate, print, and write evaluation.json and confusion_matrix.png beside the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("build/camera_motion/photos"))
    parser.add_argument("--work", type=Path, default=Path("build/camera_motion"))
    parser.add_argument("--model", type=Path, default=Path("networks/camera_motion/model.onnx"))
    parser.add_argument("--demo", type=Path, default=Path("media/camera_motion_demo.mp4"))
    parser.add_argument("--clips", type=int, default=CLIPS)
    arguments = parser.parse_args()
    classifier = Classifier(arguments.model)
    frames, labels = held_out_clips(arguments.photos, arguments.work, arguments.clips)
    weights = arguments.work / "weights.pt"
    report: dict[str, Any] = {
        "labels": LABELS,
        "held_out": evaluate_clips(classifier, frames, labels),
        "demo_clip": evaluate_demo(classifier, arguments.demo),
        "moved_window_over_bigbuckbunny": evaluate_moved_window(classifier, arguments.photos),
        "real_shots": evaluate_shots(classifier, arguments.photos),
        "runtimes": compare_runtimes(classifier, arguments.model, weights if weights.exists() else None, frames),
    }
    _print_clips(report["held_out"])
    print(json.dumps({key: value for key, value in report.items() if key not in {"labels", "held_out"}}, indent=2))
    folder = arguments.model.parent
    (folder / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    held_out = report["held_out"]
    draw_confusion(np.array(held_out["confusion"]), held_out["accuracy"], folder / "confusion_matrix.png")


if __name__ == "__main__":
    main()
