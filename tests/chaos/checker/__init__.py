"""The checker: random people, faults all over, and then the promise is held against the database.

    python -m tests.chaos.checker --seed 7 --seconds 20            one node
    python -m tests.chaos.checker --seed 7 --seconds 20 --nodes 3  behind HAProxy, with Redis

`plans` says who does what and `schedule` what breaks when; `site`, `devices` and
`nemesis` do it; `invariants` and its neighbours judge what is left; `faults` are
servers with a mistake in them, each of which the checker has to find.
"""
