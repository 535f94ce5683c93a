"""What strangers write into messages, as a server tells it."""

from email.header import Header

import pytest

from app.sources.imap_message import MOST_PARTS, find_name, read_structure, read_subject
from app.sources.imap_names import LONGEST_NAME, MessagePlace, clean_name, decode_folder, encode_folder
from app.sources.imap_wire import parse

PLAIN = b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 20 2 NIL NIL NIL NIL)'
NOTHING = b'("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'
PAGE = b'("text" "html" NIL NIL NIL "base64" 20 2 NIL NIL NIL NIL)'
MAIL = b'("message" "rfc822" NIL NIL NIL "7bit" 99 (NIL) ' + PLAIN + b' 3 NIL ("attachment" NIL) NIL NIL)'
NOTES = b'("text" "plain" NIL NIL NIL "7bit" 5 1 NIL ("inline" ("filename" "notes.txt")) NIL)'
FILE = b'("application" "pdf" ("name" "old.pdf") NIL NIL "base64" 78 NIL ("attachment" ("filename" "a.pdf")) NIL NIL)'


def structure(text: bytes) -> object:
    """The words of a structure."""
    return parse([text])[0]


@pytest.mark.parametrize(
    ("body", "texts", "attachments"),
    [
        (PLAIN, ["1"], {}),
        (FILE, [], {"a.pdf": "1"}),
        (b"(" + PLAIN + PAGE + b' "alternative")', ["1"], {}),
        (b"(" + NOTHING + PAGE + b' "ALTERNATIVE")', ["2"], {}),
        (b"(" + PAGE + PLAIN + b' "mixed" NIL NIL NIL)', ["1", "2"], {}),
        (b"((" + PLAIN + PAGE + b' "alternative")' + FILE + b' "mixed" ("boundary" "x"))', ["1.1"], {"a.pdf": "2"}),
        (b"(" + PLAIN + b"(" + PAGE + FILE + b' "mixed") "alternative")', ["1"], {"a.pdf": "2.2"}),
        (b"(" + FILE + FILE + b' "mixed")', [], {"a.pdf": "1", "2 a.pdf": "2"}),
        (
            b"(" + MAIL + b' "mixed")',
            [],
            {"part 1.eml": "1"},
        ),
        (NOTES, [], {"notes.txt": "1"}),
        (b'("text" "html" NIL NIL NIL "7bit" 5 1 NIL ("attachment" NIL) NIL)', [], {"part 1.html": "1"}),
    ],
)  # fmt: skip
def test_texts_and_attachments_are_told_apart(body: bytes, texts: list[str], attachments: dict[str, str]) -> None:
    """Of alternatives one text is the message's, and all attachments are."""
    message = read_structure(structure(body))

    assert [part.section for part in message.texts] == texts
    assert {part.name: part.section for part in message.attachments} == attachments


def test_a_message_of_thousands_of_parts_is_cut() -> None:
    """The first ones are read, and it is said that there are more."""
    message = read_structure(structure(b"(" + FILE * (MOST_PARTS + 50) + b' "mixed")'))

    assert (len(message.attachments), message.is_cut) == (MOST_PARTS, True)
    assert len({part.name for part in message.attachments}) == MOST_PARTS


def test_what_programs_attach_for_each_other_is_no_document() -> None:
    """As signatures, which would fail with every message."""
    signature = b'("application" "pgp-signature" ("name" "signature.asc") NIL NIL "7bit" 78 NIL ("attachment" NIL) NIL)'

    message = read_structure(structure(b"(" + PLAIN + signature + b' "signed")'))

    assert ([part.section for part in message.texts], message.attachments) == (["1"], ())


def test_a_name_that_takes_long_to_decode_is_cut() -> None:
    """Its words begin again and again and never end."""
    name = b"=?a?q?x" * 60_000
    message = read_structure(structure(b'("application" "pdf" ("name" "' + name + b'") NIL NIL "base64" 78)'))

    assert message.attachments[0].name is not None
    assert len(message.attachments[0].name) <= LONGEST_NAME + len(".pdf")


@pytest.mark.parametrize(
    ("kind", "name", "shown"),
    [
        (b'"application" "octet-stream"', b'"README"', "README"),
        (b'"application" "pdf"', b'"README"', "README.pdf"),
        (b'"message" "rfc822"', b'"Re: 1.5"', "Re: 1.5.eml"),
        (b'"application" "pdf"', b'"../.."', "part 1.pdf"),
    ],
)
def test_an_attachment_is_named_as_what_it_is(kind: bytes, name: bytes, shown: str) -> None:
    """Where its own name does not say it, and its kind does."""
    body = b"(" + kind + b' ("name" ' + name + b') NIL NIL "base64" 78 NIL NIL NIL NIL)'

    assert [part.name for part in read_structure(structure(body)).attachments] == [shown]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"filename": "a.txt", "name": "b.txt"}, "a.txt"),
        ({"name": "b.txt"}, "b.txt"),
        ({"filename": "=?utf-8?q?Gr=C3=BC=C3=9Fe=2Etxt?="}, "Grüße.txt"),
        ({"filename": "=?latin-1?q?Gr=FC=DFe=2Etxt?="}, "Grüße.txt"),
        ({"filename": "=?no-such-charset?b?w7w=?="}, "ü"),
        ({"filename": "=?utf-8?b?broken"}, "=?utf-8?b?broken"),
        ({"filename*": "utf-8'de'Gr%C3%BC%C3%9Fe.txt", "filename": "x"}, "Grüße.txt"),
        ({"filename*": "no-such-charset''%C3%BC"}, "ü"),
        ({"filename*": "nothing%C3%BC"}, "nothingü"),
        ({"filename*0*": "utf-8''Gr%C3%BC", "filename*1*": "%C3%9Fe", "filename*2": ".txt"}, "Grüße.txt"),
        ({"filename*1": "b.txt", "filename*0": "a"}, "ab.txt"),
        ({"filename*99999999999": "x"}, ""),
        ({}, ""),
    ],
)
def test_names_are_read_however_they_are_written(parameters: dict[str, str], name: str) -> None:
    """RFC 2047, RFC 2231, neither, or broken."""
    assert find_name(parameters) == name


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "etc passwd"),
        ("..\\..\\windows\\a.txt", "windows a.txt"),
        ("/", ""),
        ("..", ""),
        (".hidden", "hidden"),
        ("a\x00b\r\nc\u202e\u200bd.txt", "a b c d.txt"),
        ("\ud800x.txt", "x.txt"),
        ("a" * 10_000 + ".pdf", "a" * (LONGEST_NAME - 4) + ".pdf"),
        ("x" * 10_000, "x" * LONGEST_NAME),
        ("e\u0301.txt", "é.txt"),
    ],
)
def test_names_of_strangers_are_steps_of_a_path(name: str, clean: str) -> None:
    """They lead nowhere, hide nothing and are short."""
    assert clean_name(name) == clean


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"Subject: Minutes\r\n\r\n", "Minutes"),
        (b"Subject: " + Header("Grüße aus Köln", "utf-8").encode().encode() + b"\r\n\r\n", "Grüße aus Köln"),
        (b"SUBJECT:\r\n  a\r\n b\r\n", "a b"),
        (b"Subject: =?utf-8?b?4piDIQ==?= =?x?q?y?=\r\n", "☃!y"),
        ("Subject: Köln".encode(), "Köln"),
        (b"Subject: K\xf6ln", "K\ufffdln"),
        (b"From: x\r\n", ""),
        (b"", ""),
    ],
)
def test_subjects_are_read_however_they_are_written(header: bytes, subject: str) -> None:
    """Also in no charset that there is."""
    assert read_subject(header) == subject


@pytest.mark.parametrize("name", ["INBOX", "a&b", "Entwürfe", "日本語/台北", "a&-b", "~peter/mail", "😀 box"])
def test_folders_have_names_of_their_own(name: str) -> None:
    """Written in ASCII, and read again."""
    encoded = encode_folder(name)

    assert encoded.isascii()
    assert decode_folder(encoded) == name


@pytest.mark.parametrize("name", [b"&", b"&Jjo", b"&Jjo!", b"&AGE-", b"\xff", b"&2AA-", b"a\x00b"])
def test_folders_that_nobody_could_ask_for_are_told(name: bytes) -> None:
    """They are written in a way that no server reads again."""
    with pytest.raises(ValueError):  # noqa: PT011 — also those of decoders
        decode_folder(name)


def test_a_message_has_a_uri_that_says_where_it_is() -> None:
    """Whatever its folder is called."""
    place = MessagePlace(folder="a;UIDVALIDITY=9/;UID=9 ü/b", validity=3, uid=4, section="2.1")

    assert MessagePlace.of(place.uri("imaps://host"), "imaps://host") == place
    assert MessagePlace.of(place.uri("imaps://other"), "imaps://host") is None


@pytest.mark.parametrize("text", [b"(", b")", b'"a', b"(a))", b"[", b"(" * 500 + b")" * 500])
def test_what_is_written_badly_is_told(text: bytes) -> None:
    """It is not guessed."""
    with pytest.raises(ValueError, match=r"IMAP|list|deep|end"):
        parse([text])


def test_words_lists_and_literals_are_read() -> None:
    """In the order in which they came."""
    read = parse([rb'1 FETCH (A "x \"y\" \\" nil BODY[HEADER.FIELDS (SUBJECT)]<0> ', b"a)b", b" (()))"])

    assert read == [b"1", b"FETCH", [b"A", b'x "y" \\', None, b"BODY[HEADER.FIELDS (SUBJECT)]<0>", b"a)b", [[]]]]
