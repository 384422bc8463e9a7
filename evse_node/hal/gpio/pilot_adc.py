"""Conversion of ADC counts to the pilot's levels and the cable's ampacity."""

from __future__ import annotations

from evse_node.hal.gpio.board import Board
from evse_node.hal.gpio.drivers import Adc
from evse_node.hal.gpio.sampler import PilotVoltages
from evse_node.hal.gpio.specs import PilotSpec, ProximitySpec
from evse_node.state_machine.proximity_pilot import HIGHEST_OHM, ampacity
from evse_node.units import Milliamps, Ohms


def measure_pilot(adc: Adc, spec: PilotSpec) -> PilotVoltages:
    """Measure both levels of the pilot, from a burst or behind peak detectors."""
    read, channel, calibration = adc.read, spec.channel, spec.calibration
    if spec.low_channel is not None and spec.low_calibration is not None:
        high_mv = calibration.to_mv(read(channel))
        return PilotVoltages(high_mv, spec.low_calibration.to_mv(read(spec.low_channel)))
    burst = [read(channel) for _ in range(spec.burst)]
    levels = (calibration.to_mv(max(burst)), calibration.to_mv(min(burst)))
    return PilotVoltages(max(levels), min(levels))


def measure_plug(adc: Adc, spec: ProximitySpec) -> Ohms | None:
    """Measure the plug's resistor; None for an open input."""
    input_mv = spec.calibration.to_mv(adc.read(spec.channel))
    left_mv = spec.supply_mv - input_mv
    if left_mv <= 0:
        return None
    ohms = Ohms(max(0, round(spec.pull_up_ohm * input_mv / left_mv)))
    return None if ohms > HIGHEST_OHM else ohms


class BoardProbe:
    """Probe of a board's pilot and plug, used only by the sampler's thread."""

    def __init__(self, adc: Adc, board: Board) -> None:
        self._adc = adc
        self._pilot = board.pilot
        self._proximity = board.proximity
        self._is_single_phase = board.ratings.phases == 1

    def pilot(self) -> PilotVoltages:
        """Measure the pilot."""
        return measure_pilot(self._adc, self._pilot)

    def cable_ma(self) -> Milliamps | None:
        """Measure the plug's resistor; None without a cable, or without the input."""
        if self._proximity is None:
            return None
        ohms = measure_plug(self._adc, self._proximity)
        return None if ohms is None else ampacity(ohms, single_phase=self._is_single_phase)
