"""One sample for every ufunc of scipy.special that docs/coverage.md calls differentiable."""

from __future__ import annotations

from typing import Any

import numpy as np
from docs.generate_coverage import PASSING_SPECIAL
from scipy import special
from tests.ops.samples import Sample

from backpass.ops.special import NAMED

sp: Any = special
REAL = np.array([0.3, 1.2, 2.4])
UNIT = np.array([0.1, 0.4, 0.8])
SIGNED = np.array([-1.1, 0.25, 0.6])
# Names whose arguments are not one array of positive numbers. A number is a fixed parameter.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("erfinv", "logit"), (UNIT,)),
    **dict.fromkeys(("ndtri", "erfcinv"), (UNIT + 0.05,)),
    "ndtri_exp": (-REAL,),
    **dict.fromkeys(("beta", "betaln", "rel_entr", "kl_div", "xlogy", "xlog1py"), (REAL, UNIT)),
    **dict.fromkeys(("boxcox", "boxcox1p"), (REAL, SIGNED)),
    **dict.fromkeys(("gammainc", "gammaincc", "hyp0f1"), (2.5, REAL)),
    **dict.fromkeys(("iv", "ive", "jv", "yv", "kv", "kve"), (1.5, REAL)),
    **dict.fromkeys(("kn", "yn"), (3, REAL)),
    **dict.fromkeys(("betainc", "betaincc"), (2.5, 1.5, UNIT)),
    "hyp1f1": (1.5, 2.5, SIGNED),
    "hyp2f1": (1.5, 2.5, 3.5, UNIT * 0.8),
    **dict.fromkeys(("huber", "pseudo_huber"), (np.full(3, 0.5), SIGNED)),
    **dict.fromkeys(
        (
            *("erf", "erfc", "erfcx", "erfi", "dawsn", "ndtr", "log_ndtr", "expit", "log_expit"),
            *("exprel", "exp2", "exp10", "expm1", "cbrt", "cosm1", "i0", "i1", "i0e", "i1e"),
            *("j0", "j1", "sindg", "cosdg", "tandg", "cotdg", "gammaln", "gamma", "psi"),
        ),
        (SIGNED,),
    ),
}


def _sample(name: str) -> Sample:
    given = ARGUMENTS.get(name, (REAL,))
    fixed = [x for x in given if isinstance(x, (int, float))]
    return (lambda *xs: getattr(sp, name)(*fixed, *xs)), given[len(fixed) :]


SPECIAL: dict[str, list[Sample]] = {
    name: [_sample(name)] for name in sorted(NAMED) if name not in PASSING_SPECIAL
}
