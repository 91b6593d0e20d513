"""The error function and its relations, in float64, and erf in float32 too.

erf x = x + x P(x^2) up to 1, and 1 - e^-Q(x) above, where Q = -log erfc is smooth: its polynomial
needs little accuracy where erfc is small. erfc x = e^(-x^2) erfcx x, and (1 + 2 x) erfcx x is a
polynomial in t = (x - 4) / (x + 4) for all x >= 0 (Shepherd & Laframboise 1981). All polynomials
are minimax.
"""

from __future__ import annotations

from backpass.codegen.elementary_exp import exp, exp_of_negative
from backpass.codegen.elementary_log import log_of_positive
from backpass.codegen.lanes import (
    Lanes,
    at_least,
    at_most,
    copy_sign,
    fma,
    polynomial,
    two_product,
    two_sum,
    where,
)

# erf(x) / x - 1 in x^2, x <= 1: errors 2^-29.6 and 2^-56.9
ERF_TAIL = {
    4: (
        0.12837916612625122,
        -0.3761262595653534,
        0.1128358393907547,
        -0.0268537700176239,
        0.005188234616070986,
        -0.0008009278681129217,
        7.850527617847547e-05,
    ),
    8: (
        0.12837916709551256,
        -0.37612638903183515,
        0.11283791670944095,
        -0.02686617064309592,
        0.005223977605982977,
        -0.0008548325922496046,
        0.00012055293364659773,
        -1.4924708085404186e-05,
        1.6447078027247358e-06,
        -1.6205893322575898e-07,
        1.3709121316113676e-08,
        -7.775929322841128e-10,
    ),
}
# -log erfc(x), 1 <= x <= 4 and 6: errors 2^-26.8 and 2^-57, times 1 / erfc
LOG_ERFC = {
    4: (
        0.0002253835555166006,
        1.1278483867645264,
        0.6362302899360657,
        0.10559636354446411,
        -0.0236684400588274,
        0.003715190105140209,
        -0.0003573381109163165,
        1.5669731510570273e-05,
    ),
    8: (
        4.995063361388284e-07,
        1.1283741205766922,
        0.6366434937378453,
        0.10270379740476974,
        -0.018990837137144025,
        -0.00040974084387164445,
        0.0019150367168341302,
        -0.0007699254655607114,
        0.0001346048309639151,
        2.0484743166091853e-05,
        -2.2906673589469637e-05,
        8.69263332875296e-06,
        -2.1416450135513093e-06,
        3.7436280462966765e-07,
        -4.656070198835109e-08,
        3.9466220145834175e-09,
        -2.051794131626013e-10,
        4.946134138526179e-12,
    ),
}
ERF_LIMIT = {4: 4.0, 8: 6.0}
# (1 + 2 x) erfcx(x) in t = (x - 4) / (x + 4): error 2^-55.4
ERFCX = (
    1.2329951186255526,
    -0.1396211168405619,
    0.015379652102620836,
    0.0680970542546267,
    -0.10103906603636188,
    0.09373283500036697,
    -0.06633036581099407,
    0.037167515508838365,
    -0.016197734071771504,
    0.005031970205769685,
    -0.000757773190566666,
    -0.00019925781209943907,
    0.00015062122487551318,
    -2.4395651698024223e-05,
    -1.122063429958569e-05,
    5.702172977592486e-06,
    2.9090282697477274e-07,
    -8.147448469189444e-07,
    7.862806232612777e-08,
    1.0026134135093302e-07,
    -2.1354154719828133e-08,
    -8.625040362608357e-09,
    3.4814953802006576e-09,
    -3.8750780548642995e-10,
    -3.195288433255076e-10,
    2.0559003822430165e-10,
)
FAR = 1e10  # from here on erfcx x is 1 / (x sqrt(pi))
ROOT_PI_INVERSE = 0.5641895835477563
ROOT_HALF, ROOT_HALF_LOW = 0.7071067811865476, -4.833646656726457e-17


def erf(x: Lanes) -> Lanes:
    """x + x P(x^2) up to 1, else 1 - e^-Q(|x|)."""
    size = abs(x)
    inside = fma(x, polynomial(x * x, ERF_TAIL[x.size]), x)
    far = at_most(size, ERF_LIMIT[x.size])
    outside = 1.0 - exp_of_negative(-polynomial(far, LOG_ERFC[x.size]))
    return where(size < 1.0, inside, copy_sign(outside, x))


def scaled_erfc(size: Lanes) -> Lanes:
    """e^(x^2) erfc x for finite x >= 0."""
    shift, double = size + 4.0, fma(size, 2.0, size.const(1.0))
    t = (size - 4.0) / shift
    return polynomial(t, ERFCX) / double


def erfcx(x: Lanes) -> Lanes:
    """e^(x^2) erfc x for any x: below 0 it is 2 e^(x^2) - erfcx(-x)."""
    size = abs(x)
    scaled = where(size > FAR, ROOT_PI_INVERSE / size, scaled_erfc(at_most(size, FAR)))
    square, error = two_product(at_least(x, -30.0), at_least(x, -30.0))
    return where(x < 0.0, exp(square, where(x < 0.0, error, 0.0)) * 2.0 - scaled, scaled)


def _gauss(x: Lanes, low: Lanes) -> Lanes:
    """e^-(x + low)^2."""
    square, error = two_product(x, x)
    return exp(-square, -fma(x + x, low, error))


def erfc(x: Lanes) -> Lanes:
    """1 - erf x, accurate where it is small."""
    return _erfc(x, x.const(0.0))


def _erfc(x: Lanes, low: Lanes) -> Lanes:
    """erfc(x + low), low being far below x."""
    size = at_most(abs(x), 28.0)
    y = _gauss(size, copy_times(low, x)) * scaled_erfc(size)
    return where(x < 0.0, 2.0 - y, y)


def copy_times(low: Lanes, x: Lanes) -> Lanes:
    """low, negated where x is negative."""
    return where(x < 0.0, -low, low)


def _times_root_half(x: Lanes) -> tuple[Lanes, Lanes]:
    """-x / sqrt 2 in two parts; 0 as the second where x is infinite."""
    product, error = two_product(x, -ROOT_HALF)
    return product, fma(x, -ROOT_HALF_LOW, error)


def ndtr(x: Lanes) -> Lanes:
    """The distribution function of the standard normal: erfc(-x / sqrt 2) / 2."""
    return _erfc(*_times_root_half(at_most(at_least(x, -40.0), 40.0))) * 0.5


def log_ndtr(x: Lanes) -> Lanes:
    """log ndtr x: below -1 from erfcx, above by log1p of -ndtr(-x)."""
    bounded = at_most(x, 40.0)
    a, low = _times_root_half(bounded)  # positive below 0
    size = abs(a)
    ratio = scaled_erfc(at_most(size, 1e150)) * 0.5
    small = _gauss(at_most(size, 28.0), copy_times(low, a)) * ratio
    far = x < -1.0
    # 1 - ndtr(-x) where x > 0, ndtr x itself where -1 <= x <= 0
    total, lost = two_sum(x.const(1.0), where(x > 0.0, -small, small - 1.0))
    y = log_of_positive(where(far, ratio, total), where(far, 0.0, lost))
    y = y - where(far, bounded * bounded * 0.5, 0.0)
    y = where(y.equals(0.0), -0.0, y)
    return where(x < -1e150, (x * -0.5) * x, y)
