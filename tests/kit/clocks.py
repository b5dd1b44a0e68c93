"""A clock that a test moves."""


class Clock:
    """Called, it answers the time that the test has come to, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds
