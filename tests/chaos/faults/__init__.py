"""Each fault that the promise names, under load: what people see of it, measured.

`site` is a cluster with all that can be broken, `load` the people who write meanwhile.

    async def test_…(site: Site, load: LoadGenerator) -> None:
        with load.window() as window:
            ...                                  # break something, and heal it
        level = await load.level()              # seconds until every device has everything
        await load.settle()                     # stop; compare every device with the database
        record(2, "Redis restarts", load.overlapping(window), Figure("all level", level, 10.0))
"""
