"""`orch token create|list|revoke|link`: who may use the service."""

from __future__ import annotations

from datetime import datetime

import click

from orchestrator.cli import foreground
from orchestrator.cli.completion import tokens
from orchestrator.cli.opening import server_option
from orchestrator.cli.output import DONE, note, print_json, say, table, terminal_width
from orchestrator.cli.spec_options import as_json_option
from orchestrator.ground.clock import SystemClock
from orchestrator.ground.errors import BadSpec
from orchestrator.ground.settings import from_environment
from orchestrator.ledger.records import Role, Token
from orchestrator.study.spec import NAME

DAY_S = 86_400.0
MOST_DAYS = 3650


@click.group()
def command() -> None:
    """Manage the access tokens of `orch serve`."""


@command.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    default=str(Role.READ),
    show_default=True,
    help="read can look; run can also create and control studies; admin can also delete them.",
)
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=90, show_default=True, help="Days until it expires."
)
@as_json_option
def create(name: str, role: str, days: int, as_json: bool) -> int:
    """Create a token and print it. It is shown only once; the ledger stores its hash."""
    from orchestrator.ground.keys import digest, new_secret

    if not NAME.fullmatch(name):
        raise BadSpec(
            f"The token's name {name[:60]!r} cannot be used. Allowed are 1 to 80 letters, digits, '_', '+' "
            f"and '-', beginning with a letter or digit."
        )
    secret, now = new_secret(), SystemClock().time()
    token = Token(name, digest(secret), Role(role), created_at=now, expires_at=now + days * DAY_S)
    with foreground.opened(from_environment()) as store:
        store.add_token(token)
    if as_json:
        print_json({"token": secret, **_told(token)})
    else:
        say(secret)
        note(f"The token {name} ({role}) is valid for {days} days. It is not shown again.")
    return DONE


@command.command("list")
@as_json_option
def list_(as_json: bool) -> int:
    """List all tokens, without their secrets."""
    with foreground.opened(from_environment(), writing=False) as store:
        tokens = store.tokens()
    if as_json:
        print_json({"tokens": [_told(token) for token in tokens]})
        return DONE
    if not tokens:
        note("There are no tokens. Make one: orch token create NAME --role run")
        return DONE
    cells = [
        (t.name, t.role, _standing(t), _day(t.created_at), "" if t.expires_at is None else _day(t.expires_at))
        for t in tokens
    ]
    header = ("name", "role", "standing", "created", "expires")
    say(*table(header, cells, spare=("created",), width=terminal_width()))
    return DONE


@command.command()
@click.argument("name", shell_complete=tokens)
def revoke(name: str) -> int:
    """Revoke a token."""
    with foreground.opened(from_environment(), writing=False) as store:
        store.revoke_token(name, at=SystemClock().time())
    say(f"The token {name} is revoked.")
    return DONE


@command.command()
@server_option
@as_json_option
def link(server: str | None, as_json: bool) -> int:
    """Print a one-time link that signs a browser in to the server.

    It uses the token in ORCH_TOKEN, or else the key in ORCH_HOME on the server's machine.
    """
    from orchestrator.client import Client
    from orchestrator.server.process import DEFAULT_URL

    with Client(server or DEFAULT_URL) as client:
        made = client.link()
    if as_json:
        print_json(made)
        return DONE
    say(made["url"])
    if made["expires_in_s"] is not None:
        note(f"Open it in a browser within {made['expires_in_s'] / 60:.0f} minutes. It works once.")
    return DONE


def _told(token: Token) -> dict[str, object]:
    return {
        "name": token.name,
        "role": token.role,
        "standing": _standing(token),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _standing(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.valid(SystemClock().time()) else "expired"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d")
