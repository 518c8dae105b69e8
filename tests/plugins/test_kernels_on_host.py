# SPDX-License-Identifier: Apache-2.0
"""The kernels' source, run on the host thread by thread (cuda_on_host.h), compared with the reference in double.

Covers index arithmetic, shuffles, masks and the choice of kernel. Races and speed need a device.
"""

import ctypes
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from eulernet.diirf import DIIRF
from eulernet_build.gpu_check import plain
from eulernet_build.gpu_check.cases import LEVELS, MAPS, NARROW
from eulernet_build.gpu_check.cases import Case as AnyCase
from eulernet_build.gpu_check.kernels import DTYPE_CODES
from eulernet_core.status import Status

pytestmark = pytest.mark.timeout(900)  # compiles

DTYPES = {plain.DTYPES[name]: code for name, code in DTYPE_CODES.items()}
HALF_ULP = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
ONE_PASS_THREADS = 64
GUARD = 64  # elements before and after every output that must not change


@pytest.fixture(scope="module")
def kernels(compile_cpp, cuda_include) -> ctypes.CDLL:
    """The C API of kernels_c.h over host pointers."""
    flags = ("-shared", "-fPIC")
    return ctypes.CDLL(str(compile_cpp("host_kernels.cpp", "libkernels.so", (cuda_include,), flags)))


class Guarded:
    """A tensor between two guards of NaN, aligned to 16 bytes plus `shift` elements."""

    def __init__(self, values: Tensor, shift: int = 0) -> None:
        self.guard = GUARD + shift
        self.whole = torch.full((values.numel() + 2 * self.guard,), float("nan"), dtype=values.dtype)
        assert self.whole.data_ptr() % 16 == 0
        self.inner = self.whole[self.guard : -self.guard].view(values.shape)
        self.inner.copy_(values)

    @property
    def pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.inner.data_ptr())

    def untouched(self) -> bool:
        return bool(torch.isnan(self.whole[: self.guard]).all() and torch.isnan(self.whole[-self.guard :]).all())


Case = functools.partial(AnyCase, "DIIRFGate")  # n, t, c, k, h, w


def draw(case: AnyCase, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """x, weight, h1, h2, coefficients."""
    generator = torch.Generator().manual_seed(case.c * 1000 + case.h)
    x = torch.randn(case.x_shape, generator=generator).to(dtype)
    weight = torch.randn(case.k, case.c, generator=generator) / case.c**0.5
    h1, h2 = torch.randn(2, *case.state_shape, generator=generator)
    starts = torch.randn(case.k, 2, generator=generator)
    return x, weight, h1, h2, torch.cat([DIIRF(case.k).coefficients().detach(), starts], dim=1)


def assert_rounded(ours: Tensor, exact: Tensor, slack: float = 4e-6) -> None:
    """Within half a unit of the last place of `exact`, plus the error of float32 arithmetic."""
    error = (ours.float() - exact).abs()
    allowed = HALF_ULP[ours.dtype] * exact.abs() * 1.001 + slack
    assert torch.isfinite(ours).all()
    assert (error <= allowed).all(), f"largest error {error.max()}, at most {allowed.max()}"


def run_kernel(
    library: ctypes.CDLL,
    case: AnyCase,
    tensors: tuple[Tensor, ...],
    status: Tensor | None,
    channels_last: bool,
    shift: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """y as NCHW, h1_out, h2_out; the states are written in place."""
    x, weight, h1, h2, coefficients = tensors
    given = Guarded(x.permute(0, 2, 3, 1).contiguous() if channels_last else x, shift)
    y = Guarded(torch.full_like(given.inner, float("nan")), shift)
    states = [Guarded(h1, shift), Guarded(h2, shift)]
    weights = Guarded(weight)  # a name keeps it alive during the call
    code = library.eulernet_diirf_gate(
        *(given.pointer, weights.pointer, states[0].pointer, states[1].pointer),
        *(ctypes.c_void_p(coefficients.data_ptr()), ctypes.c_void_p(None if status is None else status.data_ptr())),
        *(y.pointer, states[0].pointer, states[1].pointer, case.n, case.t, case.c, case.k, case.h, case.w),
        *(DTYPES[x.dtype], int(channels_last), None),
    )
    assert code == 0
    assert all(each.untouched() for each in (y, *states))
    out = y.inner.permute(0, 3, 1, 2) if channels_last else y.inner
    return out, states[0].inner, states[1].inner


def check_gate(
    kernels: ctypes.CDLL, reference: Any, case: AnyCase, dtype: torch.dtype, channels_last: bool, shift: int = 0
) -> None:
    """Compares a case with the reference, with every kind of status and without status."""
    tensors = draw(case, dtype)
    flags = (torch.arange(case.n * case.t, dtype=torch.int32) * 37 % 64).reshape(case.n, case.t)
    for status in (flags, None):
        expected = reference.gate(tensors[0].float(), *tensors[1:], status)
        ours = run_kernel(kernels, case, tensors, status, channels_last, shift)
        for each, exact in zip(ours, expected, strict=True):
            assert_rounded(each, exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("c", [channels for channels, _ in (*LEVELS, *NARROW)])
def test_usual_widths_use_the_one_pass_kernels(kernels, reference, c, dtype, channels_last):
    check_gate(kernels, reference, Case(2, 2, c, MAPS, 8, 12), dtype, channels_last)
    assert kernels.threads_of_last_launch() == ONE_PASS_THREADS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        Case(1, 1, 32, 4, 4, 4),  # fewer pixels than a warp takes
        Case(3, 1, 12, 4, 8, 9),  # 3 channels a map: NHWC has no whole runs
        Case(1, 2, 100, 4, 4, 10),  # 25 a map: parts of unequal size
        Case(1, 3, 8, 1, 4, 8),
        Case(1, 1, 24, 1, 8, 4),  # a part without channels
        Case(1, 1, 64, 1, 4, 4),
        Case(1, 2, 1, 1, 2, 4),
        Case(1, 1, 256, 4, 4, 2),
        Case(1, 1, 96, 4, 3, 8),
        Case(1, 2, 4, 1, 4, 10),  # half a run of halves
        Case(1, 2, 48, 4, 5, 8),  # 12 a map: a run and a half of halves
        Case(1, 1, 80, 4, 4, 8),  # 20 a map: two runs and a half
    ],
    ids=str,
)
def test_other_channels(kernels, reference, case, dtype, channels_last):
    check_gate(kernels, reference, case, dtype, channels_last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "case",
    [Case(1, 1, 32, 4, 5, 7), Case(2, 3, 3, 3, 1, 1), Case(1, 2, 10, 2, 3, 11), Case(1, 1, 40, 8, 6, 7)],
    ids=str,
)
def test_odd_sizes_and_other_numbers_of_maps(kernels, reference, case, dtype, channels_last):
    check_gate(kernels, reference, case, dtype, channels_last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_unaligned_memory(kernels, reference, dtype, channels_last):
    check_gate(kernels, reference, Case(1, 2, 32, 4, 4, 8), dtype, channels_last, shift=1)
    assert kernels.threads_of_last_launch() != ONE_PASS_THREADS


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("c", "w"), [(32, 8), (128, 8), (32, 7)])
def test_nan_stays_in_its_pixel_and_sequence(kernels, c, w, channels_last):
    case = Case(2, 2, c, 4, 4, w)
    x, *rest = draw(case, torch.float16)
    x[2, 3, 1, 2] = float("nan")  # the first frame of the second sequence
    y, h1, h2 = run_kernel(kernels, case, (x, *rest), None, channels_last)
    broken = torch.isnan(y)
    assert broken[2:, :, 1, 2].all()
    assert broken.sum() == 2 * c
    for state in (h1, h2):
        assert torch.isnan(state[1, :, 1, 2]).all()
        assert torch.isnan(state).sum() == 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("c", "w"), [(32, 8), (128, 8), (32, 7)])
def test_a_still_opens_its_gates_by_one_half(kernels, c, w, channels_last, dtype):
    """Exactly, because b0 + b1 + b2 is: the pixels are so large that one rounding in y would change the gates."""
    case = Case(1, 3, c, 4, 4, w)
    x, *rest, coefficients = draw(case, dtype)
    x = (x[:1] * 2.0**12).expand_as(x).contiguous()
    coefficients[:, 5], coefficients[:, 6] = -coefficients[:, 0], coefficients[:, 2]
    status = torch.tensor([[Status.RELOCATED, 0, 0]], dtype=torch.int32)
    y, *_ = run_kernel(kernels, case, (x, *rest, coefficients), status, channels_last)
    assert torch.equal(y, x / 2)
    moved, *_ = run_kernel(kernels, case, (x, *rest, coefficients), torch.zeros_like(status), channels_last)
    assert not torch.equal(moved, y)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("c", "w"), [(32, 8), (128, 8), (32, 7)])
def test_steps_give_the_bits_of_the_clip(kernels, c, w, channels_last):
    case = Case(1, 4, c, 4, 4, w)
    x, weight, h1, h2, coefficients = draw(case, torch.bfloat16)
    status = torch.tensor([[0, Status.NO_FACE, Status.RELOCATED, 0]], dtype=torch.int32)
    clip = run_kernel(kernels, case, (x, weight, h1, h2, coefficients), status, channels_last)
    frames = []
    for t, frame in enumerate(x.split(1)):
        step, flags = Case(1, 1, c, 4, 4, w), status[:, t].contiguous()
        y, h1, h2 = run_kernel(kernels, step, (frame, weight, h1, h2, coefficients), flags, channels_last)
        frames.append(y)
    for ours, expected in zip((torch.cat(frames), h1, h2), clip, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "t", "k", "h", "w", "shift"),
    [(1, 1, 1, 1, 1, 0), (2, 4, 4, 8, 8, 0), (3, 2, 5, 4, 6, 0), (2, 3, 4, 3, 7, 0), (1, 2, 4, 8, 8, 1)],
)
def test_diirf(kernels, reference, n, t, k, h, w, shift, dtype):
    generator = torch.Generator().manual_seed(h * w)
    x = Guarded(torch.randn(n, t, k, h, w, generator=generator).to(dtype), shift)
    h1, h2 = (Guarded(each, shift) for each in torch.randn(2, n, k, h, w, generator=generator))
    coefficients = DIIRF(k).coefficients().detach()
    expected = reference.diirf(x.inner.float(), h1.inner, h2.inner, coefficients, doubles=True)
    y = Guarded(torch.full_like(x.inner, float("nan")), shift)
    pointers = [x.pointer, h1.pointer, h2.pointer, ctypes.c_void_p(coefficients.data_ptr())]
    pointers += [y.pointer, h1.pointer, h2.pointer]
    assert kernels.eulernet_diirf(*pointers, n, t, k, h, w, DTYPES[dtype], None) == 0
    for ours, exact in zip((y, h1, h2), expected, strict=True):
        assert ours.untouched()
        assert_rounded(ours.inner, exact)


INVALID = 1  # cudaErrorInvalidValue


@pytest.mark.parametrize("broken", ["x", "state", "k", "c", "h", "dtype", "plane"])
def test_invalid_arguments_are_refused(kernels, broken):
    memory = torch.zeros(64)
    given = ctypes.c_void_p(memory.data_ptr())
    sizes = {"n": 1, "t": 1, "c": 4, "k": 2, "h": 2, "w": 2, "dtype": 0}
    sizes |= {
        "k": {"k": 3},
        "c": {"c": 0},
        "h": {"h": 0},
        "dtype": {"dtype": 3},
        "plane": {"h": 2**16, "w": 2**16},
    }.get(broken, {})
    x, state = (None if broken == name else given for name in ("x", "state"))
    pointers = [x, given, state, given, given, None, given, given, given]
    assert kernels.eulernet_diirf_gate(*pointers, *sizes.values(), 0, None) == INVALID
