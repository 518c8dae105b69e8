# SPDX-License-Identifier: Apache-2.0
"""MiniFASNet's two networks as ONNX graphs, with seeded random weights or the published ones, and its face detector.

    python -m benchmarks.peers.silent_face_graphs --out DIR [--weights DIR] [--detectors DIR --frames 640x480 …]

A program of its own, so that neither the server nor the load tester has torch in memory. The scorer reads the crop's
scale and the class of live faces from the graphs. The detector has random weights and a graph for each frame size, as
OpenCV wants fixed shapes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import onnx
import torch
from torch import nn

from benchmarks.peers.retinaface import RetinaFace
from benchmarks.peers.silent_face_scorer import own_input_size
from eulernet.peers.minifasnet import MEMBERS, REAL, SIDE_PX, Member, MiniFASNet, WeightsError, load
from eulernet_build.graphs import strip, trace
from eulernet_core.whole_files import write_whole

SEED = 1
PICTURES = 16  # random ones, for the statistics of random networks
IMAGE, LOGITS = "IMAGE", "LOGITS"
CROP_SCALE, LIVE_CLASS = "crop_scale", "live_class"
BOX, SCORE = "BOX", "SCORE"


def random_network(member: Member) -> MiniFASNet:
    """A network with random weights whose activations are of usual size: tiny ones would be slow on a processor."""
    torch.manual_seed(SEED)
    network = MiniFASNet(member.widths)
    settle(network, 255.0 * torch.rand(PICTURES, 3, SIDE_PX, SIDE_PX))
    return network


def random_detector() -> RetinaFace:
    """The detector, likewise."""
    torch.manual_seed(SEED)
    network = RetinaFace()
    width, height = own_input_size(4, 3)
    settle(network, 255.0 * torch.rand(PICTURES, 3, height, width) - 114.0)
    return network


def settle(network: nn.Module, images: torch.Tensor) -> None:
    """Sets random weights, and the statistics of these images."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of this one batch
    with torch.no_grad():
        network.train()(images)
    network.eval()


def graph(network: MiniFASNet, crop_scale: float) -> onnx.ModelProto:
    """IMAGE float32 (N, 3, 80, 80), BGR, 0 to 255, to LOGITS (N, 3)."""
    model = trace(network, {IMAGE: torch.zeros(2, 3, SIDE_PX, SIDE_PX)}, [LOGITS])
    strip(model)
    onnx.helper.set_model_props(model, {CROP_SCALE: str(crop_scale), LIVE_CLASS: str(REAL)})
    return model


def detector_graph(width: int, height: int) -> onnx.ModelProto:
    """IMAGE float32 (1, 3, h, w), for frames of this size, to BOX (1, A, 4) and SCORE (1, A)."""
    w, h = own_input_size(width, height)
    model = trace(random_detector(), {IMAGE: torch.zeros(1, 3, h, w)}, [BOX, SCORE])
    strip(model)
    return model


def main() -> None:
    """Writes a graph for each network, replacing the folder's old ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--detectors", type=Path)
    parser.add_argument("--frames", nargs="*", default=[], help="sizes for which --detectors gets a graph")
    given = parser.parse_args()
    if given.frames and given.detectors is None:
        parser.error("--frames needs --detectors")
    given.out.mkdir(parents=True, exist_ok=True)
    for member in MEMBERS:
        try:
            network = load(given.weights / member.file, member.widths) if given.weights else random_network(member)
        except WeightsError as error:
            sys.exit(f"error: {error}")
        model = graph(network, member.crop_scale)
        write_whole((given.out / member.file).with_suffix(".onnx"), model.SerializeToString())
    for size in given.frames:
        given.detectors.mkdir(parents=True, exist_ok=True)
        width, height = map(int, size.split("x"))
        write_whole(given.detectors / f"{size}.onnx", detector_graph(width, height).SerializeToString())


if __name__ == "__main__":
    main()
