# SPDX-License-Identifier: Apache-2.0
"""The colours of a head, painted once per person on the texture of `head`: skin, brows, lips, beard, hair.

Skin follows the two-pigment model of Tsumura et al. ("Image-based skin color and texture analysis/synthesis", 2003):
the logarithm of its reflectance is linear in the densities of melanin and haemoglobin. Colours are linear RGB.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eulernet.simulation import head
from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats, smooth_noise

_BLOODLESS = np.array([0.72, 0.57, 0.46], np.float32)
_MELANIN = np.array([0.62, 0.90, 1.12], np.float32)
_HAEMOGLOBIN = np.array([0.06, 0.42, 0.30], np.float32)

LIPS_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
LIPS_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
_HAIR_TEXELS = 26.0  # length of a strand
_SHAPE = (head.TEXTURE_HEIGHT, head.TEXTURE_WIDTH)
HAIR_STYLES = ("short", "short", "short", "long", "long", "long", "tied", "tied", "bald", "receding")


@dataclass(frozen=True)
class Looks:
    """The appearance of a person apart from the shape of the head."""

    melanin: float
    haemoglobin: float
    age: float  # 0 smooth to 1 wrinkled
    hair: str
    hair_colour: Floats  # linear RGB (3,)
    beard: float  # 0 none, to 1 full
    iris: Floats  # linear RGB (3,)
    glasses: bool
    lipstick: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Looks":
        """Looks of a random person."""
        melanin = float(rng.beta(1.1, 1.9) * 1.9)
        style = str(rng.choice(HAIR_STYLES))
        grey = rng.random() < 0.15
        density = rng.uniform(1.2, 3.0) if melanin < 0.55 else rng.uniform(2.4, 3.4)
        dark = np.exp(-np.array([0.9, 1.15, 1.45]) * density)
        colour = 0.75 * dark if not grey else np.full(3, rng.uniform(0.15, 0.45)) * [1.0, 0.99, 0.96]
        beard = float(rng.choice([0, 0.0, 0.35, 0.6, 1.0])) if style in ("short", "bald", "receding") else 0.0
        irises = np.array([[0.045, 0.02, 0.01], [0.09, 0.045, 0.018], [0.10, 0.16, 0.22], [0.10, 0.13, 0.06]])
        iris = irises[int(rng.integers(4)) if melanin < 0.5 else int(rng.integers(2))] * rng.uniform(0.8, 1.2)
        return cls(
            melanin=melanin,
            haemoglobin=float(rng.uniform(0.25, 0.6)),
            age=float(rng.random()),
            hair=style,
            hair_colour=colour.astype(np.float32),
            beard=beard,
            iris=iris.astype(np.float32),
            glasses=bool(rng.random() < 0.2),
            lipstick=float(rng.uniform(0, 0.8)) if style in ("long", "tied") and rng.random() < 0.6 else 0.0,
        )


@dataclass(frozen=True)
class Clothes:
    """Probability of stripes, and contrast of the folds."""

    striped: float = 0.35
    folds: float = 0.16


@dataclass(frozen=True)
class Detail:
    """How finely a head is drawn.

    Attributes:
        beard_texels: length of the strands of a beard; those of the hair are 26 long.
        brightest_hair: largest reflectance of a strand.
        strands: factor of the strands' contrast.
        hair_volume: factor of the hair's height over the skull.
        hair_relief: its variation.
        crown: by which the skull above the brow is broader, share of its width.
        shaved: share of the hair that is left on a bald head.
        clothes: their patterns.
    """

    beard_texels: float = 26.0
    brightest_hair: float = 9.0
    strands: float = 1.0
    hair_volume: float = 1.0
    hair_relief: float = 0.0
    crown: float = 0.0
    shaved: float = 0.12
    clothes: Clothes = Clothes()


def skin_colour(melanin: Floats | float, haemoglobin: Floats | float) -> Floats:
    """Linear RGB (..., 3) of skin with the given pigment densities (...,)."""
    density = np.asarray(melanin)[..., None] * _MELANIN + np.asarray(haemoglobin)[..., None] * _HAEMOGLOBIN
    return np.asarray(_BLOODLESS * np.exp(-density), np.float32)


def paint(rng: np.random.Generator, looks: Looks, detail: Detail) -> tuple[Floats, Floats]:
    """A head's texture and its hair.

    Returns:
        albedo float32 (TEXTURE_HEIGHT, TEXTURE_WIDTH, 3), linear RGB; share of hair in each texel, float32 (..., ).
    """
    points = head.face_texels()
    albedo = skin_colour(*_pigments(rng, looks, points))
    lips = _filled(points, LIPS_OUTER, 1.5)
    lip_colour = skin_colour(looks.melanin * 0.9, looks.haemoglobin + 0.75) * 0.85
    lip_colour = lip_colour * (1 - looks.lipstick) + np.array([0.35, 0.03, 0.05]) * looks.lipstick
    streaks = 1 + 0.06 * cv2.GaussianBlur(rng.standard_normal(_SHAPE).astype(np.float32), (0, 0), 1, sigmaY=4) * 2
    _blend(albedo, lips * 0.85, lip_colour.astype(np.float32) * streaks[..., None])
    _darken(albedo, _stroke(points, LIPS_INNER, 2.4, 0.9), 0.60)
    _folds(albedo, looks, points)
    _nostrils(albedo, points)
    _eye_surroundings(albedo, looks, points)
    noise = rng.standard_normal(_SHAPE).astype(np.float32)
    _brows(rng, albedo, looks, points)
    _beard(rng, albedo, looks, points, _hairs(looks, noise, detail, detail.beard_texels))
    hair = hair_mask(rng, looks, detail)
    length = detail.beard_texels if looks.hair == "bald" else _HAIR_TEXELS
    _blend(albedo, hair, _hairs(looks, noise, detail, length))
    return albedo, hair


def _pigments(rng: np.random.Generator, looks: Looks, points: Floats) -> tuple[Floats, Floats]:
    """Melanin and haemoglobin over the texture: blotches, moles, red cheeks, nose and ears, pores."""
    melanin = looks.melanin * (1 + 0.05 * smooth_noise(rng, *_SHAPE, cells=14))
    haemoglobin = looks.haemoglobin * (1 + 0.08 * smooth_noise(rng, *_SHAPE, cells=18))
    for landmark, radius, amount in ((205, 42, 0.20), (425, 42, 0.20), (4, 24, 0.20), (199, 24, 0.06)):
        haemoglobin += amount * _spot(points[landmark], radius)
    haemoglobin += 0.15 * head.ear_mask(_texel_directions())
    pores = cv2.GaussianBlur(rng.standard_normal(_SHAPE).astype(np.float32), (0, 0), 1.1) * 2.8
    blotches = smooth_noise(rng, *_SHAPE, cells=110)
    melanin += 0.035 * pores + 0.03 * blotches
    haemoglobin += 0.06 * smooth_noise(rng, *_SHAPE, cells=70)
    centre = points[rng.integers(0, 468, rng.integers(4, 16))] + rng.normal(0, 10, 2)
    for spot in centre:
        melanin += rng.uniform(0.2, 0.9) * _spot(spot, float(rng.uniform(1.2, 2.6)))
    if looks.melanin < 0.4 and rng.random() < 0.3:
        freckles = np.clip(smooth_noise(rng, *_SHAPE, cells=170) - 1.5, 0, 1)
        melanin += 0.5 * freckles * (_spot(points[205], 70) + _spot(points[425], 70) + _spot(points[4], 50))
    return np.maximum(melanin, 0).astype(np.float32), np.maximum(haemoglobin, 0.05).astype(np.float32)


def _folds(albedo: Floats, looks: Looks, points: Floats) -> None:
    """Wrinkles, darker with age: beside nose and mouth, on the forehead, under the lip."""
    depth = 0.10 + 0.22 * looks.age
    for chain in ((129, 203, 206, 216), (358, 423, 426, 436)):
        _darken(albedo, _stroke(points, chain, 5, 3.0), depth)
    _darken(albedo, _spot((points[17] + points[18]) / 2, 14, 1.8), 0.22)
    _darken(albedo, _spot(points[164], 7, 0.6), 0.10)
    for brow_line in ((109, 10, 338), (108, 151, 337), (66, 107, 9, 336, 296)):
        _darken(albedo, _stroke(points, brow_line, 3, 1.6), 0.12 * max(looks.age - 0.3, 0))
    for below_eye in ((111, 117, 118, 119), (340, 346, 347, 348)):
        _darken(albedo, _stroke(points, below_eye, 4, 2.6), 0.06 + 0.12 * looks.age)


def _nostrils(albedo: Floats, points: Floats) -> None:
    for inner, outer in ((97, 98), (326, 327)):
        centre = points[inner] * 0.45 + points[outer] * 0.55 + np.array([0, 0.5], np.float32)
        _darken(albedo, _spot(centre, 5.5, 1.9), 0.80)
    for chain in ((98, 64, 48, 49), (327, 294, 278, 279)):
        _darken(albedo, _stroke(points, chain, 3, 2.0), 0.30)
    _darken(albedo, _stroke(points, (98, 97, 2, 326, 327), 5, 3.0), 0.30)


def _eye_surroundings(albedo: Floats, looks: Looks, points: Floats) -> None:
    """Shaded sockets, the crease above the lid, and rings below the eyes."""
    for inner, outer, above, below in ((133, 33, 223, 119), (362, 263, 443, 348)):
        middle = (points[inner] + points[outer]) / 2
        _darken(albedo, _spot(middle, 34, 1.9), 0.16)
        _darken(albedo, _spot(points[inner] + (points[inner] - middle) * 0.25, 12, 0.7), 0.20)
        _darken(albedo, _spot((points[below] + middle) / 2, 22, 2.2), 0.05 + 0.10 * looks.age)
        _darken(albedo, _spot(points[above] * 0.5 + middle * 0.5, 26, 3.0), 0.06)
    for chain in ((247, 30, 29, 27, 28, 56, 190), (467, 260, 259, 257, 258, 286, 414)):
        _darken(albedo, _stroke(points, chain, 2.4, 1.2), 0.30)


def _brows(rng: np.random.Generator, albedo: Floats, looks: Looks, points: Floats) -> None:
    """Hairs along the brow, leaning outwards."""
    thickness = rng.uniform(0.55, 1.15)
    colour = np.maximum(looks.hair_colour * 0.8, 0.004)
    mask = np.zeros(_SHAPE, np.uint8)
    for chain in _BROWS:
        upper, lower = points[list(chain[:5])], points[list(chain[:4:-1])]
        middle = (upper + lower) / 2
        half = (lower - upper) / 2 * thickness
        for _ in range(260):
            along, across = rng.uniform(0, 4), rng.uniform(-1, 1)
            k, f = int(along), along % 1
            here, after = middle[k] + across * half[k], middle[min(k + 1, 4)] + across * half[min(k + 1, 4)]
            start = here * (1 - f) + after * f
            outwards = (middle[0] - middle[4]) / np.linalg.norm(middle[0] - middle[4])
            end = start + outwards * rng.uniform(6, 12) + np.array([0, rng.uniform(-5, 1) + 3 * across])
            _line(mask, start, end)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8)
    _blend(albedo, np.clip(soft * 1.1, 0, 0.9), colour.astype(np.float32))


def _beard(rng: np.random.Generator, albedo: Floats, looks: Looks, points: Floats, hairs: Floats) -> None:
    if looks.beard <= 0:
        return
    jaw = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
    cheek = (454, 366, 401, 376, 426, 423, 327, 2, 98, 203, 206, 147, 177, 137, 234)
    below = points[list(jaw)] + np.array([0, 70], np.float32)
    outline = np.concatenate([below, points[list(cheek)]])
    mask = np.zeros(_SHAPE, np.uint8)
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    area = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 7)
    area *= 1 - _filled(points, LIPS_OUTER, 2.5)
    grain = np.clip(0.65 + cv2.GaussianBlur(rng.standard_normal(_SHAPE).astype(np.float32), (0, 0), 1.0), 0, 1)
    _blend(albedo, area * looks.beard * 0.85 * grain, hairs)


def _hairs(looks: Looks, noise: Floats, detail: Detail, length: float) -> Floats:
    """Light and dark vertical strands of a length in texels: colours, float32 (height, width, 3)."""
    fine = cv2.GaussianBlur(noise, (0, 0), 0.9, sigmaY=length)
    coarse = cv2.GaussianBlur(noise[::-1], (0, 0), 7, sigmaY=length * 70 / _HAIR_TEXELS)
    wave = np.exp(detail.strands * (0.35 * fine / fine.std() + 0.22 * coarse / coarse.std())).astype(np.float32)
    return np.asarray(np.minimum(looks.hair_colour * wave[..., None], detail.brightest_hair), np.float32)


def _texel_directions() -> Floats:
    """Azimuth and elevation of every texel's centre, degrees: float32 (height, width, 2)."""
    azimuth = (np.arange(_SHAPE[1], dtype=np.float32) + 0.5) / head.TEXELS_PER_DEG - head.AZIMUTH_DEG
    elevation = (np.arange(_SHAPE[0], dtype=np.float32) + 0.5) / head.TEXELS_PER_DEG + head.ELEVATION_DEG[0]
    return np.stack(np.broadcast_arrays(azimuth[None, :], elevation[:, None]), -1)


def hair_mask(rng: np.random.Generator, looks: Looks, detail: Detail) -> Floats:
    """Mask of the hair, float32 (height, width), soft at the hairline."""
    directions = _texel_directions()
    azimuth, elevation = np.abs(directions[..., 0]), directions[..., 1]
    front = -48.0 + rng.normal(0, 2.5) - (10.0 if looks.hair == "receding" else 0.0)
    temple, sideburn = 58.0 + rng.normal(0, 3), -6.0 + rng.normal(0, 5)
    # The hairline is level over the forehead and descends in front of the ear.
    line = front + 5 * np.sin(directions[..., 0] / 18 + rng.uniform(0, 6)) * rng.uniform(0, 1)
    line = line + (sideburn - front) / (1 + np.exp(-(azimuth - temple) / 3.2))
    line = line + np.clip((azimuth - 84) / 6, 0, 1) * (np.where(azimuth > 106, 62.0, 8.0) - sideburn - 8)
    if looks.hair == "receding":
        line = line - 14 * np.exp(-(((azimuth - 32) / 14) ** 2))
    tips = cv2.GaussianBlur(rng.standard_normal(_SHAPE).astype(np.float32), (0, 0), 1.6, sigmaY=22)
    edge = 2.2 * tips / tips.std()
    hair = 1 / (1 + np.exp(-(line - elevation + edge) / 1.1))
    hair = hair * (1 - np.clip(head.ear_mask(directions) * 3 - 0.6, 0, 1))
    if looks.hair == "bald":
        hair = hair * detail.shaved
    return np.asarray(hair, np.float32)


def _spot(centre: Floats, radius: float, aspect: float = 1.0) -> Floats:
    """A Gaussian around a texel; `aspect`: width over height."""
    x = np.exp(-0.5 * ((np.arange(_SHAPE[1], dtype=np.float32) - centre[0]) / radius) ** 2)
    y = np.exp(-0.5 * ((np.arange(_SHAPE[0], dtype=np.float32) - centre[1]) / radius * aspect) ** 2)
    return np.asarray(y[:, None] * x[None, :], np.float32)


def _filled(points: Floats, chain: tuple[int, ...], blur: float) -> Floats:
    mask = np.zeros(_SHAPE, np.uint8)
    cv2.fillPoly(mask, [np.rint(points[list(chain)] * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur), np.float32)


def _stroke(points: Floats, chain: tuple[int, ...], width: float, blur: float) -> Floats:
    mask = np.zeros(_SHAPE, np.uint8)
    line = [np.rint(points[list(chain)] * 16).astype(np.int32)]
    cv2.polylines(mask, line, False, 255, max(round(width), 1), cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur), np.float32)


def _line(mask: NDArray[np.uint8], start: Floats, end: Floats) -> None:
    a, b = (tuple(round(float(v) * 16) for v in p) for p in (start, end))
    cv2.line(mask, a, b, 200, 1, cv2.LINE_AA, 4)


def _blend(albedo: Floats, mask: Floats, colour: Floats) -> None:
    albedo += mask[..., None] * (colour - albedo)


def _darken(albedo: Floats, mask: Floats, amount: float) -> None:
    # Shadows on skin are reddish, because some light passes through it.
    albedo *= 1 - mask[..., None] * np.array([0.85, 1.0, 1.0], np.float32) * np.float32(amount)
