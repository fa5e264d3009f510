"""The command line's own words: what a user meant, an error's advice in flags, the next command."""

import re
import shlex
from typing import Any

from typer.core import TyperCommand, TyperOption

from lenet_runtime.errors import InputError, closest

# A keyword and its value as errors write them for Python: ``force=True``, ``device="cuda"``.
_KEYWORD = re.compile(r"""\b([a-z_]+)=(?:'([^']*)'|"([^"]*)"|([\w.:]*\w))""")
# How an error that is about an argument begins: ``static batch: expected ...``.
_ARGUMENT = re.compile(r"([a-z]+(?:[ _][a-z]+)?): ")
# What is called otherwise in Python.
_PHRASES = {
    "pass the module that has them": "name their checkpoint with --checkpoint",
    "pass that very module": "name its code with --model",
}
# Flags that mean nothing to the command after this one, though it has them.
_NOT_NEXT = ("output", "force", "as_json", "batch_sizes", "seed", "threads", "precision", "labels")
_CHECKPOINT = re.compile(r".*\.(safetensors|pth?|ckpt|bin)")


class Command(TyperCommand):
    """A command that says what was meant by words that it has no place for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as any command does."""
        takes_flags_alone = all(isinstance(param, TyperOption) for param in self.params)
        if takes_flags_alone and not ctx.resilient_parsing and not {"-h", "--help"} & {*args}:
            _, extra, _ = self.make_parser(ctx).parse_args(args=list(args))
            guesses = [_guess(ctx, self, str(word)) for word in extra]
            if guesses and all(guesses):
                raise InputError(
                    f"expected flags, found {' '.join(map(str, extra))!r}; did you mean: "
                    f"lenet-deploy {self.name} {' '.join(guesses)}"
                )
        return super().parse_args(ctx, args)


def _guess(ctx: Any, command: Any, word: str) -> str:
    """The flag that `word` was meant for, with its value; empty where nobody can tell."""
    flags = flags_of(command)
    key, equals, value = word.partition("=")
    if equals:
        flag = flags.get(key.lstrip("-").replace("-", "_"))
        return f"{flag} {shlex.quote(value)}" if flag else ""
    if "checkpoint" in flags and _CHECKPOINT.fullmatch(word):
        return f"{flags['checkpoint']} {shlex.quote(word)}"
    for param in command.params:
        values = [item.value for item in param.shell_complete(ctx, "")]
        if near := closest(word, values):
            return f"{flags[param.name]} {near}"
    return ""


def flags_of(command: Any) -> dict[str, str]:
    """The flag of each option of a command, by the name that Python knows it by."""
    return {p.name: p.opts[0] for p in command.params if isinstance(p, TyperOption)}


def in_flags(text: str, command: Any) -> str:
    """What an error says to Python, such as ``force=True``, in the flags of a command."""
    flags = flags_of(command)

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or match[3] or match[4] or ""
        if value == "False" and f"no_{name}" in flags:
            return flags[f"no_{name}"]
        if name not in flags or value == "False":
            return match[0]
        return flags[name] if value == "True" else f"{flags[name]} {value}"

    for phrase, words in _PHRASES.items():
        text = text.replace(phrase, words)
    text = _KEYWORD.sub(flag, text)
    argument = _ARGUMENT.match(text)
    if argument and (own := flags.get(argument[1].replace(" ", "_"))):
        text = own + text[argument.end(1) :]
    return text


def next_command(ctx: Any, name: str, *words: object) -> str:
    """A command to copy: `words`, and what this one was told that the next has to know, too.

    Args:
        ctx: This command's context.
        name: The next command.
        words: Arguments and flags of the next.
    """
    told = [str(word) for word in words]
    for param, flag in flags_of(ctx.find_root().command.commands[name]).items():
        source = ctx.get_parameter_source(param) if param in ctx.params else None
        if source is not None and source.name == "COMMANDLINE" and param not in _NOT_NEXT:
            value = ctx.params[param]
            told += [flag] if value is True else [flag, str(value)]
    return shlex.join(["lenet-deploy", name, *told])
