"""The check of a gradient along a direction as text and as numbers for JSON."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from jcm_sensitivity.taylor import central

if TYPE_CHECKING:
    from jcm_sensitivity.check import DirectionCheck

#: So many switches of the census are printed.
MOST_SWITCHES = 5


def direction_as_text(check: "DirectionCheck") -> str:
    """Return verdict, ladder, orders and census as a table of plain text."""
    line, r, e = check.line, check.remainders, check.evidence
    second = np.full_like(line.steps, np.nan) if r.second is None else r.second
    header = (f"{'step':>8} {'FD - AD':>10} {'frozen':>10} {'R0':>10} {'R1':>10} {'R2':>10} "
              f"{'flips':>7}")  # fmt: skip
    rows = [
        f"{h:8.1e} {free:10.2e} {frozen:10.2e} {r0:10.2e} {r1:10.2e} {r2:10.2e} {flips:7d}"
        for h, free, frozen, r0, r1, r2, flips in zip(
            line.steps, central(line) - line.slope, central(line, frozen=True) - line.slope,
            r.zeroth, r.first, second, line.flips_plus + line.flips_minus, strict=True)]
    orders, frozen_orders = (
        ", ".join("-" if order is None else f"{order:.2f}" for order in some)
        for some in (r.orders, r.frozen_orders))
    facts = [
        f"f {e.value:.8g}, noise {e.noise:.1e}; orders of R0, R1, R2: {orders}; frozen: "
        f"{frozen_orders}",
        f"AD {e.slope:.10g}, FD {e.difference:.10g} +- {e.difference_error:.1e} (step "
        f"{e.step:.0e}), frozen FD {e.frozen:.10g} +- {e.frozen_error:.1e}",
    ]
    if e.adjoint_mismatch is not None:
        facts.append(f"forward against reverse: {e.adjoint_mismatch:.1e}")
    steps = [h for h, flips in check.flips.items() if flips]
    if steps:
        smallest = min(steps)
        facts.append(f"switches that flip at step {smallest:.0e}:")
        facts += [f"  {flip}" for flip in check.flips[smallest][:MOST_SWITCHES]]
    return "\n".join([f"{check.verdict}: {check.explanation}", header, *rows, *facts])


def direction_as_dict(check: "DirectionCheck") -> dict[str, Any]:
    """Return everything as numbers, texts and lists; None for what is not finite."""
    line, r = check.line, check.remainders
    return {
        "verdict": check.verdict,
        "explanation": check.explanation,
        "passed": check.passed,
        "evidence": {k: _plain(v) for k, v in dataclasses.asdict(check.evidence).items()},
        "orders": _plain(r.orders),
        "frozen_orders": _plain(r.frozen_orders),
        "ladder": {
            "step": _plain(line.steps),
            "difference": _plain(central(line)),
            "frozen_difference": _plain(central(line, frozen=True)),
            "R0": _plain(r.zeroth),
            "R1": _plain(r.first),
            "R2": _plain(r.second),
            "flips": _plain(line.flips_plus + line.flips_minus),
        },
        "flips": [
            {"ladder_step": step, **{k: _plain(v) for k, v in dataclasses.asdict(flip).items()}}
            for step, flips in check.flips.items() for flip in flips],
    }


def _plain(x: Any) -> Any:
    if isinstance(x, np.ndarray | tuple | list):
        return [_plain(y) for y in x]
    if isinstance(x, float | np.floating):
        return float(x) if np.isfinite(x) else None
    if isinstance(x, np.integer):
        return int(x)
    return x
