"""Stability of solar charging: oscillation of the offer over meter delay, vehicle ramp and noise.

    python -m benchmarks.solar_stability docs/images/solar-stability.svg

Simulates an hour of 4 kW of sun with a vehicle that follows an offer after 3 s, at a limited ramp,
and a grid meter whose readings are old. Writes the peak-to-peak offer of the second half hour as
an SVG, without and with the estimator.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from evse_node.charger.solar_controller import SolarController, SolarSettings
from evse_node.charger.surplus_estimator import SurplusEstimator
from evse_node.units import Millivolts, Milliwatts

_SUN_W = 4_000
_VOLTAGE = 230
_REACTION_S = 3
_LONGEST_A = 32.0
DELAYS_S = range(11)
RAMPS = (0.5, 1.0, 2.0, 4.0, 8.0, 26.0)


def simulate(delay_s: int, ramp: float, noise_w: float, *, is_estimated: bool = True) -> float:
    """Return the peak-to-peak offer (A) of the second half hour, with `ramp` in A/s."""
    settings = SolarSettings()
    solar = SolarController(settings, Millivolts(_VOLTAGE * 1000), 1)
    estimator = SurplusEstimator(settings.meter_delay_s)
    noise = random.Random(1)
    drawn, offers, grid, seen = 0.0, [0.0], [], []
    for now in range(3600):
        aim = offers[max(0, len(offers) - 1 - _REACTION_S)]
        drawn = 0.0 if aim == 0 else drawn + min(max(aim - drawn, -ramp), ramp)
        own_mw = int(drawn * _VOLTAGE * 1000)
        house_w = noise.uniform(-noise_w, noise_w)
        grid.append(own_mw + int((house_w - _SUN_W) * 1000))
        estimator.observe_own(own_mw, now)
        if now % 5 == 0:
            reading = grid[max(0, now - delay_s)]
            surplus = estimator.estimate(reading, now) if is_estimated else own_mw - reading
            if surplus is not None:
                solar.set_surplus(Milliwatts(surplus), now, 30.0)
        offers.append(min(_LONGEST_A, solar.claim_ma(now) / 1000))
        if now >= 1800:
            seen.append(offers[-1])
    return max(seen) - min(seen)


def draw_svg() -> str:
    """Return the planes as SVG: without and with the estimator, without and with noise."""
    parts = []
    for column, is_estimated in enumerate((False, True)):
        for row, noise_w in enumerate((0, 200)):
            left, top = 60 + column * 350, 50 + row * 210
            title = f"{'with' if is_estimated else 'without'} estimator, noise ±{noise_w} W"
            parts.append(f'<text x="{left}" y="{top - 8}" font-weight="bold">{title}</text>')
            for y, ramp in enumerate(RAMPS):
                below = top + y * 24 + 16
                parts.append(f'<text x="{left - 6}" y="{below}" text-anchor="end">{ramp:g}</text>')
                for x, delay_s in enumerate(DELAYS_S):
                    swing = simulate(delay_s, ramp, noise_w, is_estimated=is_estimated)
                    pale = int(255 * (1 - min(1.0, swing / 26)))
                    parts.append(
                        f'<rect x="{left + x * 26}" y="{top + y * 24}" width="25" height="23" '
                        f'fill="rgb(255,{pale},{pale})" stroke="#ccc"/>'
                        f'<text x="{left + x * 26 + 12}" y="{below}" text-anchor="middle">'
                        f"{swing:.0f}</text>"
                    )
            for x, delay_s in enumerate(DELAYS_S):
                parts.append(
                    f'<text x="{left + x * 26 + 12}" y="{top + 160}" text-anchor="middle">'
                    f"{delay_s}</text>"
                )
    caption = "Peak-to-peak offer in A, 4 kW of sun: meter delay in s (right), ramp in A/s (down)"
    body = "\n".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 710 440" font-family="sans-serif" '
        'font-size="11">\n<rect width="710" height="440" fill="white"/>\n'
        f'<text x="60" y="20" font-size="13">{caption}</text>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw_svg(), encoding="utf-8")
