"""Sine and cosine as numpy computes them, for one number at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .jit import COMPILED, implementation

if COMPILED:
    from numba import types  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from numba.extending import intrinsic  # type: ignore[import-untyped,import-not-found,unused-ignore]

    def _fused(typing: Any, a: Any, b: Any, c: Any) -> Any:
        """a b + c of floats of one type, rounded once."""
        return a(a, a, a), lambda context, builder, signature, arguments: builder.fma(*arguments)

    fused: Any = intrinsic(_fused)


def _float32s(*hexadecimal: str) -> tuple[np.float32, ...]:
    return tuple(np.float32(float.fromhex(number)) for number in hexadecimal)


# numpy's, in numpy/_core/src/umath/loops_trigonometric.dispatch.cpp
(QUADRANTS, INTEGERS) = _float32s("0x1.45f306p-1", "0x1.8p+23")  # 2 / pi; its sum with x has no fraction
QUARTER_TURN = _float32s("-0x1.921fb0p+00", "-0x1.5110b4p-22", "-0x1.846988p-48")  # -pi / 2 by Cody & Waite
SINE = _float32s("0x1.7d3bbcp-19", "-0x1.a06bbap-13", "0x1.11119ap-07", "-0x1.555556p-03")
COSINE = _float32s("0x1.98e616p-16", "-0x1.6c06dcp-10", "0x1.55553cp-05", "-0x1.000000p-01", "0x1.000000p+00")


def cosine_and_sine(x: float) -> tuple[float, float]:
    """cos(x) and sin(x): the standard library's in float64; in float32 numpy's polynomials, for |x| below 70,000."""
    return math.cos(x), math.sin(x)


@implementation(cosine_and_sine, lambda x: COMPILED and x == types.float64, reassociated=False)
def _cosine_and_sine64(x: Any) -> Any:
    return math.cos(x), math.sin(x)


@implementation(cosine_and_sine, lambda x: COMPILED and x == types.float32, reassociated=False)
def _cosine_and_sine32(x: Any) -> Any:
    """Within 1.5 units in the last place; equal to numpy's where numpy uses the CPU's vectors."""
    quadrant = (x * QUADRANTS + INTEGERS) - INTEGERS
    for part in QUARTER_TURN:
        x = fused(quadrant, part, x)
    square = x * x
    sine, cosine = SINE[0], COSINE[0]
    for factor in SINE[1:]:
        sine = fused(sine, square, factor)
    for factor in COSINE[1:]:
        cosine = fused(cosine, square, factor)
    sine = fused(sine * square, x, x)
    turns = np.int32(quadrant)
    if turns & 1:
        sine, cosine = cosine, sine
    return -cosine if (turns + 1) & 2 else cosine, -sine if turns & 2 else sine
