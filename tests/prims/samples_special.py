"""Samples of the primitives of prims/special.py, which are named as in scipy.special."""

from __future__ import annotations

import numpy as np
from tests.prims.sample import Sample, uniform

from backpass.prims import special

# name: (lowest, highest) of a domain where the function is smooth
UNARY: dict[str, tuple[float, float]] = {
    "erf": (-1, 1), "erfc": (-1, 1), "erfcx": (-1, 1), "erfi": (-1, 1), "dawsn": (-1, 1),
    "erfinv": (-0.8, 0.8), "erfcinv": (0.4, 1.6), "ndtr": (-1, 1), "ndtri": (0.2, 0.8),
    "ndtri_exp": (-2, -0.2), "log_ndtr": (-2, 2), "logit": (0.2, 0.8), "log_expit": (-2, 2),
    "gammaln": (0.5, 3), "loggamma": (0.5, 3), "digamma": (0.5, 3), "gamma": (0.5, 3),
    "entr": (0.3, 2), "exprel": (-1, 1), "expi": (0.5, 2), "exp1": (0.5, 2), "exp10": (-1, 1),
    "cosm1": (-1, 1), "sindg": (-50, 50), "cosdg": (-50, 50), "tandg": (-50, 50),
    "cotdg": (20, 70), "i0": (0.3, 2), "i1": (0.3, 2), "i0e": (0.3, 2), "i1e": (0.3, 2),
    "j0": (0.5, 3), "j1": (0.5, 3), "y0": (0.5, 3), "y1": (0.5, 3), "k0": (0.5, 2),
    "k1": (0.5, 2), "k0e": (0.5, 2), "k1e": (0.5, 2),
}  # fmt: skip
BINARY = {
    "beta": (0.5, 2), "betaln": (0.5, 2), "xlogy": (0.5, 2), "xlog1py": (0.5, 2),
    "rel_entr": (0.5, 2), "kl_div": (0.5, 2), "boxcox": (0.5, 2), "boxcox1p": (0.5, 2),
}  # fmt: skip
BESSEL = ("jv", "yv", "iv", "kv", "ive", "kve", "hyp0f1")


def _samples() -> list[Sample]:
    found = [
        Sample(getattr(special, name), (uniform((2, 2), low, high),))
        for name, (low, high) in UNARY.items()
    ]
    for name, (low, high) in BINARY.items():
        xs = uniform((3,), low, high, 2), uniform((3,), low, high, 3)
        found.append(Sample(getattr(special, name), xs))
    order, x = np.array([0.0, 1.0, 2.5]), uniform((3,), 0.5, 2)
    shift = {"hyp0f1": 1.0}
    for name in BESSEL:
        given = (order + shift.get(name, 0.0), x)
        found.append(Sample(getattr(special, name), given, wrt=(1,)))
    a, b, c, part = (
        uniform((3,), low, 2, s) for s, low in ((4, 0.5), (5, 0.5), (6, 1.0), (7, 0.5))
    )
    half = part / 4
    found += [
        Sample(special.gammasgn, (x,)),
        Sample(special.polygamma, (x,), {"n": 2}),
        Sample(special.hyp1f1, (a, b, x), wrt=(2,)),
        Sample(special.hyp2f1, (a, b, c, half), wrt=(3,)),
        Sample(special.gammainc, (a, x), wrt=(1,)),
        Sample(special.gammaincc, (a, x), wrt=(1,)),
        Sample(special.betainc, (a, b, half), wrt=(2,)),
        Sample(special.betaincc, (a, b, half), wrt=(2,)),
    ]
    return found


SAMPLES = _samples()
