"""Which of a network's outputs is the policy: values, probabilities and versions often sit beside
it.

In: the outputs a file names, and how to read them. Out: the draft that ends in the policy's output.
Every output is a candidate until it is read, or shown not to be a policy. One that cannot be read
is never outvoted by one that can, and of several that fit none is chosen: the user is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from quarl.errors import InputError, QuarlError
from quarl.importers.action import is_yes_or_no
from quarl.importers.draft import Draft, DraftNode, Head, Nodes, output_count, selection
from quarl.importers.options import ImportOptions

A_VALUE = "a value"
A_STATE = "a state"
# words in the names of an output, or of the layers and weights that lead to it alone
NOT_POLICIES = {
    A_VALUE: r"values?|v|vf|vpred|value_net|value_head|critic|baseline",
    "a log-probability": r"log_?probs?|logp|neglogp|log_likelihood|entropy",
    "a spread": r"log_?std(dev)?|std(dev)?|log_?sigma|sigma|log_?var|variance|scale_tril",
    A_STATE: r"state_outs?|h_?outs?|c_?outs?|hn|cn|hidden_out|next_state",
}
POLICY_WORDS = r"actions?|actor|policy|pi|mu|mean|logits|q|deterministic"


class NotAPolicyError(InputError):
    """The output is shown not to be a policy; the text says what it is."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output: `words` are its name and those of the layers and weights that lead to it alone;
    `count` is how many values the file declares, None where it does not say.
    """

    name: str
    words: tuple[str, ...]
    count: int | None = None


class Outputs(Protocol):
    """The outputs of one file."""

    @property
    def listed(self) -> tuple[Output, ...]:
        """All outputs, in the file's order."""

    def read(self, names: Sequence[str]) -> Draft:
        """Return the draft that ends in these outputs, joined where they are several.

        Raises:
            NotAPolicyError: the one output is not a policy.
        """


def choose_output(path: Path, outputs: Outputs, options: ImportOptions) -> Draft:
    """Return the draft of the output that is the policy.

    Raises:
        InputError: none or several of them could be the policy; names them and how to choose.
        UnsupportedError: the only output that could be it cannot be carried over.
    """
    listed = outputs.listed
    if not listed:
        raise InputError(f"{path.name}: the network has no output: save the model again")
    if options.output is not None:
        return _named(path, outputs, options.output)
    if len(listed) == 1:
        return _only(path, outputs, listed[0].name)
    return _Choice(path, outputs, options).draft()


def _only(path: Path, outputs: Outputs, name: str) -> Draft:
    try:
        draft = outputs.read([name])
    except NotAPolicyError as error:
        raise InputError(
            f"{path.name}: the output {name!r} is {error}: there is no policy in it, export the "
            "model again"
        ) from error
    kind = kind_by_words(Output(name, (name,)))
    # values of several actions are what a network of DQN gives
    if kind is not None and (kind != A_VALUE or output_count(draft) == 1):
        raise InputError(
            f"{path.name}: its one output is {kind} by its name: where {name} is the policy, say "
            f"--output {name}"
        )
    return draft


class _Choice:
    """What is known of several outputs: read, unreadable, or shown not to be a policy."""

    def __init__(self, path: Path, outputs: Outputs, options: ImportOptions) -> None:
        self.path, self.outputs, self.given = path, outputs, options.action_space
        self.by = options.action_by
        self.drafts: dict[str, Draft] = {}
        self.errors: dict[str, QuarlError] = {}
        self.others: dict[str, str] = {}  # name -> what it is
        for output in outputs.listed:
            try:
                self.drafts[output.name] = outputs.read([output.name])
            except NotAPolicyError as error:
                self.others[output.name] = str(error)
            except QuarlError as error:  # it may still be the policy
                self.errors[output.name] = error
        self._exclude_by_words()
        self._exclude_by_count()

    def draft(self) -> Draft:
        """Return the one draft that can be the policy."""
        fitting = [name for name in self.drafts if self._fits(name)]
        if len(fitting) > 1:
            fitting = self._without_repetitions(fitting)
        if len(fitting) == 1 and not self.errors:
            return self._noted(self.drafts[fitting[0]], fitting[0])
        if not fitting and not self.errors and (joined := self._joined()) is not None:
            return joined
        if not self.drafts and not self.errors:
            raise InputError(
                f"{self.path.name}: none of its outputs ({self._shown()}) is a policy: export the "
                "model again, with the policy's output"
            )
        if not fitting and not self.errors and len(self.drafts) == 1:
            ((name, draft),) = self.drafts.items()
            op = draft.nodes[-1].op
            if isinstance(op, Head) and op.counts:  # the file says it, and both disagree
                return self._noted(draft, name)
        if not self.drafts:
            raise self.errors[self._most_like_a_policy()]
        raise self._question(fitting)

    def _exclude_by_words(self) -> None:
        """Take out what its names show not to be a policy, while another candidate stays."""
        for output in self.outputs.listed:
            kind = kind_by_words(output)
            known = output.name in self.drafts or output.name in self.errors
            if kind and known and len(self.drafts) + len(self.errors) > 1:
                self.drafts.pop(output.name, None)
                self.errors.pop(output.name, None)
                self.others[output.name] = kind

    def _exclude_by_count(self) -> None:
        """Take out unreadable outputs whose declared length cannot be the action's."""
        for output in self.outputs.listed:
            if self.given is None or output.count is None or output.name not in self.errors:
                continue
            if output.count not in (self.given.count, 2 * self.given.count, self.given.width):
                del self.errors[output.name]
                self.others[output.name] = f"{output.count} values"

    def _fits(self, name: str) -> bool:
        draft, given = self.drafts[name], self.given
        if given is None:
            return True
        count, op = output_count(draft), draft.nodes[-1].op
        if isinstance(op, Head) and op.counts not in ((), given.counts):
            return False
        if given.kind == "box" and self._is_choice(name):
            return False
        return count == given.count or is_yes_or_no(given, count)

    def _is_choice(self, name: str) -> bool:
        """Whether an output is a softmax or an index, or what another output is one of."""
        own = _key(self.drafts[name])
        return any(
            isinstance(draft.nodes[-1].op, Head) and _key(draft) == own
            for draft in self.drafts.values()
        )

    def _without_repetitions(self, names: list[str]) -> list[str]:
        """Keep one of several outputs that are the same network: logits, their softmax, the index
        of the largest.
        """
        kept: dict[tuple[str, ...], str] = {}
        for name in names:
            key = _key(self.drafts[name])
            if key not in kept or isinstance(self.drafts[name].nodes[-1].op, Head):
                kept[key] = name
        return list(kept.values())

    def _joined(self) -> Draft | None:
        """Return all candidates as one output where they are the action together."""
        counts = [output_count(draft) for draft in self.drafts.values()]
        if self.given is None or len(counts) < 2 or sum(counts) != self.given.count:
            return None
        if self.given.kind == "discrete" or self.given.counts not in ((), tuple(counts)):
            return None
        draft = self.outputs.read(list(self.drafts))
        order = ", ".join(self.drafts)
        return replace(
            draft, notes=(*draft.notes, f"outputs {order} are one action, in that order")
        )

    def _noted(self, draft: Draft, name: str) -> Draft:
        what = ", ".join(f"{other} is {kind}" for other, kind in self.others.items())
        note = f"output {name}" + (f"; {what}" if what else "")
        return replace(draft, notes=(*draft.notes, note))

    def _most_like_a_policy(self) -> str:
        listed = [output for output in self.outputs.listed if output.name in self.errors]
        by_words = [o for o in listed if any(_matches(POLICY_WORDS, w) for w in o.words)]
        return (by_words or listed)[0].name

    def _shown(self) -> str:
        """Return every output with what it is."""
        return ", ".join(
            f"{o.name} [{output_count(self.drafts[o.name])}]"
            if o.name in self.drafts
            else f"{o.name} (cannot be read)"
            if o.name in self.errors
            else f"{o.name} ({self.others[o.name]})"
            for o in self.outputs.listed
        )

    def _question(self, fitting: list[str]) -> QuarlError:
        shown, reasons = self._shown(), ""
        if self.errors:
            name = self._most_like_a_policy()
            reasons = f". {name} cannot be read: {self.errors[name]}"
        candidates = fitting or list(self.drafts) or list(self.errors)
        advice = f"add --output NAME, for example --output {candidates[0]}"
        if self.given is None:
            return InputError(
                f"{self.path.name}: has several outputs ({shown}), and the file does not say "
                f"which is the policy: {advice}{reasons}"
            )
        return InputError(
            f"{self.path.name}: {len(fitting) or 'none'} of its outputs ({shown}) fits an action "
            f"of {self.given.count} values ({self.by}) alone: {advice}; several that are one "
            f"action: --output NAME,NAME; columns of one: --output 'NAME:12'{reasons}"
        )


def kind_by_words(output: Output) -> str | None:
    """Return what an output's names show it to be, None where they show nothing or a policy."""
    if is_policy_word(output.words[0]):
        return None
    for kind, pattern in NOT_POLICIES.items():
        if any(_matches(pattern, word) for word in output.words):
            return kind
    return None


def is_policy_word(name: str) -> bool:
    """Whether an output is named as a policy's is."""
    return _matches(POLICY_WORDS, name)


def _matches(pattern: str, word: str) -> bool:
    """Whether one part of a dotted or slashed name is one of the words."""
    parts = re.split(r"[./:]", word)
    return any(re.fullmatch(pattern, part, re.IGNORECASE) for part in parts)


def _key(draft: Draft) -> tuple[str, ...]:
    """Return what two outputs of one network, up to their last steps, have in common."""
    return tuple(node.name for node in _without_heads(draft.nodes))


def _without_heads(nodes: Nodes) -> Nodes:
    while len(nodes) > 1 and isinstance(nodes[-1].op, Head):
        nodes = nodes[:-1]
    return nodes


def _named(path: Path, outputs: Outputs, text: str) -> Draft:
    """Return the draft of what --output names: NAME, NAME,NAME, or NAME:FIRST:END for columns."""
    known = {output.name for output in outputs.listed}
    names, columns = text.split(","), ""
    if text not in known and (found := re.fullmatch(r"(.*?):(-?\d*(?::-?\d*)?)", text)):
        name, columns = found[1], found[2]
        names = [name] if name else [output.name for output in outputs.listed][:1]
        if not name and len(known) > 1:
            raise InputError(
                f"{path.name}: --output {text}: name the output too, one of {', '.join(known)}"
            )
    elif text in known:
        names = [text]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"{path.name}: --output {unknown[0]}: the network has no such output, it has "
            f"{', '.join(output.name for output in outputs.listed)}"
        )
    draft = outputs.read(names)
    if columns:
        draft = _columns(path, draft, columns)
    return replace(draft, notes=(*draft.notes, f"output {text}: --output"))


def _columns(path: Path, draft: Draft, columns: str) -> Draft:
    """Return the draft that ends in some columns of its output: END or FIRST:END."""
    count = output_count(draft)
    first, _, end = columns.rpartition(":")
    places = np.arange(count)[slice(int(first) if first else None, int(end) if end else None)]
    nodes = _without_heads(draft.nodes)
    if not len(places) or not count:
        raise InputError(
            f"{path.name}: --output ...:{columns} takes no column of an output of {count} values"
        )
    step = DraftNode("columns", selection(places, count), (nodes[-1].name,), "")
    return replace(draft, nodes=(*nodes, step))
