"""Machines that are busy, or stand still now and then: how long a test waits on them."""

STANDSTILL = 3.0
"""Seconds for which a busy machine may give a process nothing to run on."""

PATIENCE = 60.0
"""Seconds after which a test takes what it waits for for lost: nothing but a hang lasts so
long, however busy the machine."""
