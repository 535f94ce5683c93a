"""The command ``vecloom page``: an address that opens the page, signed in."""

from urllib.parse import quote

from rich.console import Console

from app.cli.client import Client, CliError
from app.cli.running import Data, Json, out, print_json, run_command, settings_of
from app.cli.session import open_client
from app.embedded.folder import DataFolder
from app.settings import Settings


def page(data: Data = None, as_json: Json = False) -> None:
    """Print an address that opens the page in a browser, signed in; good for a quarter of an hour, and once."""
    address = run_command(lambda: make_address_of(settings_of(data)), as_json=as_json)
    print_json({"address": address}) if as_json else out.print(address, soft_wrap=True)


async def make_address_of(settings: Settings) -> str:
    """The address for the server at ``VECLOOM_URL`` or on the data folder.

    Raises:
        CliError: ``server_unreachable`` if none runs: a server of this command alone would be gone with it.
    """
    if settings.url is None and DataFolder(settings.data).read_server_file() is None:
        raise CliError("server_unreachable", f"nothing serves {settings.data}; start it with: vecloom up")
    async with open_client(settings) as client:
        return await make_address(client)


async def make_address(client: Client) -> str:
    """The code stands in the fragment, which browsers keep to themselves, and begins one session."""
    made = await client.call("POST", "/session/codes")
    return f"{client.shown}/#code={quote(made['code'])}"


async def announce(client: Client, console: Console) -> None:
    """Tell a person where the page is; what is not a terminal may be a log, and gets no code."""
    if console.file.isatty():
        console.print(f"page: {await make_address(client)}", soft_wrap=True)
        console.print("      signs in once within 15 minutes; `vecloom page` prints another")
    else:
        console.print(f"page: {client.shown}  (`vecloom page` prints an address that signs in)", soft_wrap=True)
