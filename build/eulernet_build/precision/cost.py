"""What the variants of a network cost in error on the clips of a data set, seen through ONNX Runtime.

All variants are judged at one threshold, the one of equal errors of fp32's dev scores: a variant takes fp32's place
where it is served, and nobody chooses the threshold anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from eulernet.datasets import DatasetError, Reading, Split, Video, read_manifest, read_oulu
from eulernet.datasets.clips import ClipDataset
from eulernet.datasets.crops import CropSettings, build_crop_cache
from eulernet.evaluation.metrics import eer_threshold, figures
from eulernet.evaluation.scores import Score
from eulernet.evaluation.table import Table
from eulernet.scoring.scorers import CropModel, score_crops
from eulernet.simulation.layout import RECORD
from numpy.typing import NDArray
from onnx import ModelProto

from eulernet_build.parity import Runner, onnxruntime_runner, openvino_runner
from eulernet_build.plans import metadata
from eulernet_build.precision.half import to_half
from eulernet_build.precision.variants import FOR_CPU


@dataclass(frozen=True)
class Source:
    """A data set and where its face crops are kept.

    Attributes:
        data: a folder in OULU-NPU's layout, or a manifest.
        protocol, fold: of OULU-NPU's; None for a manifest.
        clips: a video.
        crops, models: folders of the cached crops and of the face models.
        jobs: processes that cut faces out.
    """

    data: Path
    protocol: int | None
    fold: int | None
    clips: int
    crops: Path
    models: Path
    jobs: int = 1

    def videos(self, split: Split) -> list[Video]:
        """The videos of a split. Raises: DatasetError where there is none."""
        return self._reading(split).require()

    def _reading(self, split: Split) -> Reading:
        if self.protocol is None:
            return read_manifest(self.data, split)
        try:
            return read_oulu(self.data, self.protocol, self.fold, split)
        except ValueError as error:
            raise DatasetError(str(error)) from None

    def dataset(self, videos: Iterable[Video], size_px: int) -> ClipDataset:
        """Their clips, cut out where the cache lacks them."""
        cut = CropSettings(clips_per_video=self.clips, size_px=size_px, label_side=size_px // 8)
        return ClipDataset(build_crop_cache(videos, self.crops, self.models, cut, processes=self.jobs), labelled=False)

    @property
    def simulated(self) -> bool:
        """Whether the data set came from the simulator."""
        folder = self.data.parent if self.data.is_file() else self.data
        return (folder / RECORD).is_file()


@dataclass(frozen=True)
class Cost:
    """One variant on the test clips.

    Attributes:
        clips, videos: how many were scored.
        mean, largest: of the differences of the clips' liveness from fp32's.
        apcer, bpcer, acer: of the videos, as shares; APCER is the highest of the instruments.
        acer_change: acer less fp32's.
        judged_differently: videos on the other side of the threshold than in fp32.
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
    """One clip each of `count` training videos at equal distances in the list, or of all where there are fewer.

    Returns: uint8 (M, T, S, S, 3), M at most `count`.
    Raises: DatasetError where no clip shows a face.
    """
    videos = source.videos("train")
    chosen = [videos[i * len(videos) // count] for i in range(count)] if len(videos) > count else videos
    dataset = source.dataset(chosen, size_px)
    first = {dataset.video(i).path: i for i in reversed(range(len(dataset)))}
    if not first:
        raise DatasetError(f"{source.data}: no face in {len(chosen)} training videos; nothing to calibrate int8 on")
    return np.stack([dataset[i][0].numpy() for i in sorted(first.values())])


def crop_models(variants: Mapping[str, ModelProto]) -> dict[str, CropModel]:
    """What scores crops with each variant of a clip graph, by precision.

    fp16 is emulated: for a CPU ONNX Runtime has no half kernels and leaves the roundings out. int8.cpu runs in
    OpenVINO, as it would be served: without VNNI, its integer sums may saturate.
    """
    runners = {precision: onnxruntime_runner(graph) for precision, graph in variants.items() if precision != FOR_CPU}
    if "fp16" in variants:
        runners["fp16"] = onnxruntime_runner(to_half(variants["fp32"], emulated=True))
    if FOR_CPU in variants:
        runners[FOR_CPU] = openvino_runner(variants[FOR_CPU])
    return {precision: _crop_model(variants[precision], runner) for precision, runner in runners.items()}


def measure(models: Mapping[str, CropModel], source: Source) -> tuple[float, list[Cost]]:
    """Scores the dev clips with fp32 for the threshold, and the test clips with every variant.

    Args:
        models: by precision; `fp32` must be among them.
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
    """What `scores` differ by from `expected`, those of fp32 for the same clips in the same order."""
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
    facts = metadata(graph)

    def infer(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        liveness = run({"FACE": clips, "STATUS": np.zeros(clips.shape[:2], np.int32)})["LIVENESS"]
        last: NDArray[np.float32] = liveness[:, -1]
        return last

    return CropModel(infer, int(facts["image_size"]), facts["weights"])
