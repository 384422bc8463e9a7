"""Bridges between the charger and its clusters: the only package that imports both.

`evse` maps the charger to Energy EVSE and its modes, `measurement` meter and thermometer to the
measurement clusters, `energy_management` the charger to Device Energy Management. The
`*_test_events` modules simulate a vehicle or a grid for certification tests.
"""
