"""A visitor without a browser: speaks Streamlit's protocol over its websocket, so it can say what no page offers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urljoin

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
DONE = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)


def visited(visit: Coroutine[Any, Any, T]) -> T:
    """The result of a visit, in a thread of its own: Playwright's event loop occupies that of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, visit).result()


@dataclass
class Seen:
    """What a page showed: elements by their place, each with the fragment that it belongs to."""

    elements: dict[tuple[int, ...], tuple[Any, str]] = field(default_factory=dict)

    def of(self, *kinds: str) -> Iterator[tuple[Any, str]]:
        """Elements of these kinds, each with the id of its fragment."""
        for element, fragment in self.elements.values():
            if (kind := element.WhichOneof("type")) in kinds:
                yield getattr(element, kind), fragment

    def texts(self) -> str:
        """Everything that the page says in words."""
        said = [part.body for part, _ in self.of("markdown", "alert", "heading")]
        return "\n".join(said).replace("\\", "")


CONNECT_SECONDS = 120.0
"""A browser is as patient with a server that a crowd keeps busy."""


class Visitor:
    """One connection. cookies: of `signed_in`, or none."""

    def __init__(self, address: str, cookies: Mapping[str, str] | None = None) -> None:
        self.address, self.cookies = address, dict(cookies or {})
        self.seen, self.pages, self.session = Seen(), dict[str, str](), ""
        self.page_hash, self.query, self.redirect, self.fragment = "", "", "", ""
        self.widgets: dict[str, WidgetState] = {}

    async def __aenter__(self) -> Self:
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{self.address}/_stcore/health")
        self.cookies = self.cookies | dict(answer.cookies)
        self._socket: ClientConnection = await connect(
            f"{self.address.replace('http', 'ws', 1)}/_stcore/stream",
            origin=self.address,  # type: ignore[arg-type]  # any address
            subprotocols=["streamlit", self.cookies.get("_streamlit_xsrf", "")],  # type: ignore[list-item]  # as Streamlit takes it
            additional_headers={"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())},
            max_size=None,
            compression=None,
            open_timeout=CONNECT_SECONDS,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def send(self, message: BackMsg) -> None:
        """Send any message."""
        await self._socket.send(message.SerializeToString())

    async def open(self, page: str = "", query: str = "") -> Seen:
        """Go to a page by its address."""
        self.query, self.widgets = query, {}
        return await self._rerun(page_name=page)

    async def open_by_hash(self, page_hash: str) -> Seen:
        """Go to a page by the hash of its script, as a click in the navigation does."""
        self.widgets, self.page_hash = {}, page_hash
        return await self._rerun()

    async def press(self, widget: str, fragment: str = "") -> Seen:
        """Press a button by its id, shown or not; within its fragment, if the page has that."""
        fragment = fragment if any(fragment == part for _, part in self.seen.elements.values()) else ""
        return await self._rerun(fragment, pressed=WidgetState(id=widget, trigger_value=True))

    async def slide(self, widget: str, value: float, fragment: str = "") -> Seen:
        """Move a slider."""
        state = WidgetState(id=widget)
        state.double_array_value.data.append(value)
        self.widgets[widget] = state
        return await self._rerun(fragment)

    async def download(self, file_id: str) -> bytes | None:
        """The bytes of a download that is made at the click; None if it is refused."""
        message = BackMsg()
        message.backend_operation_request.request_id, message.backend_operation_request.session_id = "x", self.session
        message.backend_operation_request.deferred_file.file_id = file_id
        await self.send(message)
        while (answer := await self.next()).WhichOneof("type") != "backend_operation_response":
            pass
        if answer.backend_operation_response.error_msg:
            return None
        async with httpx.AsyncClient(cookies=self.cookies) as http:
            got = await http.get(urljoin(self.address, answer.backend_operation_response.deferred_file.url))
        return got.content if got.status_code == 200 else None

    async def upload(self, content: bytes) -> int:
        """The HTTP status of an upload."""
        message = BackMsg()
        message.file_urls_request.request_id, message.file_urls_request.session_id = "upload", self.session
        message.file_urls_request.file_names.append("a.csv")
        await self.send(message)
        while (answer := await self.next()).WhichOneof("type") != "file_urls_response":
            pass
        place = urljoin(self.address, answer.file_urls_response.file_urls[0].upload_url)
        token = {"X-Xsrftoken": self.cookies.get("_streamlit_xsrf", "")}
        async with httpx.AsyncClient(cookies=self.cookies, headers=token, timeout=60) as http:
            return (await http.put(place, files={"a.csv": ("a.csv", content, "text/csv")})).status_code

    async def _rerun(self, fragment: str = "", page_name: str = "", pressed: WidgetState | None = None) -> Seen:
        message, self.fragment = BackMsg(), fragment
        state = message.rerun_script
        state.query_string, state.fragment_id = self.query, fragment
        state.page_script_hash, state.page_name = "" if page_name else self.page_hash, page_name
        state.widget_states.widgets.extend(self.widgets.values())
        if pressed is not None:
            state.widget_states.widgets.append(pressed)
        await self.send(message)
        while True:
            answer = await self.next()
            if answer.WhichOneof("type") == "script_finished" and answer.script_finished in DONE:
                return self.seen

    async def next(self) -> ForwardMsg:
        """The next message of the server."""
        data = await asyncio.wait_for(self._socket.recv(), PATIENCE_SECONDS)
        assert isinstance(data, bytes)
        message = ForwardMsg()
        message.ParseFromString(data)
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.session = message.new_session.initialize.session_id or self.session
            self.page_hash = message.new_session.page_script_hash or self.page_hash
            if not self.fragment:  # a run of a part leaves the rest of the page
                self.seen = Seen()
        elif kind == "navigation":
            self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
            self.page_hash = message.navigation.page_script_hash or self.page_hash
        elif kind == "auth_redirect":
            self.redirect = message.auth_redirect.url
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            place = tuple(message.metadata.delta_path)
            self.seen.elements[place] = message.delta.new_element, message.delta.fragment_id
        return message


async def signed_in(address: str, name: str) -> dict[str, str]:
    """The cookies of a person who has signed in at the provider of the tests."""
    async with Visitor(address) as visitor:
        seen = await visitor.open()
        await visitor.press(next(button.id for button, _ in seen.of("button") if button.label == "Sign in"))
        async with httpx.AsyncClient(follow_redirects=True, cookies=visitor.cookies) as http:
            form = await http.get(urljoin(address, visitor.redirect))
            await http.post(form.url, data={"sub": name})
            return dict(http.cookies)
