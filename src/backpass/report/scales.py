"""From values to pixels: linear and logarithmic scales, ticks at round numbers, numbers as text.

Ticks stand at 1, 2 or 5 times a power of ten (Heckbert, "Nice numbers for graph labels", Graphics
Gems, 1990). NaN and infinities are written as such and never placed.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from low..high to pixels from start..stop; logarithmic if `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a finite value."""
        low, high, at = (self._place(v) for v in (self.low, self.high, value))
        # Halved, so that the span of two huge values stays finite.
        share = (at / 2 - low / 2) / (high / 2 - low / 2)
        return self.start + share * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """About `count` round values within the scale, with their labels."""
        if self.log:
            return _log_ticks(self.low, self.high, count)
        step = nice_step(self.low, self.high, count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(k * step, _tick_label(k * step, step)) for k in range(first, last + 1)]

    def _place(self, value: float) -> float:
        return math.log10(value) if self.log else value


def scale_of(
    values: Iterable[float], start: float, stop: float, *, log: bool = False, pad: float = 0.05
) -> Scale:
    """A scale over the finite values, with a margin of `pad`; 0..1 where there is none.

    >>> scale_of([1.0, 3.0], 0, 100, pad=0.0)(2.0)
    50.0
    """
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not finite:
        return Scale(0.1 if log else 0.0, 1.0, start, stop, log)
    low, high = min(finite), max(finite)
    if log:
        ratio = max(high / low, 1.05) ** pad if high / low < math.inf else 1.0
        return Scale(max(low / ratio, 5e-324), min(high * ratio, 1e308), start, stop, log)
    if high / 2 - low / 2 <= 1e-12 * max(abs(low), abs(high)):
        half = abs(low) * 0.1 or 0.5
        low, high, pad = low - half, high + half, 0.0
    margin = (high / 2 - low / 2) * 2 * pad
    return Scale(max(low - margin, -1e308), min(high + margin, 1e308), start, stop)


def nice_step(low: float, high: float, count: int) -> float:
    """The step of 1, 2 or 5 times a power of ten that gives about `count` ticks.

    >>> nice_step(0.0, 1.0, 5)
    0.2
    """
    rough = high / count - low / count
    power = 10.0 ** math.floor(math.log10(rough))
    fraction = rough / power
    return power * next((nice for nice in (1, 2, 5) if fraction <= nice * 1.0001), 10)


def integer_ticks(low: int, high: int, count: int = 6) -> list[int]:
    """Round whole numbers from low to high; low itself comes first.

    >>> integer_ticks(1, 31)
    [1, 5, 10, 15, 20, 25, 30]
    """
    if high <= low:
        return [low]
    step = max(1, round(nice_step(low, high, count)))
    ticks = [k for k in range((low // step) * step, high + 1, step) if k > low]
    if ticks and ticks[0] - low < step * 0.75:
        ticks = ticks[1:]
    return [low, *ticks]


def number(value: object) -> str:
    """A value as short text: four significant digits for floats; NaN, inf and True as such.

    >>> number(0.97222222), number(1e-7), number(12345), number(float("nan"))
    ('0.9722', '1e-07', '12,345', 'NaN')
    """
    if value is None:
        return "—"
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, Integral):
        return f"{int(value):,}" if abs(int(value)) < 10**15 else str(value)
    return _float_text(float(value))


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 10_000:
        return f"{value:.0f}"
    return f"{value:.4g}" if abs(value) < 10_000 or abs(value) >= 1e6 else f"{value:,.0f}"


def power_of_ten(exponent: int) -> str:
    """For example 10⁻³."""
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def _tick_label(value: float, step: float) -> str:
    if max(abs(value), step) >= 1e6 or (step < 1e-4 and value != 0):
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}" if value else "0"


def _log_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / count))
    powers = [(10.0**k, power_of_ten(k)) for k in range(first, last + 1, stride)]
    if len(powers) >= 2:
        return powers
    spread = [
        m * 10.0**k
        for k in range(first - 1, last + 2)
        for m in (1, 2, 5)
        if low <= m * 10.0**k <= high
    ]
    return [(v, number(v)) for v in spread] or powers
