"""Each fault that the promise names, under load: what people see of it, measured.

`site` is a cluster with all that can be broken, `crowd` the people who write meanwhile.

    async def test_…(site: Site, crowd: Crowd) -> None:
        with crowd.window() as window:
            ...                                  # break something, and heal it
        level = await crowd.level()              # seconds until every device has everything
        await crowd.settle()                     # stop; compare every device with the database
        record(2, "Redis restarts", crowd.overlapping(window), Figure("all level", level, 10.0))
"""
