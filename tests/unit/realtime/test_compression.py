"""Polling answers go out compressed where they are large and the client takes it."""

from tests.unit.realtime.wire import running_node

TEXT = "Is the flat still free? " * 100


async def test_a_large_poll_is_compressed_for_a_client_that_takes_it() -> None:
    async with running_node() as node:
        client = await node.polling()
        await client.connect()
        for accepted in ("gzip", "identity"):
            node.adapter.emit_now("a", TEXT, [client.sid])
            url, headers = f"{node.url}?{client.query}", {"Accept-Encoding": accepted}
            async with node.http.get(url, headers=headers) as answer:
                text = await answer.text()
                assert answer.headers.get("Content-Encoding", "identity") == accepted
                assert "Accept-Encoding" in answer.headers["Vary"]
                assert (int(answer.headers["Content-Length"]) < len(text) / 5) is (
                    accepted == "gzip"
                )
            assert text == f'42["a","{TEXT}"]'
