"""The command `nextbest`. Each command lives in a module of its own, which is imported only when the command runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and what the list of commands says about it.

    `where`: `module:attribute`, a Typer or a function; `.module` is one beside this.
    """

    where: str
    help: str

    def load(self, name: str) -> Any:
        """The command itself, ready to run."""
        module, _, attribute = self.where.partition(":")
        found = getattr(import_module(module, __package__), attribute)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False)
            found.command(name)(function)
        command = typer.main.get_command(found)
        command.name = name
        return command


COMMANDS: Final = {
    "up": Entry(".up:up", "Run the whole installation here: broker, workers, bridge."),
    "demo": Entry("replay_log.demo_command:demo", "Run the main job on real data."),
    "broker": Entry(".broker:broker", "Run the embedded Kafka broker alone."),
    "worker": Entry(".worker:worker", "Run one worker."),
    "bridge": Entry(".bridge:bridge", "Run one bridge: the HTTP endpoints."),
    "topics": Entry(".topics:app", "Compare the declared topics with a cluster, and make them so."),
    "policy": Entry(".policy:app", "Check and publish the policy: segments, caps, placements, catalog."),
    "accounts": Entry(".accounts:app", "Accounts (B2B): import a file of them, show one."),
    "consent": Entry(".consent:app", "Consent: import a file of what people allow."),
    "tenants": Entry(".tenants:app", "Tenants: their policies, quotas and usage."),
    "dead-letters": Entry(".dead_letters:app", "Records that could not be used: list, show and replay them."),
    "identity": Entry(".identity:app", "Identities: show a profile's links, try events before they join, undo merges."),
    "journeys": Entry(".journeys:app", "Journeys: what came of one, stage by stage; where somebody is."),
    "features": Entry("feature_batch.command:app", "Features: what somebody's say now; computed from logs; loaded."),
    "audit": Entry(".audit:app", "Audits: decide recorded decisions again."),
    "privacy": Entry(".privacy:app", "Forget somebody, tell what is known, look whether it is gone."),
    "replay-log": Entry("replay_log.command:replay_log", "Replay a log of impressions and clicks."),
    "logs": Entry("log_store.command:app", "The log store: topics as Parquet, and SQL over them."),
    "experiments": Entry("analysis.experiments_command:app", "Experiments: read what each variation did."),
    "off-policy": Entry("analysis.off_policy_command:app",
                        "Off-policy: what another policy would have earned, by the log of this one."),
    "training-data": Entry("analysis.training_command:app", "Training data: what decisions saw, and what came of it."),
    "models": Entry("analysis.models_command:app", "Models: what they learnt; learn one from data, judge it."),
    "settings": Entry(".settings:settings", "Show every setting: its value, where it comes from, what it means."),
}


class Commands(TyperGroup):
    """Knows every command's name without importing any."""

    def __init__(self, **attributes: Any) -> None:
        listed = {name: TyperCommand(name=name, help=entry.help) for name, entry in COMMANDS.items()}
        super().__init__(**attributes | {"commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command in the place of its line in the list."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, COMMANDS[name].load(name) if name and found else found, rest

    def invoke(self, ctx: Any) -> Any:
        """What an operator can mend is one sentence on standard error and status 1, never a traceback."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            sentence = _for_operators(error)
            if sentence is None:
                raise
            typer.secho(sentence, fg="red", err=True)
            raise typer.Exit(1) from error


def _for_operators(error: Exception) -> str | None:
    """The error as a sentence, None for what only a developer can mend."""
    from pydantic import ValidationError

    from pipeline.runtime.errors import StartupError
    from pipeline.settings import refusals

    if isinstance(error, StartupError):
        return f"Error: {error}"
    if isinstance(error, ValidationError) and error.title == "Settings":
        inputs = {str(problem["loc"][0]): problem["input"] for problem in error.errors()}
        return "\n".join(
            f"Error: NEXTBEST_{name.upper()} (or its option) cannot be {_shown(name, inputs[name])}: {why}. "
            "`nextbest settings` shows every setting and what it means"
            for name, why in refusals(error).items()
        )
    return None


def _shown(name: str, value: object) -> str:
    from pydantic import SecretStr

    from pipeline.settings import Settings

    field = Settings.model_fields.get(name)
    return "what it is set to" if field is not None and field.annotation is SecretStr else repr(value)


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def nextbest() -> None:
    """Marketing personalization as a stream-processing pipeline."""
    from pipeline.local import parent

    parent.end_with_it()


if __name__ == "__main__":
    app()
