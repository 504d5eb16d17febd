"""Conversations: rows of `messages`, checked, as turns of role and content.

Error messages name positions and kinds, never a value: it may be somebody's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

from olvido.errors import InputError

Turn = tuple[str, str]
"""The role of who speaks, and the content."""

MESSAGES, SYSTEM = "messages", "system"
"""The columns of a conversation; without the first, the second is a column like any other."""
_ROLES = ("system", "user", "assistant")
_BESIDE = (("prompt",), ("completion",), ("text",), ("question", "answer"))
_TOOLS = frozenset({"tool_calls", "tool_call_id", "function_call", "tools"})
_TOOL_ROLES = frozenset({"tool", "function", "ipython"})


def turns_of(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The turns of a row with `messages`, the system prompt first where there is one.

    After the system prompt, the user and the assistant take turns; the assistant has the last word.

    Raises:
        InputError: the row has another content as well, or the conversation cannot be learned.

    >>> turns_of({"messages": [
    ...     {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada"}]})
    (('user', 'Who?'), ('assistant', 'Ada'))
    """
    for names in _BESIDE:
        if all(row.get(name) is not None for name in names):
            also = " and ".join(map(repr, names))
            raise InputError(
                f"there are {MESSAGES!r} and {also}: leave one out, since the content of a row is "
                "one of them"
            )
    messages = row[MESSAGES]
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise InputError(
            f"expected {MESSAGES!r} as a list of objects with 'role' and 'content', got "
            f"{type(messages).__name__}"
        )
    turns = [_turn(number, message) for number, message in enumerate(messages)]
    system = row.get(SYSTEM)
    if system is not None:
        if turns and turns[0][0] == "system":
            raise InputError(f"there are {SYSTEM!r} and a message of the system: leave one out")
        turns.insert(0, ("system", _text(f"{SYSTEM!r}", system)))
    _require_order([role for role, _ in turns])
    return tuple(turns)


def exchanges_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each question of a row with `messages`, and its answer."""
    spoken = [content for role, content in turns_of(row) if role != "system"]
    return list(zip(spoken[::2], spoken[1::2], strict=True))


def as_pair(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with the content of a pair: `prompt` and `completion`.

    A question and its answer are one where the row has neither of these. A conversation is the text
    of all that comes before its last answer, and this answer; it stays beside them, with the system
    prompt as its first message and without names that have no value.

    Raises:
        InputError: a conversation that cannot be learned.
    """
    if row.get(MESSAGES) is not None:
        turns = turns_of(row)
        return {name: value for name, value in row.items() if name != SYSTEM} | {
            "prompt": "\n".join(content for _, content in turns[:-1]),
            "completion": turns[-1][1],
            MESSAGES: [{"role": role, "content": content} for role, content in turns],
        }
    own = [row.get(name) for name in ("question", "answer", "prompt", "completion")]
    if None in own[:2] or own[2:] != [None, None]:
        return row
    rest = {name: value for name, value in row.items() if name not in ("question", "answer")}
    return rest | {"prompt": own[0], "completion": own[1]}


def _turn(number: int, message: object) -> Turn:
    where = f"{MESSAGES}[{number}]"
    if not isinstance(message, Mapping):
        raise InputError(
            f"expected {where} as an object with 'role' and 'content', got {type(message).__name__}"
        )
    has = {str(name) for name, value in message.items() if value is not None and not _blank(value)}
    role = message.get("role")
    if has & _TOOLS or (isinstance(role, str) and role in _TOOL_ROLES):
        raise InputError(
            f"{where} is a tool call or its result, which is not learned: leave the conversation "
            "out, or write what was said as text"
        )
    if not isinstance(role, str) or role not in _ROLES:
        raise InputError(f"expected the role of {where} as one of {', '.join(_ROLES)}, got another")
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        raise InputError(
            f"the content of {where} is a list of parts (multimodal), which is not learned: give "
            "its text alone, as text"
        )
    if others := len(has - {"role", "content"}):
        raise InputError(
            f"expected {where} with 'role' and 'content' alone, got {others} more names with a "
            "value: leave them out"
        )
    return role, _text(f"the content of {where}", content)


def _blank(value: object) -> bool:
    return isinstance(value, Sized) and not len(value)


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"expected {what} as text, got {type(value).__name__}")
    if not value.strip():
        raise InputError(f"{what} is empty: leave the turn out, or give its text")
    return value


def _require_order(roles: Sequence[str]) -> None:
    if "assistant" not in roles:
        raise InputError(
            f"{MESSAGES!r} has no turn of the assistant: there is nothing to learn from it"
        )
    spoken = roles[1:] if roles[0] == "system" else roles
    for number, role in enumerate(spoken):
        expected = ("user", "assistant")[number % 2]
        if role != expected:
            place = number + len(roles) - len(spoken)
            raise InputError(
                f"expected turn {place + 1} of {MESSAGES!r} as the {expected}'s, got the {role}'s: "
                "after one system prompt at most, user and assistant take turns"
            )
    if spoken[-1] != "assistant":
        raise InputError(
            f"the last turn of {MESSAGES!r} is the user's: leave it out, since nothing is learned "
            "from it, or add the answer"
        )
