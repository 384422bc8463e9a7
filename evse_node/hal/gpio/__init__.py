"""The Raspberry Pi backend: lines, pilot PWM, analogue inputs, meter and card reader.

`board` and `specs` describe the wiring, `drivers` is the interface to the hardware, `linux`
implements it, and `backend` connects both. Only `linux` and what it opens need the packages of
the extra "gpio".
"""
