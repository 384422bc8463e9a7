"""Energy management: power adjustments, forecasts, pauses and opt-outs, without I/O."""
