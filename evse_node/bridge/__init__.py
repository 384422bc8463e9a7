"""Where the charger's world meets Matter's: the only package that knows both.

`evse` stands between the charger and the Energy EVSE cluster with its modes, `measurement`
between meter and thermometer and the clusters around it, `energy_management` between the
charger and Device Energy Management. The `*_test_events` play a vehicle or a grid for
certification tests.
"""
