"""`orch completion SHELL`: the script that completes words in a shell; and what completes each of them.

A completion asks the ledger's file, or the service, for names. It starts nothing, writes nothing and waits
for nothing; whatever goes wrong, it offers no names and says nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.shell_completion import CompletionItem, get_completion_class

from orchestrator.cli.output import DONE

if TYPE_CHECKING:
    from orchestrator.client import Client

SERVICE_WITHIN_S = 1.0
MOST = 500
SHELLS = ("bash", "zsh", "fish")

Items = list[CompletionItem]
Completer = Callable[[click.Context, click.Parameter, str], Items]


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> int:
    """Print the script that completes commands, options and names in a shell.

    It completes the names of studies, arms, trials, presets and tokens: those of the local SQLite ledger, or
    with --server or ORCH_URL those of the server. Install it for good with one line:

    \b
    bash  orch completion bash > ~/.orch-completion.bash &&
          echo 'source ~/.orch-completion.bash' >> ~/.bashrc
    zsh   orch completion zsh > ~/.orch-completion.zsh &&
          echo 'source ~/.orch-completion.zsh' >> ~/.zshrc
    fish  orch completion fish > ~/.config/fish/completions/orch.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(context.find_root().command, {}, "orch", "_ORCH_COMPLETE")
    click.echo(made.source_template % made.source_vars())
    return DONE


# -- where the names are ---------------------------------------------------------------------------------
class Names(Protocol):
    def studies(self) -> Iterable[str]: ...

    def arms(self, study: str) -> Iterable[str]: ...

    def trials(self, study: str, prefix: str) -> Iterable[str]: ...

    def tokens(self) -> Iterable[str]: ...


class InFile:
    """Names in the ledger's file of this machine."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __getattr__(self, kind: str) -> Callable[..., list[str]]:
        from orchestrator.ledger import glance

        found: Callable[..., list[str]] = functools.partial(getattr(glance, kind), self._file)
        return found


class AtService:
    """Names that a service tells."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def studies(self) -> Iterable[str]:
        return (line["study"] for line in self._client.studies())

    def arms(self, study: str) -> Iterable[str]:
        return [arm["arm"] for arm in self._client.study(study)["arms"]]

    def trials(self, study: str, prefix: str) -> Iterable[str]:
        arm = prefix.split(".")[0] if "." in prefix else None
        told = self._client.trials(study, arm=arm)
        called = (f"{each['arm']}.{each['replicate']}.{each['index']}" for each in told)
        return (name for name in called if name.startswith(prefix))

    def tokens(self) -> Iterable[str]:
        return ()


def _names(context: click.Context) -> Names:
    """Of the service that the command line names, if its command can ask one; else of the file here."""
    if server := context.params.get("server"):
        from orchestrator.client import Client

        return AtService(Client(server, patience_s=0.0, timeout_s=SERVICE_WITHIN_S, tell=lambda said: None))
    from orchestrator.ground.settings import from_environment

    file = from_environment().ledger_file
    if file is None:
        raise LookupError("The names in a PostgreSQL ledger are completed through a service.")
    return InFile(file)


def _quietly(find: Callable[[Names, click.Context, str], Iterable[str]]) -> Completer:
    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> Items:
        try:
            found = islice(find(_names(context), context, typed), MOST)
            return [CompletionItem(name) for name in found if name.startswith(typed)]
        except Exception:  # a person is typing: no names are better than a traceback
            return []

    return complete


# -- what is completed -----------------------------------------------------------------------------------
def _study_names(names: Names, context: click.Context, typed: str) -> Iterable[str]:
    return names.studies()


def _arm_names(names: Names, context: click.Context, typed: str) -> Iterable[str]:
    # An option that still lacks its value ends click's parsing before the arguments are told apart.
    return names.arms(context.params.get("name") or context.args[0])


def _trial_names(names: Names, context: click.Context, typed: str) -> Iterable[str]:
    """First the study, then with a dot its trials."""
    study, dot, rest = typed.partition(".")
    if not dot:
        begun = [name for name in names.studies() if name.startswith(typed)]
        if len(begun) != 1:
            return [f"{name}." for name in begun]
        (study,) = begun
    return (f"{study}.{name}" for name in names.trials(study, rest))


def _token_names(names: Names, context: click.Context, typed: str) -> Iterable[str]:
    return names.tokens()


def specs(context: click.Context, parameter: click.Parameter, typed: str) -> Items:
    """Presets; where none begins so, files."""
    from studies import catalog

    found = [CompletionItem(name) for name in catalog.names() if name.startswith(typed)]
    return found or [CompletionItem(typed, type="file")]


studies, arms = _quietly(_study_names), _quietly(_arm_names)
trials, tokens = _quietly(_trial_names), _quietly(_token_names)


def study_argument(function: Any) -> Any:
    """NAME: of a study."""
    return click.argument("name", shell_complete=studies)(function)


def trial_argument(function: Any) -> Any:
    """TRIAL: study.arm.replicate.index."""
    return click.argument("trial", shell_complete=trials)(function)
