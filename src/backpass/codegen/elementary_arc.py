"""arctan in float32 and float64; arcsin, arccos and arctan2 in float64 (float32 is widened).

arctan of a quotient p / q of numbers >= 0: by tan(a - pi/4) = (p - q) / (p + q) its argument comes
below tan(pi/8), with one division in all. arcsin: above 1/2 by arcsin x = pi/2 - 2 arcsin t with
t = sqrt((1 - x) / 2). Both then are t + t^3 P(t^2), P a minimax polynomial.
"""

from __future__ import annotations

from backpass.codegen.lanes import (
    Lanes,
    copy_sign,
    flip_sign,
    polynomial,
    sign_bit,
    sqrt,
    where,
)

PI, PI_LOW = 3.141592653589793, 1.2246467991473532e-16
PI_PARTS = {4: (3.1415927410125732, -8.742277657347586e-08), 8: (PI, PI_LOW)}
TAN_EIGHTH = 0.41421356237309503
# (arctan t - t) / t^3 in t^2, t <= tan(pi/8): errors 2^-29.6 and 2^-63.3
ARCTAN_TAIL = {
    4: (
        -0.33333319425582886,
        0.19998528063297272,
        -0.14242859184741974,
        0.10580598562955856,
        -0.06030910089612007,
    ),
    8: (
        -0.3333333333333333,
        0.19999999999998527,
        -0.14285714285467016,
        0.1111111109172539,
        -0.09090908233509887,
        0.0769228406979214,
        -0.06666237818351478,
        0.058770643824640124,
        -0.05218333909479778,
        0.04502114489782822,
        -0.033419023103659344,
        0.015120339154768866,
    ),
}
# (arcsin t - t) / t^3 in t^2, t <= 1/2: error 2^-58.9
ARCSIN_TAIL = (
    0.16666666666666702,
    0.07499999999984074,
    0.04464285716418041,
    0.030381943113198424,
    0.022372205944920735,
    0.017351736469037413,
    0.013979733244605292,
    0.011404862725145301,
    0.010761616910816571,
    0.003727144406844828,
    0.021765206138085358,
    -0.021218335510500858,
    0.032843214031746414,
)


def arctan(x: Lanes) -> Lanes:
    """arctan of |x| / 1, with the sign of x."""
    size = abs(x)
    steep = size > 1.0
    angle = _folded_arctan(where(steep, 1.0, size), where(steep, size, 1.0))
    return copy_sign(where(steep, _less(2.0, angle), angle), x)


def arctan2(y: Lanes, x: Lanes) -> Lanes:
    """The angle of the point (x, y): signed zeros and infinities as C99's atan2."""
    p, q = abs(y), abs(x)
    infinite = p.equals(float("inf")) & q.equals(float("inf"))
    steep = p > q
    big, small = where(steep, p, q), where(steep, q, p)
    scale = where(
        big > 2.0**1000, y.const(2.0**-100), where(big < 2.0**-900, y.const(2.0**100), 1.0)
    )
    big, small = where(infinite, 1.0, big * scale), where(infinite, 1.0, small * scale)
    big = where(big.equals(0.0), 1.0, big)
    angle = _folded_arctan(small, big)
    angle = where(steep, _less(2.0, angle), angle)
    left = sign_bit(x).differs(0)
    angle = where(left, _less(1.0, angle), angle)
    angle = where(x.is_nan() | y.is_nan(), float("nan"), angle)
    return copy_sign(angle, y)


def _less(part: float, angle: Lanes) -> Lanes:
    """pi / part - angle."""
    high, low = PI_PARTS[angle.size]
    return high / part - (angle - low / part)


def _folded_arctan(small: Lanes, big: Lanes) -> Lanes:
    """arctan(small / big) for 0 <= small <= big, big > 0; both below the largest float / 2."""
    fold = small > big * TAN_EIGHTH
    top, bottom = where(fold, small - big, small), where(fold, small + big, big)
    t = top / bottom
    z = t * t
    tail = t * z * polynomial(z, ARCTAN_TAIL[t.size])
    high, low = PI_PARTS[t.size]
    start, rest = (where(fold, t.const(part / 4.0), 0.0) for part in (high, low))
    return start + (t + (tail + rest))


def _parts(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(whether |x| > 1/2, t, arcsin t - t), t being |x| or sqrt((1 - |x|) / 2)."""
    size = abs(x)
    far = size > 0.5
    square = where(far, (1.0 - size) * 0.5, size * size)
    t = where(far, sqrt(square), size)
    return far, t, t * square * polynomial(square, ARCSIN_TAIL)


def arcsin(x: Lanes) -> Lanes:
    """pi/2 - 2 arcsin t above 1/2."""
    far, t, tail = _parts(x)
    # pi/4 - 2 t is exact enough: the rest is small beside pi/4.
    folded = (PI / 4.0 - t * 2.0) + (PI / 4.0 - (tail * 2.0 - PI_LOW / 2.0))
    return copy_sign(where(far, folded, t + tail), x)


def arccos(x: Lanes) -> Lanes:
    """pi/2 - arcsin x; above 1/2 it is 2 arcsin t, below -1/2 pi - 2 arcsin t."""
    far, t, tail = _parts(x)
    bits = sign_bit(x)
    near = PI / 2.0 - (flip_sign(t, bits) + (flip_sign(tail, bits) - PI_LOW / 2.0))
    double = (t + tail) * 2.0
    folded = where(x < 0.0, PI - (double - PI_LOW), double)
    return where(far, folded, near)
