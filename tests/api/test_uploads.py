"""Uploads over a real socket: forms, and the protocol tus as a client of other people speaks it."""

import asyncio
import hashlib
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from app.api.serving import serving
from app.bootstrap import Parts, open_api
from app.operations.collections import IdentityService
from tests.harness import wait_until

MIB = 1024 * 1024
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True, kw_only=True)
class Server:
    """The API over a socket, with a collection ``sent`` and no worker."""

    http: httpx.AsyncClient
    url: str
    key: str
    parts: Parts

    @property
    def uploads(self) -> str:
        """Where uploads begin."""
        return f"{self.url}/api/v1/collections/sent/uploads"

    def tus(self, key: str | None = None) -> TusClient:
        """A client of the protocol."""
        return TusClient(self.uploads, headers={"Authorization": f"Bearer {key or self.key}"})

    async def send(self, *files: tuple[str, bytes], **query: str) -> httpx.Response:
        """Send files in one form."""
        parts = [("file", file) for file in files]
        return await self.http.post("/api/v1/collections/sent/documents", files=parts, params=query)

    async def begin(self, size: int, **metadata: str) -> httpx.Response:
        """Begin an upload."""
        said = {"filename": "a.txt", **metadata}
        pairs = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in said.items())
        return await self.http.post(self.uploads, headers={**TUS, "Upload-Length": str(size), "Upload-Metadata": pairs})

    async def by_path(self) -> dict[str, dict[str, Any]]:
        """Uploads by path."""
        answer = await self.http.get(self.uploads)
        return {upload["path"]: upload for upload in answer.json()["uploads"]}

    def stored(self) -> list[bytes]:
        """Contents of all files in the folder of uploads."""
        folder = self.parts.settings.upload_folder
        assert folder is not None
        return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


@asynccontextmanager
async def open_server(parts: Parts, **changes: Any) -> AsyncIterator[Server]:
    """A server with other settings."""
    object.__setattr__(parts, "settings", parts.settings.model_copy(update=changes))
    async with open_api(parts) as application, serving(application, host="127.0.0.1", port=0) as url:
        key = await IdentityService(parts.database).issue_key("sender", name="test")
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            created = await http.post("/api/v1/collections", json={"name": "sent"})
            assert created.status_code == 202, created.text
            yield Server(http=http, url=url, key=key, parts=parts)


@pytest.fixture
async def server(parts: Parts) -> AsyncIterator[Server]:
    """A server as it comes."""
    async with open_server(parts) as opened:
        yield opened


# --- forms --------------------------------------------------------------------------------------


async def test_a_form_may_have_many_files(server: Server) -> None:
    """Each under the path that its name is, or that a field before it says; they are listed then."""
    path = [("path", (None, b"guides/b.txt")), ("file", ("b.txt", b"second"))]

    first = await server.send(("a.txt", b"first"), ("deep/er/ä b%.txt", b"third"))
    second = await server.http.post("/api/v1/collections/sent/documents", files=path)

    assert (first.status_code, second.status_code) == (202, 202), first.text + second.text
    assert first.json()["operation"]["kind"] == "APPEND"
    listed = await server.by_path()
    assert {path: upload["size"] for path, upload in listed.items()} == {
        "a.txt": 5,
        "deep/er/ä b%.txt": 5,
        "guides/b.txt": 6,
    }
    assert listed["deep/er/ä b%.txt"]["uri"] == "upload:///deep/er/%C3%A4%20b%25.txt"
    assert sorted(server.stored()) == [b"first", b"second", b"third"]


async def test_forms_share_the_operation_that_waits(server: Server) -> None:
    """One that has not begun sees what comes now; with ``index=false`` there is none."""
    quiet = await server.send(("a.txt", b"1"), index="false")
    first = await server.send(("b.txt", b"2"))
    second = await server.send(("c.txt", b"3"))

    assert quiet.json()["operation"] is None
    assert first.json()["operation"]["operation_id"] == second.json()["operation"]["operation_id"]


@pytest.mark.parametrize(
    "path", ["../a", "/etc/passwd", "a//b", "a/./b", "a\\b", "a\x01b", "a/../../b", "x" * 256, "ä/" * 40 + "a", " "]
)
async def test_paths_that_no_document_has_are_refused(server: Server, path: str) -> None:
    """With all the rest of the form."""
    pairs = [("file", ("good.txt", b"good")), ("path", (None, path.encode())), ("file", ("a.txt", b"bad"))]

    answer = await server.http.post("/api/v1/collections/sent/documents", files=pairs)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_upload_path")
    assert (await server.by_path(), server.stored()) == ({}, [])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=file"),
        ("multipart/form-data; boundary=x", b"nothing of the kind"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 50 + b"\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 10_000),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x--"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf a file',
        ),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--'),
    ],
)
async def test_what_is_no_form_of_files_is_refused(server: Server, content_type: str, body: bytes) -> None:
    """And nothing of it stays."""
    answer = await server.http.post(
        "/api/v1/collections/sent/documents", content=body, headers={"content-type": content_type}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_upload")
    assert (await server.by_path(), server.stored()) == ({}, [])


async def test_forms_are_bounded(parts: Parts) -> None:
    """By the bytes of a file, by the number of files, and by what a user may have in all."""
    bounds = {"upload_max_bytes": 2 * MIB, "upload_max_files": 3, "upload_quota_bytes": 3 * MIB}
    async with open_server(parts, **bounds) as server:
        large = await server.send(("a", os.urandom(2 * MIB + 1)))
        many = await server.send(*((str(number), b"x") for number in range(4)))
        most = await server.send(("a", os.urandom(2 * MIB)))
        over = await server.send(("b", os.urandom(2 * MIB)))
        same = await server.send(("same", b"1"), ("same", b"2"))

        assert [answer.json().get("code") for answer in (large, many, most, over, same)] == [
            "upload_too_large",
            "too_many_files",
            None,
            "upload_quota_exceeded",
            "invalid_upload",
        ]
        assert [answer.status_code for answer in (large, many, over)] == [413, 413, 413]
        assert list(await server.by_path()) == ["a"]
        assert [len(content) for content in server.stored()] == [2 * MIB]


async def test_forms_at_once_share_what_a_user_may_have(parts: Parts) -> None:
    """Neither is told that it fits because the other one has not ended yet."""
    async with open_server(parts, upload_max_bytes=16 * MIB, upload_quota_bytes=20 * MIB) as server:
        content = os.urandom(15 * MIB)

        answers = await asyncio.gather(*(server.send((path, content)) for path in ("a", "b")))

        assert max(answer.status_code for answer in answers) == 413
        assert len(server.stored()) == len(await server.by_path()) <= 1


async def test_a_full_disk_is_left_alone(parts: Parts) -> None:
    """What has to stay free stays free."""
    async with open_server(parts, upload_free_bytes=2**60) as server:
        form, begun = await server.send(("a", b"1")), await server.begin(5)

        assert [(answer.status_code, answer.json()["code"]) for answer in (form, begun)] == [
            (507, "upload_disk_full")
        ] * 2
        assert server.stored() == []


async def test_a_server_without_a_folder_says_so(parts: Parts) -> None:
    """Rather than to keep files where no worker finds them."""
    async with open_server(parts, upload_folder=None) as server:
        form, begun = await server.send(("a", b"1")), await server.begin(5)

        assert [(answer.status_code, answer.json()["code"]) for answer in (form, begun)] == [
            (501, "uploads_not_configured")
        ] * 2


async def test_a_sender_that_goes_away_leaves_nothing_of_a_form(server: Server) -> None:
    """Also when it goes in the middle of a file."""
    address = urlsplit(server.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST /api/v1/collections/sent/documents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    )
    writer.write(head.encode() + b"x" * 3 * MIB)
    await writer.drain()

    async def has_begun() -> bool:
        return bool(server.stored())

    async def is_gone() -> bool:
        return not server.stored() and not await server.by_path()

    await wait_until(has_begun)
    writer.close()
    await wait_until(is_gone)

    assert (server.stored(), await server.by_path()) == ([], {})


# --- tus ----------------------------------------------------------------------------------------


async def test_a_client_of_the_protocol_sends_a_file(server: Server) -> None:
    """In parts, with a checksum of each."""
    content = os.urandom(3 * MIB + 17)
    metadata = {"filename": "large.bin", "path": "folder/large.txt"}

    uploader = server.tus().uploader(
        file_stream=BytesIO(content), chunk_size=MIB, metadata=metadata, upload_checksum=True
    )
    await asyncio.to_thread(uploader.upload)
    listed = await server.by_path()

    assert listed["folder/large.txt"]["state"] == "complete"
    assert listed["folder/large.txt"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert server.stored() == [content]


async def test_an_upload_goes_on_where_its_connection_broke(server: Server) -> None:
    """What has come is kept, though nobody had the answer; nothing of it is sent again."""
    content = os.urandom(4 * MIB)
    location = (await server.begin(len(content))).headers["location"]
    address = urlsplit(server.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in {**BYTES, "Upload-Offset": "0"}.items())
    writer.write(
        f"PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n{head}"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content[: 3 * MIB]
    )
    await writer.drain()

    async def has_come() -> bool:
        return bool(server.stored()) and len(server.stored()[0]) >= 2 * MIB

    await wait_until(has_come)

    # the first connection still hangs there when its sender is back
    def go_on() -> int:
        uploader = server.tus().uploader(file_stream=BytesIO(content), url=f"{server.url}{location}", chunk_size=MIB)
        offset: int = uploader.offset
        uploader.upload()
        return offset

    offset = await asyncio.to_thread(go_on)
    writer.close()

    assert 2 * MIB <= offset <= 3 * MIB
    assert server.stored() == [content]
    assert (await server.by_path())["a.txt"]["sha256"] == hashlib.sha256(content).hexdigest()


async def test_what_a_server_can_do_is_said(server: Server) -> None:
    """Without a key, as browsers ask."""
    answer = await server.http.options(server.uploads, headers={"Authorization": ""})

    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) >= {"creation", "termination", "expiration", "checksum"}
    assert int(answer.headers["tus-max-size"]) == server.parts.settings.upload_max_bytes


async def test_requests_that_do_not_fit_change_nothing(server: Server) -> None:
    """A wrong offset, version, type, checksum, and more bytes than were announced."""
    location = (await server.begin(4)).headers["location"]
    checksum = {"Upload-Checksum": f"sha256 {b64encode(hashlib.sha256(b'x').digest()).decode()}"}

    async def patch(headers: dict[str, str], content: bytes) -> tuple[int, str]:
        answer = await server.http.patch(location, headers=headers, content=content)
        assert answer.headers["tus-resumable"] == "1.0.0"
        return answer.status_code, answer.json()["code"]

    answers = [
        await patch({**BYTES, "Upload-Offset": "1"}, b"ab"),
        await patch({**BYTES, "Upload-Offset": "0", "Tus-Resumable": "0.2.2"}, b"ab"),
        await patch({**TUS, "Upload-Offset": "0"}, b"ab"),
        await patch({**BYTES, "Upload-Offset": "-1"}, b"ab"),
        await patch({**BYTES, "Upload-Offset": "0", **checksum}, b"ab"),
        await patch({**BYTES, "Upload-Offset": "0"}, b"abcde"),
    ]

    assert answers == [
        (409, "upload_offset"),
        (412, "tus_version"),
        (422, "invalid_upload"),
        (422, "invalid_upload"),
        (460, "upload_checksum_mismatch"),
        (413, "upload_too_large"),
    ]
    assert (await server.http.head(location, headers=TUS)).headers["upload-offset"] == "0"
    assert (await server.http.patch(location, headers={**BYTES, "Upload-Offset": "0"}, content=b"abcd")).is_success
    assert server.stored() == [b"abcd"]


async def test_a_file_that_is_not_the_one_announced_is_refused(server: Server) -> None:
    """Its end tells; nothing of it is kept."""
    begun = await server.begin(4, sha256=hashlib.sha256(b"abcd").hexdigest())

    wrong = await server.http.patch(begun.headers["location"], headers={**BYTES, "Upload-Offset": "0"}, content=b"abcx")

    assert (wrong.status_code, wrong.json()["code"]) == (460, "upload_checksum_mismatch")
    assert (await server.by_path(), server.stored()) == ({}, [])


async def test_an_empty_file_is_complete_at_once(server: Server) -> None:
    """There is nothing to send, so nobody sends it."""
    begun = await server.begin(0, path="empty.txt")

    assert (begun.status_code, begun.headers["upload-offset"]) == (201, "0")
    assert (await server.by_path())["empty.txt"]["state"] == "complete"
    assert begun.headers["vecloom-operation"]


async def test_an_upload_can_be_ended(server: Server) -> None:
    """It is gone with what has come of it."""
    location = (await server.begin(4)).headers["location"]
    await server.http.patch(location, headers={**BYTES, "Upload-Offset": "0"}, content=b"ab")

    ended = await server.http.delete(location, headers=TUS)
    after = await server.http.head(location, headers=TUS)

    assert (ended.status_code, after.status_code) == (204, 404)
    assert (await server.by_path(), server.stored()) == ({}, [])


async def test_unfinished_uploads_are_bounded(parts: Parts) -> None:
    """In number, and by what they have announced."""
    async with open_server(parts, upload_max_unfinished=2, upload_quota_bytes=100, upload_max_bytes=80) as server:
        answers = [await server.begin(size) for size in (81, 60, 41, 40, 0)]

        assert [(answer.status_code, answer.json()["code"] if answer.content else "") for answer in answers] == [
            (413, "upload_too_large"),
            (201, ""),
            (413, "upload_quota_exceeded"),
            (201, ""),
            (429, "too_many_uploads"),
        ]


async def test_what_has_expired_cannot_be_gone_on_with(server: Server) -> None:
    """It is as if it never was; the upkeep takes the rest away."""
    location = (await server.begin(4)).headers["location"]
    async with server.parts.database.begin() as connection:
        await connection.execute(text("UPDATE uploads SET expires_at = now() - interval '1 second'"))

    head = await server.http.head(location, headers=TUS)
    patch = await server.http.patch(location, headers={**BYTES, "Upload-Offset": "0"}, content=b"abcd")

    assert (head.status_code, patch.status_code, patch.json()["code"]) == (404, 404, "upload_not_found")


async def test_nobody_else_has_anything_to_do_with_them(server: Server) -> None:
    """Another user's key finds neither the collection nor its uploads."""
    location = (await server.begin(4)).headers["location"]
    other = await IdentityService(server.parts.database).issue_key("other", name="test")
    headers = {"Authorization": f"Bearer {other}"}

    codes = [
        (await server.http.request(method, location, headers={**BYTES, "Upload-Offset": "0", **headers})).status_code
        for method in ("GET", "HEAD", "PATCH", "DELETE")
    ]
    form = await server.http.post("/api/v1/collections/sent/documents", files={"file": b"1"}, headers=headers)
    nobody = await server.http.post(
        "/api/v1/collections/sent/documents", files={"file": b"1"}, headers={"Authorization": ""}
    )
    with pytest.raises(TusCommunicationError):
        await asyncio.to_thread(
            server.tus(other).uploader(file_stream=BytesIO(b"1234"), metadata={"filename": "a"}).upload
        )

    assert codes == [404, 404, 404, 404]
    assert (form.status_code, nobody.status_code) == (404, 401)
    assert (await server.http.head(location, headers=TUS)).headers["upload-offset"] == "0"


async def test_of_two_at_once_the_last_one_stays(server: Server) -> None:
    """Whole, with one file on the disk."""
    contents = [bytes([number]) * MIB for number in range(6)]

    answers = await asyncio.gather(*(server.send(("same.txt", content)) for content in contents))

    assert {answer.status_code for answer in answers} == {202}
    stored = server.stored()
    assert len(stored) == 1
    assert (await server.by_path())["same.txt"]["sha256"] == hashlib.sha256(stored[0]).hexdigest()
    assert stored[0] in contents


async def test_what_is_sent_and_deleted_is_in_the_audit_log(server: Server) -> None:
    """With path, size and hash; the source that was made for it too."""
    sent = (await server.send(("a.txt", b"first"))).json()["uploads"][0]
    await server.http.delete(f"{server.uploads}/{sent['id']}")

    entries = (await server.http.get("/api/v1/audit")).json()["entries"]

    told = {entry["action"]: entry for entry in entries}
    assert {"source.added", "upload.completed", "upload.deleted"} <= set(told)
    assert told["upload.completed"]["after"] == {"size": 5, "sha256": sent["sha256"], "replaced": False}
