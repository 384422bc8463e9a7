"""The Raspberry Pi backend: lines, pilot PWM, analogue inputs, meter and card reader.

`board` and `board_file` say what is wired where; `drivers` names what the logic needs of
hardware, `linux` brings it from the kernel; `backend` puts it together. Only `linux` and
what it opens need the packages of the extra "gpio".
"""
