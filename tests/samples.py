"""Small real files of every format, made by hand: good ones and the ways in which they go bad."""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from xml.sax.saxutils import escape

SENTENCE = "Whales are large mammals that live in the ocean."
TITLE = "On Whales"
OLE_HEADER = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SLIDES = "http://schemas.openxmlformats.org/presentationml/2006/main"
SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OOXML = "application/vnd.openxmlformats-officedocument."


def zip_of(members: Mapping[str, str | bytes]) -> bytes:
    """A zip archive of these members, in this order; a member named ``mimetype`` is stored, as EPUB wants it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else None)
    return file.getvalue()


def _content_types(parts: Mapping[str, str]) -> str:
    overrides = "".join(f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, kind in parts.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )


def _relationships(targets: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<Relationship Id="rId{number}" Type="{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="{PACKAGE}/relationships">{rows}</Relationships>'


def _ooxml(main: str, kind: str, body: str, parts: Mapping[str, tuple[str, str]], rels: str, title: str) -> bytes:
    """An office package: its main part, other parts with their content types, and its title."""
    core = (
        f'<?xml version="1.0" encoding="UTF-8"?><cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties"'
        f' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title></cp:coreProperties>'
    )
    types = {main: OOXML + kind + ".main+xml", "docProps/core.xml": OOXML.replace("officedocument", "package")}
    types["docProps/core.xml"] = "application/vnd.openxmlformats-package.core-properties+xml"
    folder, _, name = main.rpartition("/")
    return zip_of(
        {
            "[Content_Types].xml": _content_types(types | {part: kind for part, (kind, _) in parts.items()}),
            "_rels/.rels": _relationships(
                [(f"{OFFICE}/officeDocument", main), (f"{PACKAGE}/relationships/metadata/core-properties", "docProps/core.xml")]
            ),
            "docProps/core.xml": core,
            main: body,
            f"{folder}/_rels/{name}.rels": rels,
            **{part: content for part, (_, content) in parts.items()},
        }
    )


def docx(*paragraphs: str, title: str = TITLE) -> bytes:
    """A Word document."""
    body = "".join(f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>" for text in paragraphs or (SENTENCE,))
    document = f'<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
    return _ooxml("word/document.xml", "wordprocessingml.document", document, {}, _relationships([]), title)


def pptx(*slides: str, title: str = TITLE) -> bytes:
    """A presentation with one text box per slide."""
    texts = slides or (SENTENCE,)
    numbers = range(1, len(texts) + 1)
    ids = "".join(f'<p:sldId id="{255 + number}" r:id="rId{number}"/>' for number in numbers)
    presentation = (
        f'<?xml version="1.0" encoding="UTF-8"?><p:presentation xmlns:p="{SLIDES}" xmlns:r="{OFFICE}">'
        f"<p:sldIdLst>{ids}</p:sldIdLst></p:presentation>"
    )
    shape = (
        '<p:sp><p:nvSpPr><p:cNvPr id="2" name="Text"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr/><p:txBody><a:bodyPr/>'
        "<a:p><a:r><a:t>{}</a:t></a:r></a:p></p:txBody></p:sp>"
    )
    parts = {
        f"ppt/slides/slide{number}.xml": (
            OOXML + "presentationml.slide+xml",
            f'<?xml version="1.0" encoding="UTF-8"?><p:sld xmlns:p="{SLIDES}" xmlns:a="{DRAWING}"><p:cSld><p:spTree>'
            f"{shape.format(escape(text))}</p:spTree></p:cSld></p:sld>",
        )
        for number, text in enumerate(texts, start=1)
    }
    rels = _relationships([(f"{OFFICE}/slide", f"slides/slide{number}.xml") for number in numbers])
    return _ooxml("ppt/presentation.xml", "presentationml.presentation", presentation, parts, rels, title)


def xlsx(*rows: Sequence[str], title: str = TITLE) -> bytes:
    """A workbook with one sheet of text cells."""
    table = rows or (("animal", "fact"), ("whale", SENTENCE))
    body = "".join(
        f'<row r="{number}">'
        + "".join(
            f'<c r="{chr(65 + column)}{number}" t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
            for column, cell in enumerate(row)
        )
        + "</row>"
        for number, row in enumerate(table, start=1)
    )
    workbook = (
        f'<?xml version="1.0" encoding="UTF-8"?><workbook xmlns="{SHEETS}" xmlns:r="{OFFICE}">'
        '<sheets><sheet name="Animals" sheetId="1" r:id="rId1"/></sheets></workbook>'
    )
    sheet = (
        f'<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="{SHEETS}"><sheetData>{body}</sheetData></worksheet>'
    )
    parts = {"xl/worksheets/sheet1.xml": (OOXML + "spreadsheetml.worksheet+xml", sheet)}
    rels = _relationships([(f"{OFFICE}/worksheet", "worksheets/sheet1.xml")])
    return _ooxml("xl/workbook.xml", "spreadsheetml.sheet", workbook, parts, rels, title)


def epub(*paragraphs: str, title: str = TITLE) -> bytes:
    """A book of one chapter."""
    body = "".join(f"<p>{escape(text)}</p>" for text in paragraphs or (SENTENCE,))
    return zip_of(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": (
                '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
                '<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
                "</container>"
            ),
            "OEBPS/book.opf": (
                '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
                f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title>'
                '<dc:identifier id="id">urn:x</dc:identifier><dc:language>en</dc:language></metadata>'
                '<manifest><item id="c1" href="one.xhtml" media-type="application/xhtml+xml"/></manifest>'
                '<spine><itemref idref="c1"/></spine></package>'
            ),
            "OEBPS/one.xhtml": (
                '<?xml version="1.0" encoding="UTF-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
                f"<head><title>One</title></head><body>{body}</body></html>"
            ),
        }
    )


def html(text: str = SENTENCE, *, title: str = TITLE, encoding: str = "utf-8") -> bytes:
    """A page that names its encoding, with things in it that are not its text."""
    page = (
        f'<!DOCTYPE html><html><head><meta charset="{encoding}"><title>{escape(title)}</title>'
        "<style>p { color: red }</style><script>var hidden = 1;</script></head>"
        f"<body><h1>{escape(title)}</h1><p>{escape(text)}</p></body></html>"
    )
    return page.encode(encoding)


def eml(text: str = SENTENCE, *, title: str = TITLE) -> bytes:
    """A mail in plain text."""
    message = EmailMessage()
    message["From"] = "Ada <ada@example.org>"
    message["To"] = "Bob <bob@example.org>"
    message["Subject"] = title
    message["Date"] = "Mon, 24 Nov 2025 10:00:00 +0000"
    message.set_content(text)
    return message.as_bytes()


def _pdf(objects: Sequence[bytes], trailer: bytes) -> bytes:
    """A file of numbered objects with a correct cross-reference table."""
    file = io.BytesIO()
    file.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(file.tell())
        file.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    table = file.tell()
    file.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for offset in offsets:
        file.write(b"%010d 00000 n \n" % offset)
    file.write(b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, table))
    return file.getvalue()


def _stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


def _pages(contents: Sequence[bytes], resources: bytes, rest: Sequence[bytes], trailer: bytes) -> bytes:
    """One page per content stream; ``rest`` are objects from number 3 on that the resources refer to."""
    first = 3 + len(rest)
    kids = b" ".join(b"%d 0 R" % (first + 2 * index) for index in range(len(contents)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(contents))]
    objects += rest
    for index, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << %s >> /Contents %d 0 R >>"
            % (resources, first + 2 * index + 1)
        )
        objects.append(_stream(content))
    return _pdf(objects, trailer)


def pdf(*pages: str, title: str = TITLE, encrypted: bool = False) -> bytes:
    """A PDF with one line of Helvetica per text line. ``encrypted`` asks for a password nobody knows."""
    contents = []
    for page in pages or (SENTENCE,):
        lines = b" ".join(b"(%s) Tj T*" % line.encode("latin-1") for line in page.split("\n"))
        contents.append(b"BT /F1 12 Tf 14 TL 72 720 Td %s ET" % lines)
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    rest = [font, b"<< /Title (%s) >>" % title.encode("latin-1")]
    trailer = b"/Info 4 0 R"
    if encrypted:
        secret = b"5c" * 32
        rest.append(b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (secret, secret))
        trailer += b" /Encrypt 5 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"
    return _pages(contents, b"/Font << /F1 3 0 R >>", rest, trailer)


def scanned_pdf(pages: int = 2) -> bytes:
    """A PDF whose pages are pictures."""
    picture = _stream(
        zlib.compress(bytes(range(256))),
        b"/Type /XObject /Subtype /Image /Width 16 /Height 16 /ColorSpace /DeviceGray /BitsPerComponent 8"
        b" /Filter /FlateDecode",
    )
    return _pages([b"q 612 0 0 792 0 0 cm /I1 Do Q"] * pages, b"/XObject << /I1 3 0 R >>", [picture], b"")


def png() -> bytes:
    """A grey picture of one pixel."""

    def block(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = b"\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00"
    return (
        b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"\x00\x80")) + block(b"IEND", b"")
    )


def encrypted_office() -> bytes:
    """The beginning of a Word document that was saved with a password: a compound file around a cipher stream."""
    return OLE_HEADER + bytes(504) + "EncryptedPackage".encode("utf-16-le").ljust(512, b"\x00")


def old_office() -> bytes:
    """The beginning of a binary Word 97 document."""
    return OLE_HEADER + bytes(504) + "WordDocument".encode("utf-16-le").ljust(512, b"\x00")


def bomb_docx(unpacked_bytes: int = 100 * 1024 * 1024) -> bytes:
    """A Word document that is small on disk and huge when unpacked."""
    return zip_of({"[Content_Types].xml": "<Types/>", "word/document.xml": bytes(unpacked_bytes)})


def lying_docx(unpacked_bytes: int = 100 * 1024 * 1024) -> bytes:
    """A bomb whose directory says that it is small."""
    content = bytearray(bomb_docx(unpacked_bytes))
    true_size = unpacked_bytes.to_bytes(4, "little")
    return bytes(content.replace(true_size, (1000).to_bytes(4, "little")))
