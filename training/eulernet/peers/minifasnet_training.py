# SPDX-License-Identifier: Apache-2.0
"""MiniFASNet (Silent-Face-Anti-Spoofing, 2020) trained on this project's data: its pair of networks as one system.

Source: minivision-ai/Silent-Face-Anti-Spoofing, commit b6d5f04 (Apache-2.0). Each network learns from its own crop with
cross-entropy, and with a small branch that predicts the Fourier spectrum of the picture. The score is the mean of the
networks' shares of the class "real".

Gaps: both crops come from one cached crop with the larger margin (`box_scale` of the recipe): V1SE sees it whole, V2
its middle; they are square, while the published crops have the box's shape; where the face fills the frame both are
smaller than published. The two classes of attacks, which the source does not name, share their probability in training.
The source trains a variant with the Fourier branch (V2SE) and does not say how V2 and V1SE were trained; here both are
as published, with the branch. The rate falls at the published shares of the run; the batch is smaller than 1,024 and
the rate with it.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from eulernet.colour import LUMA
from eulernet.learning.augmentation import augment
from eulernet.learning.settings import AugmentationSettings, PeerSettings
from eulernet.peers import minifasnet
from eulernet.peers.minifasnet import MEMBERS, REAL, SIDE_PX, MiniFASNet
from eulernet.peers.peer_augmentation import turn_and_zoom
from eulernet.peers.peer_network import SingleFrameNetwork, resized
from eulernet.peers.peer_system import Judged, PeerSystem

SPECTRUM_PX = 10
SPECTRUM_WEIGHT = 0.5  # the cross-entropy has the rest
DROPS_AT = (10 / 25, 15 / 25, 22 / 25)  # shares of the run after which the rate is a tenth
MOMENTUM = 0.9
LINEAR_DEVIATION = 0.001
TURN_DEGREES, ZOOM = 10.0, 0.1
CHANGES = AugmentationSettings(flip=True, gain=0.4, contrast=0.4, saturation=0.4, colour=0.1, shift=0.0, zoom=0.0)
LARGEST_SCALE = max(member.crop_scale for member in MEMBERS)


class SpectrumBranch(nn.Sequential):
    """Features of stage 4, float (M, 128, 10, 10), to spectra, float (M, 1, 10, 10), at least 0."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((128, 128), (128, 64), (64, 1)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers)


class MiniFASNetPair(SingleFrameNetwork):
    """Both networks. The score is the mean share of the class "real"."""

    name, title, published_px, resizable = "minifasnet", "MiniFASNet (V2 and V1SE)", SIDE_PX, False
    training_only = ("spectra",)

    def __init__(self, config: PeerSettings) -> None:
        super().__init__(config)
        self.members = nn.ModuleList(MiniFASNet(member.widths) for member in MEMBERS)
        self.spectra = nn.ModuleList(SpectrumBranch() for _ in MEMBERS)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=LINEAR_DEVIATION)

    def seen(self, pictures: Tensor) -> Tensor:
        """Whole crops, because the two networks see different parts of them."""
        return pictures

    def inputs(self, pictures: Tensor) -> list[Tensor]:
        """What each network sees, float (M, 3, 80, 80), BGR, 0 to 255, of crops, float (M, 3, H, H), RGB, 0 to 1."""
        side = pictures.shape[-1]
        parts = []
        for member in MEMBERS:
            edge = round(side * (1.0 - member.crop_scale / LARGEST_SCALE) / 2.0)
            middle = pictures[..., edge : side - edge, edge : side - edge]
            parts.append(255.0 * resized(middle, SIDE_PX).flip(1))
        return parts

    def picture_values(self, pictures: Tensor) -> Tensor:
        inputs = self.inputs(pictures)
        return minifasnet.score([net(each).float() for net, each in zip(self.members, inputs, strict=True)])


class MiniFASNetSystem(PeerSystem):
    """Half cross-entropy, half squared error of the spectrum, of each network."""

    network: MiniFASNetPair
    _dropout_seed = 0

    def optimizers(self) -> list[Optimizer]:
        """SGD with momentum."""
        settings = self.settings.optimizer
        rate, decay = settings.learning_rate, settings.weight_decay
        return [torch.optim.SGD(self.network.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=decay)]

    def rate(self, step: int, steps: int, warmup_steps: int) -> float:
        return 0.1 ** sum(step >= share * steps for share in DROPS_AT)

    def changed(self, clips: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        clips = turn_and_zoom(clips, TURN_DEGREES, ZOOM, generator)
        self._dropout_seed = int(torch.randint(2**62, (1,), generator=generator))
        return augment(clips, targets, CHANGES, generator)

    def judged(self, pictures: Tensor, targets: Tensor, live: Tensor) -> Judged:
        losses, logits = torch.zeros_like(live), []
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # Dropout draws from the global generator; a resumed run must get the same draws.
            torch.manual_seed(self._dropout_seed)
            parts = zip(self.network.members, self.network.spectra, self.network.inputs(pictures), strict=True)
            for network, spectrum, seen in parts:
                assert isinstance(network, MiniFASNet)
                features = network.features(seen)
                logits.append(network.classify(features).float())
                error = (spectrum(features).float().squeeze(1) - fourier_spectra(seen)).square().mean(dim=(1, 2))
                losses = losses + SPECTRUM_WEIGHT * error + (1.0 - SPECTRUM_WEIGHT) * class_loss(logits[-1], live)
        return Judged(losses, minifasnet.score(logits))


def class_loss(logits: Tensor, live: Tensor) -> Tensor:
    """Cross-entropy of "real" for bona fide, and of any other class for attacks: float (M, 3) and (M,), to (M,)."""
    shares = logits.log_softmax(dim=1)
    others = [k for k in range(shares.shape[1]) if k != REAL]
    return -torch.where(live > 0.5, shares[:, REAL], shares[:, others].logsumexp(dim=1))


def fourier_spectra(pictures: Tensor) -> Tensor:
    """The targets of the branch: float (M, 3, 80, 80), BGR, to (M, 10, 10), 0 to 1.

    Logarithm of the magnitude of the grey picture's Fourier transform, its middle at frequency 0, scaled to its range.
    """
    weights = torch.tensor(LUMA, device=pictures.device, dtype=pictures.dtype).flip(0).view(3, 1, 1)
    grey = (pictures * weights).sum(dim=1).float()
    spectra = torch.log1p(torch.fft.fftshift(torch.fft.fft2(grey), dim=(1, 2)).abs())
    low, high = spectra.amin(dim=(1, 2), keepdim=True), spectra.amax(dim=(1, 2), keepdim=True)
    return resized(((spectra - low) / (high - low).clamp_min(1e-6)).unsqueeze(1), SPECTRUM_PX).squeeze(1)
