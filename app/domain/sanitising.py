"""Takes secrets and personal data out of texts before they are stored, published or logged."""

import re

LONGEST_MESSAGE = 2000
LONGEST_INPUT = 16_384
"""Of a longer text only the beginning is looked at: a message that long tells nobody anything."""

SECRET = "<secret>"  # noqa: S105 — what stands in a secret's place
KEYWORDS = (
    r"[\w.-]{0,40}(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key"
    r"|account[_-]?key|signature|credentials?)"
)
VALUE = r"""(?:\\?"[^"]{0,1000}"|'[^']{0,1000}'|[^\s&;,"'<>(){}]{1,1000})"""
FIELD_NAME = re.compile(rf"{KEYWORDS}|authorization|cookie", re.IGNORECASE)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", re.DOTALL), SECRET),
    # user and password of a URL or DSN; a password may itself hold `@` and `/`
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/?#:@\"'<>]*:[^\s\"'<>]{0,1000}@", re.IGNORECASE), rf"\1{SECRET}@"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/?#@\"'<>]{1,1000}@", re.IGNORECASE), rf"\1{SECRET}@"),
    (
        re.compile(
            r"(authorization\\?[\"']?\s*[:=]\s*\\?[\"']?)(?:(?:basic|bearer|digest|token|apikey)\s+)?[^\s\"',;]+",
            re.IGNORECASE,
        ),
        rf"\1{SECRET}",
    ),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1{SECRET}"),
    (re.compile(rf"(\b{KEYWORDS}\\?[\"']?\s*[:=]\s*){VALUE}", re.IGNORECASE), rf"\1{SECRET}"),
    (re.compile(r"([?&](?:key|sig|auth|code|session|sas|x-[\w-]{1,60})=)[^\s&#\"'<>]+", re.IGNORECASE), rf"\1{SECRET}"),
    # keys that are known by their form: AWS, GitHub, GitLab, Slack, Google, Hugging Face, OpenAI and ours; JWTs
    (
        re.compile(
            r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
            r"|AIza[\w-]{30,}|hf_\w{20,}|sk-[\w-]{16,}|vcl_[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
        ),
        SECRET,
    ),
    # an AWS secret key: 40 characters of base64 with all kinds of them, so not a hash in hex
    (
        re.compile(
            r"(?<![\w/+=])(?=[^\s]{0,39}[a-z])(?=[^\s]{0,39}[G-Z])(?=[^\s]{0,39}[0-9])[A-Za-z0-9/+]{40}(?![\w/+=])"
        ),
        SECRET,
    ),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), "<email>"),
    # home folders of Linux, macOS and Windows, then temporary folders
    (re.compile(r"(?<![\w.])(?:/(?:home|Users)/[^/\s\"':;,()<>]+|/root(?![\w.-]))"), "~"),
    (
        re.compile(
            r"\b[A-Z]:[\\/]{1,4}(?:Users|Documents and Settings)[\\/]{1,4}"
            r"(?:[^\\/\n\"'<>|*?:]{1,64}(?=[\\/])|[^\\/\s\"'<>|*?:]{1,64})",
            re.IGNORECASE,
        ),
        "~",
    ),
    (re.compile(r"(?<![\w.])(?:/private)?(?:/var/folders/[^/\s]+/[^/\s]+/T|/var/tmp|/tmp)(?![\w.-])"), "<tmp>"),
    (re.compile(r"~[\\/]{1,4}AppData[\\/]{1,4}Local[\\/]{1,4}Temp(?![\w.-])", re.IGNORECASE), "<tmp>"),
)


def sanitise(text: str, *, longest: int = LONGEST_MESSAGE) -> str:
    """The text without secrets, e-mail addresses, home and temporary folders, control characters, and not too long."""
    if len(text) > LONGEST_INPUT:
        # a word cut in two would not be known for a secret any more
        text = text[:LONGEST_INPUT].rsplit(None, 1)[0]
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return FIELD_NAME.fullmatch(name) is not None
