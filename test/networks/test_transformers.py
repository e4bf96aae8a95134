"""Networks of transformers as it makes, exports and saves them: scores, labels and the preprocessing of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ros2_actionnet.networks import NetworkRequest, prepare, resolve

transformers = pytest.importorskip("transformers")

Array = NDArray[Any]
T, SIZE = 4, 32
LABELS = ("walk", "sit", "fall", "wave", "push")
ENCODER: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: index for index, label in enumerate(LABELS)},
}
TUBELETS = {"image_size": SIZE, "patch_size": 8, "num_frames": T, "tubelet_size": 2}
PREDICTOR = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
NETWORKS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "VideoMAE": ("VideoMAEConfig", "VideoMAEForVideoClassification", TUBELETS, "VideoMAEImageProcessor"),
    "VideoMAE, class token": (
        "VideoMAEConfig",
        "VideoMAEForVideoClassification",
        TUBELETS | {"use_mean_pooling": False},
        "VideoMAEImageProcessor",
    ),
    "TimeSformer": (
        "TimesformerConfig",
        "TimesformerForVideoClassification",
        {"image_size": SIZE, "patch_size": 8, "num_frames": T},
        "VideoMAEImageProcessor",
    ),
    "ViViT": (
        "VivitConfig",
        "VivitForVideoClassification",
        {"image_size": SIZE, "num_frames": T, "tubelet_size": [2, 8, 8]},
        "VivitImageProcessor",
    ),
    "V-JEPA 2": (
        "VJEPA2Config",
        "VJEPA2ForVideoClassification",
        {"crop_size": SIZE, "patch_size": 8, "frames_per_clip": T, "num_pooler_layers": 1, "mlp_ratio": 2} | PREDICTOR,
        "VideoMAEImageProcessor",
    ),
}


class Logits(torch.nn.Module):  # type: ignore[misc]
    """The logits of a network of transformers, alone."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Any) -> Any:
        return self.network(pixel_values).logits


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_network_needs_nothing_stated(
    name: str, dynamo: bool, tmp_path: Path, run_model: Callable[[bytes, Array], Array]
) -> None:
    config, network_class, sizes, processor_class = NETWORKS[name]
    torch.manual_seed(5)
    network = getattr(transformers, network_class)(getattr(transformers, config)(**ENCODER | sizes)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    processor = getattr(transformers, processor_class)(
        size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=[0.4, 0.5, 0.6],
        image_std=[0.2, 0.3, 0.4],
    )
    network.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    random = np.random.default_rng(0)
    window = (random.integers(0, 130, (T, 1, 1, 3)) + random.integers(0, 120, (T, SIZE, SIZE, 3))).astype(np.uint8)
    # As pictures, since arrays of 32 rows and 3 columns may be taken for planes.
    pixels = processor([torch.from_numpy(frame).permute(2, 0, 1).numpy() for frame in window], return_tensors="pt")
    given = pixels["pixel_values"].reshape(1, T, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = network(given).logits.softmax(1).numpy()
    assert np.ptp(expected) > 0.02
    options: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        file = str(tmp_path / "model.onnx")
        torch.onnx.export(Logits(network), (given,), file, opset_version=18 if dynamo else 17, dynamo=dynamo, **options)
    prepared = prepare(resolve(NetworkRequest(model=str(tmp_path))))
    assert prepared.labels == LABELS
    assert (prepared.spec.layout, prepared.spec.colors) == ("NTCHW", "RGB")
    assert prepared.spec.mean_from == str(tmp_path / "preprocessor_config.json")
    np.testing.assert_allclose(run_model(prepared.model, window[None]), expected, rtol=0, atol=2e-6)
