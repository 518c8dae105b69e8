# SPDX-License-Identifier: Apache-2.0
"""Measures the errors of a network's variants on the clips of a data set, in ONNX Runtime.

All variants use one threshold, the equal-error threshold of fp32's development scores: where a variant replaces fp32 in
service, the threshold stays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from eulernet.datasets import DatasetError, Reading, Split, Video, read_manifest, read_oulu
from eulernet.datasets.clips import ClipDataset
from eulernet.datasets.crops import CropSettings, build_crop_cache
from eulernet.evaluation.scores import Score
from eulernet.evaluation.table import Table
from eulernet.scoring.scorers import CropModel, score_crops
from eulernet.simulation.data_set_folder import RECORD
from eulernet_build.parity import Runner, onnxruntime_runner, openvino_runner
from eulernet_build.precision.half import to_half
from eulernet_build.precision.variants import FOR_CPU
from eulernet_core.attack_detection_metrics import eer_threshold, figures
from eulernet_core.tensors import LIVENESS, usable_clips
from eulernet_serving.plan_records import graph_properties


@dataclass(frozen=True)
class Source:
    """A data set and its face crops.

    Attributes:
        data: a folder in OULU-NPU's layout, or a manifest.
        protocol, fold: OULU-NPU's; None for a manifest.
        clips: per video.
        crops, models: folders of the cached crops and of the face models.
        jobs: number of processes that crop faces.
    """

    data: Path
    protocol: int | None
    fold: int | None
    clips: int
    crops: Path
    models: Path
    jobs: int = 1

    def videos(self, split: Split) -> list[Video]:
        """The videos of a split. Raises: DatasetError if there are none."""
        return self._reading(split).require()

    def _reading(self, split: Split) -> Reading:
        if self.protocol is None:
            return read_manifest(self.data, split)
        try:
            return read_oulu(self.data, self.protocol, self.fold, split)
        except ValueError as error:
            raise DatasetError(str(error)) from None

    def dataset(self, videos: Iterable[Video], size_px: int) -> ClipDataset:
        """The clips of these videos; crops the faces that the cache lacks."""
        cut = CropSettings(clips_per_video=self.clips, size_px=size_px, label_side=size_px // 8)
        return ClipDataset(build_crop_cache(videos, self.crops, self.models, cut, processes=self.jobs), labelled=False)

    @property
    def simulated(self) -> bool:
        """Whether the simulator made the data set."""
        folder = self.data.parent if self.data.is_file() else self.data
        return (folder / RECORD).is_file()


@dataclass(frozen=True)
class Cost:
    """Errors of one variant on the test clips.

    Attributes:
        clips, videos: numbers of scored clips and videos.
        mean, largest: absolute difference of a clip's liveness from fp32's.
        apcer, bpcer, acer: of the videos, 0 to 1; APCER of the worst instrument.
        acer_change: ACER minus fp32's ACER.
        judged_differently: number of videos with another verdict than in fp32.
    """

    precision: str
    clips: int
    videos: int
    mean: float
    largest: float
    apcer: float
    bpcer: float
    acer: float
    acer_change: float
    judged_differently: int


def calibration_clips(source: Source, count: int, size_px: int) -> NDArray[np.uint8]:
    """The first clip of each of `count` training videos, evenly spaced in the list, or of all if there are fewer.

    Returns: uint8 (M, T, S, S, 3), M at most `count`.
    Raises: DatasetError if no clip shows a face.
    """
    videos = source.videos("train")
    chosen = [videos[i * len(videos) // count] for i in range(count)] if len(videos) > count else videos
    dataset = source.dataset(chosen, size_px)
    first = {dataset.video(i).path: i for i in reversed(range(len(dataset)))}
    if not first:
        raise DatasetError(f"{source.data}: no face in {len(chosen)} training videos; int8 needs faces for calibration")
    return np.stack([dataset[i][0].numpy() for i in sorted(first.values())])


def crop_models(variants: Mapping[str, ModelProto]) -> dict[str, CropModel]:
    """Models that score crops with the variants of a clip graph, by precision.

    fp16 is emulated: on a CPU, ONNX Runtime has no half kernels and omits the roundings. int8.cpu runs in OpenVINO, as
    in service.
    """
    runners = {precision: onnxruntime_runner(graph) for precision, graph in variants.items() if precision != FOR_CPU}
    if "fp16" in variants:
        runners["fp16"] = onnxruntime_runner(to_half(variants["fp32"], emulated=True))
    if FOR_CPU in variants:
        runners[FOR_CPU] = openvino_runner(variants[FOR_CPU])
    return {precision: _crop_model(variants[precision], runner) for precision, runner in runners.items()}


def measure(models: Mapping[str, CropModel], source: Source) -> tuple[float, list[Cost]]:
    """Scores the development clips with fp32 for the threshold, and the test clips with every variant.

    Args:
        models: by precision, with `fp32`.
        source: of the clips.
    Returns: the threshold and the costs.
    Raises: DatasetError, MetricsError.
    """
    plain = models["fp32"]
    splits: tuple[Split, Split] = ("dev", "test")
    dev, test = (source.dataset(source.videos(split), plain.size_px) for split in splits)
    threshold = eer_threshold(Table.of(score_crops(plain, dev)).sample())
    expected = list(score_crops(plain, test))
    scores = {name: expected if model is plain else list(score_crops(model, test)) for name, model in models.items()}
    return threshold, [cost(name, expected, each, threshold) for name, each in scores.items()]


def cost(precision: str, expected: list[Score], scores: list[Score], threshold: float) -> Cost:
    """Compares `scores` with `expected`, fp32's scores of the same clips in the same order."""
    pairs = [(score.liveness, other.liveness) for score, other in zip(scores, expected, strict=True)]
    differences = np.abs(np.array(pairs, np.float64) @ [1.0, -1.0])
    table, plain = Table.of(scores), Table.of(expected)
    found, before = (figures(each.sample(), threshold) for each in (table, plain))
    return Cost(
        precision=precision,
        clips=len(scores),
        videos=len(table),
        mean=float(differences.mean()),
        largest=float(differences.max()),
        apcer=found["apcer_max"],
        bpcer=found["bpcer"],
        acer=found["acer"],
        acer_change=found["acer"] - before["acer"],
        judged_differently=int(((table.liveness >= threshold) != (plain.liveness >= threshold)).sum()),
    )


def _crop_model(graph: ModelProto, run: Runner) -> CropModel:
    facts = graph_properties(graph)

    def infer(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        liveness = run(usable_clips(clips))[LIVENESS]
        last: NDArray[np.float32] = liveness[:, -1]
        return last

    return CropModel(infer, int(facts["image_size"]), facts["weights"])
