"""What counts as a Socket.IO packet, and how ours look."""

import pytest

from chatserver.sio import packets
from chatserver.sio.packets import InvalidPacket, Packet, loads

DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"7",
        b"x",
        b"2",
        b"2[]",
        b"2[1]",
        b"2[null]",
        b"2{}",
        b'2"message"',
        b'2["a"',
        b'2["a",1e999]',
        b'2["a",NaN]',
        b'2["a",NaN,"\\ud800"]',
        b'2["\\ud800",1e999]',
        b'2["\\ud800",' + b"1" * 5000 + b"]",
        b'2["a",' + DEEP,
        b'2["\\ud800",' + DEEP,
        b'2["\xff"]',
        b'2\xc2\xb2["a"]',
        b'212345678901234567["a"]',
        b'2-1["a"]',
        b'2/\xff,["a"]',
        b"2/" + b"n" * 300 + b',["a"]',
        b"0[]",
        b'0"token"',
        b"1[]",
        b'3["no id"]',
        b"31{}",
        b"31",
        b'4{"message":"x"}',
    ],
)
def test_what_the_protocol_does_not_allow_is_an_invalid_packet(raw: bytes) -> None:
    with pytest.raises(InvalidPacket) as caught:
        Packet.decode(raw)
    assert caught.value.kind == "invalid_packet"


@pytest.mark.parametrize("raw", [b"5", b'5["a"]', b"5-[]", b'5101-["a"]', b'5999999-["a"]', b"6-"])
def test_a_packet_with_an_impossible_number_of_attachments_is_told_apart(raw: bytes) -> None:
    with pytest.raises(InvalidPacket) as caught:
        Packet.decode(raw)
    assert caught.value.kind == "binary"


@pytest.mark.parametrize(
    ("raw", "kind", "packet_id", "due"),
    [
        (b'51-["a",{"_placeholder":true,"num":0}]', packets.BINARY_EVENT, None, 1),
        (b'52-17["a",{"_placeholder":true,"num":0}]', packets.BINARY_EVENT, 17, 2),
        (b'50-7["a"]', packets.BINARY_EVENT, 7, 0),
        (b"5100-[[[", packets.BINARY_EVENT, None, 100),
        (b"61-3[]", packets.BINARY_ACK, 3, 1),
    ],
)
def test_a_binary_packet_tells_whom_to_answer_and_what_to_drop(
    raw: bytes, kind: int, packet_id: int | None, due: int
) -> None:
    packet = Packet.decode(raw)
    found = (packet.kind, packet.namespace, packet.id, packet.attachments_due)
    assert found == (kind, "/", packet_id, due)
    assert packet.refusal is not None
    assert packet.refusal.kind == "invalid_payload"


@pytest.mark.parametrize(
    ("head", "packet_id", "due"),
    [
        (b'217["message",{"conte', 17, 0),
        (b'2["message",{"content":"', None, 0),
        (b'53-4["message",{"con', 4, 3),
    ],
)
def test_the_head_of_an_event_tells_whom_to_answer(
    head: bytes, packet_id: int | None, due: int
) -> None:
    packet = Packet.decode_head(head)
    assert (packet.id, packet.attachments_due) == (packet_id, due)
    assert packet.refusal is not None
    assert packet.refusal.kind == "payload_too_large"


@pytest.mark.parametrize("head", [b'0{"token":"x', b"1", b"31[", b"61-3["])
def test_the_head_of_anything_else_cannot_be_answered(head: bytes) -> None:
    with pytest.raises(InvalidPacket) as caught:
        Packet.decode_head(head)
    assert caught.value.kind == "payload_too_large"


def test_an_event_whose_json_is_broken_still_tells_its_id() -> None:
    with pytest.raises(InvalidPacket) as caught:
        Packet.decode(b'217["message",1e999]')
    assert caught.value.ack_id == 17


@pytest.mark.parametrize(
    ("raw", "kind", "namespace", "packet_id", "data"),
    [
        (b"0", packets.CONNECT, "/", None, None),
        (b'0{"token":"x"}', packets.CONNECT, "/", None, {"token": "x"}),
        (b'0/admin,{"a":1}', packets.CONNECT, "/admin", None, {"a": 1}),
        (b"0/admin?x=1", packets.CONNECT, "/admin", None, None),
        (b"1", packets.DISCONNECT, "/", None, None),
        (b'2["a",1,{}]', packets.EVENT, "/", None, ["a", 1, {}]),
        (b'29007199254740991["a"]', packets.EVENT, "/", 9007199254740991, ["a"]),
        (b'20["connect"]', packets.EVENT, "/", 0, ["connect"]),
        (b'2["a",{"k":1,"k":2}]', packets.EVENT, "/", None, ["a", {"k": 2}]),
        (b'2["a","\\ud83d"]', packets.EVENT, "/", None, ["a", "\ud83d"]),
        (b'2["a","\\ud83d\\ude00\\ud83d"]', packets.EVENT, "/", None, ["a", "\U0001f600\ud83d"]),
        (b"31[1]", packets.ACK, "/", 1, [1]),
    ],
)
def test_a_valid_packet_is_read(
    raw: bytes, kind: int, namespace: str, packet_id: int | None, data: object
) -> None:
    packet = Packet.decode(raw)
    found = (packet.kind, packet.namespace, packet.id, packet.data)
    assert found == (kind, namespace, packet_id, data)


def test_packets_are_encoded_as_engine_io_messages() -> None:
    assert packets.encode_event("typing", {"a": None}) == b'42["typing",{"a":null}]'
    assert packets.encode_event("typing", (1, [2]), 5) == b'425["typing",1,[2]]'
    assert packets.encode_event("typing", ()) == b'42["typing"]'
    assert packets.encode_ack(7, [{"ok": True}]) == b'437[{"ok":true}]'
    assert packets.encode_ack(7, []) == b"437[]"
    assert packets.encode_connect("s") == b'40{"sid":"s"}'
    assert packets.encode_connect_error({"message": "no"}) == b'44{"message":"no"}'
    assert packets.encode_connect_error({"message": "no"}, "/a") == b'44/a,{"message":"no"}'
    assert packets.encode_disconnect() == b"41"


def test_half_a_surrogate_is_read() -> None:
    assert loads(b'["\\ud800"]') == ["\ud800"]
