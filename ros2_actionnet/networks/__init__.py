"""Networks: from a name or a file to a model that a backend accepts: ONNX for every one, OpenVINO's IR for its own.

`resolve` finds the files and takes milliseconds; `obtain` downloads them first if necessary; `prepare` opens the model
and converts it to the common signature: input `frames` uint8 [batch, T, H, W, 3] (RGB), output `scores` float32
[batch, classes].
"""

from __future__ import annotations

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.catalogue import Archive, Catalogue, CatalogueEntry, network_folders
from ros2_actionnet.networks.engine_file import prepare_engine
from ros2_actionnet.networks.fetch import check_request, fetch, obtain
from ros2_actionnet.networks.int8 import has_accepted_int8, prepare_int8
from ros2_actionnet.networks.layout import Layout
from ros2_actionnet.networks.model_files import is_engine, is_ir
from ros2_actionnet.networks.resolve import resolve
from ros2_actionnet.networks.spec import (
    ACTIONNET_MEAN,
    ACTIONNET_STD,
    BATCH_NAME,
    INPUT_NAME,
    OUTPUT_NAME,
    SCORE_KINDS,
    Conversion,
    NetworkRequest,
    NetworkSpec,
    PreparedNetwork,
    ScoreKind,
)
from ros2_actionnet.system.imports import import_remedy, pip_install
from ros2_actionnet.system.text import printable

__all__ = [
    "ACTIONNET_MEAN",
    "ACTIONNET_STD",
    "BATCH_NAME",
    "INPUT_NAME",
    "OUTPUT_NAME",
    "SCORE_KINDS",
    "Archive",
    "Catalogue",
    "CatalogueEntry",
    "Conversion",
    "Layout",
    "NetworkRequest",
    "NetworkSpec",
    "PreparedNetwork",
    "ScoreKind",
    "check_request",
    "fetch",
    "has_accepted_int8",
    "network_folders",
    "obtain",
    "prepare",
    "resolve",
]


def prepare(spec: NetworkSpec, *, fold_stem: bool = False) -> PreparedNetwork:
    """Open a network's model and give it the signature that every backend accepts. May take seconds for a large model.

    Args:
        spec: the network's files, from `resolve`.
        fold_stem: rewrite a first 3D convolution on RGB as a 2D one, where the network has such a stem (see `stem`).

    Raises:
        NetworkError: the file is not a readable ONNX model or OpenVINO IR, its checksum is not the stated one, its
            input or output is unsupported or ambiguous without further settings, or the labels do not fit.
    """
    if is_engine(spec.model):
        return prepare_engine(spec)
    if spec.int8_of is not None:
        return prepare_int8(spec)
    try:
        # Imported here because onnx costs 0.3 s and tens of MB, which only the loading of a network should pay.
        from ros2_actionnet.networks.graph.openvino_ir import prepare_ir
        from ros2_actionnet.networks.graph.preparation import prepare_network
    except ImportError as error:
        remedy = import_remedy(error, pip_install("onnx"))
        raise NetworkError(
            f"networks are prepared with the Python package onnx: {remedy} ({printable(error)})"
        ) from error
    return prepare_ir(spec) if is_ir(spec.model) else prepare_network(spec, fold_stem=fold_stem)
