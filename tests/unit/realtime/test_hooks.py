"""The parts of python-socketio and python-engineio that we override or lean on exist.

Both are pinned exactly. Before the pins move, this file has to agree: an override
whose original was renamed would silently no longer be called.
"""

import inspect
from importlib.metadata import version
from typing import Any

import engineio  # type: ignore[import-untyped]
import pytest
import socketio  # type: ignore[import-untyped]
from aiohttp import WSMsgType, web

from chatserver.eio.server import EngineServer
from chatserver.sio.adapter import Rooms
from chatserver.sio.packets import Packet
from chatserver.sio.server import ChatSocketServer


def test_the_versions_are_the_pinned_ones() -> None:
    assert version("python-socketio") == "5.18.1"
    assert version("python-engineio") == "4.15.1"


@pytest.mark.parametrize(
    ("base", "name", "parameters"),
    [
        (socketio.AsyncServer, "_engineio_server_class", "self"),
        (socketio.AsyncServer, "get_session", "self sid namespace"),
        (socketio.AsyncServer, "save_session", "self sid session namespace"),
        (socketio.AsyncServer, "enter_room", "self sid room namespace"),
        (socketio.AsyncServer, "leave_room", "self sid room namespace"),
        (socketio.AsyncServer, "disconnect", "self sid namespace ignore_queue"),
        (
            socketio.AsyncServer,
            "emit",
            "self event data to room skip_sid namespace callback ignore_queue",
        ),
        (socketio.AsyncServer, "shutdown", "self"),
        (engineio.AsyncServer, "attach", "self app engineio_path"),
        (engineio.AsyncServer, "send", "self sid data"),
        (engineio.AsyncServer, "send_packet", "self sid pkt"),
        (engineio.AsyncServer, "disconnect", "self sid"),
        (engineio.AsyncServer, "shutdown", "self"),
        (engineio.AsyncServer, "generate_id", "self"),
        (engineio.AsyncServer, "handle_request", "self args kwargs"),
        (
            socketio.AsyncManager,
            "emit",
            "self event data namespace room skip_sid callback to kwargs",
        ),
        (socketio.AsyncManager, "trigger_callback", "self sid id data"),
        (socketio.AsyncManager, "initialize", "self"),
        (socketio.AsyncManager, "get_namespaces", "self"),
        (socketio.AsyncManager, "get_participants", "self namespace room"),
        (socketio.AsyncManager, "get_rooms", "self sid namespace"),
        (socketio.AsyncManager, "is_connected", "self sid namespace"),
        (socketio.AsyncManager, "is_sid_room", "self namespace room"),
        (socketio.AsyncManager, "eio_sid_from_sid", "self sid namespace"),
        (socketio.AsyncManager, "can_disconnect", "self sid namespace"),
        (socketio.AsyncManager, "basic_enter_room", "self sid namespace room eio_sid"),
        (socketio.AsyncManager, "basic_leave_room", "self sid namespace room"),
        (socketio.AsyncManager, "basic_close_room", "self room namespace"),
        (
            socketio.packet.Packet,
            "__init__",
            "self packet_type data namespace id binary encoded_packet",
        ),
        (socketio.packet.Packet, "encode", "self"),
        (socketio.packet.Packet, "decode", "self encoded_packet"),
    ],
)
def test_what_we_override_is_there_with_these_parameters(
    base: Any, name: str, parameters: str
) -> None:
    assert " ".join(inspect.signature(getattr(base, name)).parameters) == parameters


@pytest.mark.parametrize(
    ("ours", "base"),
    [
        (ChatSocketServer, socketio.AsyncServer),
        (EngineServer, engineio.AsyncServer),
        (Rooms, socketio.AsyncManager),
        (Packet, socketio.packet.Packet),
    ],
)
def test_an_override_takes_every_parameter_of_what_it_replaces(ours: Any, base: Any) -> None:
    for name, function in vars(ours).items():
        original = getattr(base, name, None)
        if not inspect.isfunction(function) or not inspect.isfunction(original):
            continue
        if name in ("__init__", "handle_request", "emit"):
            continue
        theirs = list(inspect.signature(original).parameters)
        assert list(inspect.signature(function).parameters)[: len(theirs)] == theirs, name


def test_the_base_constructors_take_what_we_give_them() -> None:
    taken = inspect.signature(socketio.AsyncServer.__init__.__globals__["base_server"].BaseServer)
    for name in ("client_manager", "logger", "serializer", "async_handlers"):
        assert name in taken.parameters
    taken = inspect.signature(engineio.base_server.BaseServer)
    for name in ("async_mode", "ping_interval", "ping_timeout", "monitor_clients", "logger"):
        assert name in taken.parameters
    assert taken.parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD


def test_a_refusal_carries_its_error_object_as_data() -> None:
    error = socketio.exceptions.ConnectionRefusedError("no", {"code": "unauthorized"})
    assert error.error_args == {"message": "no", "data": {"code": "unauthorized"}}


def test_the_reasons_are_the_ones_that_namespaces_know() -> None:
    reason = engineio.base_server.BaseServer.reason
    assert reason.SERVER_DISCONNECT == "server disconnect"
    assert reason.CLIENT_DISCONNECT == "client disconnect"
    assert reason.PING_TIMEOUT == "ping timeout"
    assert reason.TRANSPORT_CLOSE == "transport close"
    assert reason.TRANSPORT_ERROR == "transport error"


def test_aiohttps_websocket_takes_what_the_driver_gives_it() -> None:
    taken = inspect.signature(web.WebSocketResponse).parameters
    assert {"timeout", "autoclose", "compress", "max_msg_size", "decode_text"} <= set(taken)
    assert WSMsgType.TEXT in WSMsgType


def test_aiohttp_keeps_its_websocket_reader_where_the_driver_looks_for_it() -> None:
    """Frames are cut before they reach it (`FrameCutter`)."""
    parameters = inspect.signature(web.WebSocketResponse._post_start).parameters
    assert list(parameters) == ["self", "request", "protocol", "writer"]
    assert {"_message_tail", "_payload_parser"} <= set(web.RequestHandler.__slots__)
    source = inspect.getsource(web.WebSocketResponse._post_start)
    assert "self._parser = WebSocketReader(" in source
    assert "request.protocol.set_parser(self._parser" in source
